/** Comparison of two traces: their call paths are matched, with counts and times of each. */
import { type FlameFrame, flameGraph } from './flame';
import type { Trace } from './model';
import { NONE } from './tree';

export interface ComparedSide {
  readonly count: number;
  readonly errors: number;
  readonly total: number;
}

export interface ComparedRow {
  readonly depth: number;
  readonly service: string;
  readonly name: string;
  readonly a?: ComparedSide;
  readonly b?: ComparedSide;
  /** Whether the call path exists in one trace only, or has more or fewer spans in B. */
  readonly change: 'only-a' | 'only-b' | 'more' | 'fewer' | 'same';
  /** Difference in total time (B minus A) in microseconds. */
  readonly difference: number;
}

/** Returns the rows in reading order: each call path before its continuations. */
export function compareTraces(a: Trace, b: Trace): ComparedRow[] {
  const left = new CallTree(flameGraph(a).frames);
  const right = new CallTree(flameGraph(b).frames);
  const rows: ComparedRow[] = [];
  const pending: (readonly [number | undefined, number | undefined, number])[] = pair(
    left,
    right,
    NONE,
    NONE,
    0,
  ).reverse();
  for (let next = pending.pop(); next; next = pending.pop()) {
    const [inA, inB, depth] = next;
    rows.push(row(left.frames[inA ?? NONE], right.frames[inB ?? NONE], depth));
    pending.push(...pair(left, right, inA, inB, depth + 1).reverse());
  }
  return rows;
}

class CallTree {
  private readonly below = new Map<number, number[]>();

  constructor(readonly frames: readonly FlameFrame[]) {
    frames.forEach((frame, i) => {
      const known = this.below.get(frame.parent);
      if (known) known.push(i);
      else this.below.set(frame.parent, [i]);
    });
  }

  children(of: number | undefined): readonly number[] {
    return of === undefined ? [] : (this.below.get(of) ?? []);
  }
}

function pair(
  left: CallTree,
  right: CallTree,
  a: number | undefined,
  b: number | undefined,
  depth: number,
) {
  const ofB = new Map(right.children(b).map((i) => [keyOf(right.frames[i]), i]));
  const pairs: (readonly [number | undefined, number | undefined, number])[] = left
    .children(a)
    .map((i) => {
      const key = keyOf(left.frames[i]);
      const match = ofB.get(key);
      ofB.delete(key);
      return [i, match, depth] as const;
    });
  return [...pairs, ...[...ofB.values()].map((i) => [undefined, i, depth] as const)];
}

function keyOf(frame: FlameFrame | undefined): string {
  return `${frame?.service}\u0000${frame?.name}`;
}

function row(a: FlameFrame | undefined, b: FlameFrame | undefined, depth: number): ComparedRow {
  const frame = a ?? b;
  const side = (found: FlameFrame | undefined) =>
    found ? { count: found.count, errors: found.errors, total: found.total } : undefined;
  const [sideA, sideB] = [side(a), side(b)];
  const change = !a
    ? 'only-b'
    : !b
      ? 'only-a'
      : b.count > a.count
        ? 'more'
        : b.count < a.count
          ? 'fewer'
          : 'same';
  return {
    depth,
    service: frame?.service ?? '',
    name: frame?.name ?? '',
    ...(sideA && { a: sideA }),
    ...(sideB && { b: sideB }),
    change,
    difference: (b?.total ?? 0) - (a?.total ?? 0),
  };
}
