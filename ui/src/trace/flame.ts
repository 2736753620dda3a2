/**
 * The flame graph: spans with the same call path are merged into a frame as wide as their time.
 *
 * Children may take longer than their parent, in parallel or after it; the parent is then as wide
 * as its children, so that nothing is hidden.
 */
import { at } from './column';
import { isFailed, nameOf, serviceOf, type Trace } from './model';
import { selfTimes } from './self';
import { NONE } from './tree';

export interface FlameFrame {
  readonly parent: number;
  readonly depth: number;
  readonly service: string;
  readonly name: string;
  readonly count: number;
  readonly errors: number;
  readonly total: number;
  readonly self: number;
  /** Self time and the width of all children. */
  readonly width: number;
  /** Left edge, in the same unit. */
  readonly left: number;
  readonly first: number;
}

export interface FlameGraph {
  readonly frames: readonly FlameFrame[];
  readonly width: number;
  readonly depth: number;
}

interface FrameDraft {
  parent: number;
  depth: number;
  key: string;
  service: string;
  name: string;
  count: number;
  errors: number;
  total: number;
  self: number;
  width: number;
  left: number;
  first: number;
  children: number[];
}

export function flameGraph(trace: Trace): FlameGraph {
  const frames = mergeFrames(trace);
  for (let i = frames.length - 1; i >= 0; i--) {
    const frame = frames[i] as FrameDraft;
    frame.width += frame.self;
    const parent = frames[frame.parent];
    if (parent) parent.width += frame.width;
  }
  let left = 0;
  const roots = frames.filter((frame) => frame.parent === NONE).sort((a, b) => b.width - a.width);
  for (const root of roots) {
    root.left = left;
    left += root.width;
  }
  // Parents precede their children, so a frame's position is known before it is needed.
  for (const frame of frames) {
    let next = frame.left;
    frame.children.sort((a, b) => (frames[b]?.width ?? 0) - (frames[a]?.width ?? 0));
    for (const child of frame.children) {
      const below = frames[child] as FrameDraft;
      below.left = next;
      next += below.width;
    }
  }
  return {
    frames,
    width: left,
    depth: frames.reduce((deepest, frame) => Math.max(deepest, frame.depth + 1), 0),
  };
}

function mergeFrames(trace: Trace): FrameDraft[] {
  const self = selfTimes(trace);
  const frames: FrameDraft[] = [];
  const known = new Map<string, number>();
  const frameOf = new Int32Array(trace.count);
  for (let index = 0; index < trace.count; index++) {
    const parentSpan = at(trace.parent, index);
    const parent = parentSpan === NONE ? NONE : at(frameOf, parentSpan);
    const key = `${parent} ${at(trace.service, index)} ${nameOf(trace, index)}`;
    let id = known.get(key);
    if (id === undefined) {
      id = frames.length;
      known.set(key, id);
      const depth = parent === NONE ? 0 : (frames[parent]?.depth ?? 0) + 1;
      frames.push({
        parent,
        depth,
        key,
        service: serviceOf(trace, index),
        name: nameOf(trace, index),
        count: 0,
        errors: 0,
        total: 0,
        self: 0,
        width: 0,
        left: 0,
        first: index,
        children: [],
      });
      frames[parent]?.children.push(id);
    }
    frameOf[index] = id;
    const frame = frames[id] as FrameDraft;
    frame.count += 1;
    frame.total += at(trace.length, index);
    frame.self += at(self, index);
    if (isFailed(trace, index)) frame.errors += 1;
  }
  return frames;
}
