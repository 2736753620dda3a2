/**
 * The tree of spans: parents, and the order of rows.
 *
 * Works on columns of numbers. A node is its position in the input; `parents[i]` is another
 * position or `NONE`. There is no recursion, so the depth of a trace is not limited.
 */

import { at } from './column';

export const NONE = -1;

export interface TreeShape {
  /**
   * Input positions in reading order: a parent before each of its children and their descendants.
   */
  readonly order: Int32Array;
  /** By index in `order`: the index of the parent, or `NONE`. */
  readonly parent: Int32Array;
  /** By index in `order`: distance from the root. */
  readonly depth: Uint32Array;
  /** By index in `order`: one past the last descendant. */
  readonly subtreeEnd: Int32Array;
  /** Input positions whose parent was removed because it was also their descendant. */
  readonly cut: ReadonlySet<number>;
}

/** Orders a forest by lane and start time; a cycle is cut at its earliest node. */
export function arrangeTree(
  parents: Int32Array,
  starts: Float64Array,
  lanes?: ArrayLike<number>,
): TreeShape {
  const count = parents.length;
  const { acyclic, cut } = openCycles(parents, starts);
  const { roots, first, next } = siblings(acyclic, starts, lanes);
  const order = new Int32Array(count);
  const parent = new Int32Array(count);
  const depth = new Uint32Array(count);
  const place = new Int32Array(count).fill(NONE);
  let filled = 0;
  for (const root of roots) {
    // Depth-first without a stack: to the first child, else to the next sibling, else up again.
    let node = root;
    while (node !== NONE) {
      const above = node === root ? NONE : at(place, at(acyclic, node));
      place[node] = filled;
      order[filled] = node;
      parent[filled] = above;
      depth[filled] = above === NONE ? 0 : at(depth, above) + 1;
      filled += 1;
      let following = at(first, node);
      while (following === NONE && node !== root) {
        following = at(next, node);
        if (following === NONE) node = at(acyclic, node);
      }
      node = following;
    }
  }
  return { order, parent, depth, subtreeEnd: subtreeEnds(parent), cut };
}

function openCycles(parents: Int32Array, starts: Float64Array) {
  const acyclic = parents.slice();
  const cut = new Set<number>();
  // 0: not visited, otherwise the number of the walk that visited the node.
  const seenBy = new Uint32Array(acyclic.length);
  for (let first = 0; first < acyclic.length; first++) {
    const walk = first + 1;
    let node = first;
    while (node !== NONE && seenBy[node] === 0) {
      seenBy[node] = walk;
      node = at(acyclic, node);
    }
    if (node === NONE || seenBy[node] !== walk) continue;
    const head = earliestOfCycle(acyclic, starts, node);
    acyclic[head] = NONE;
    cut.add(head);
  }
  return { acyclic, cut };
}

function earliestOfCycle(parents: Int32Array, starts: Float64Array, member: number): number {
  let head = member;
  for (let node = at(parents, member); node !== member; node = at(parents, node)) {
    const gap = at(starts, node) - at(starts, head);
    if (gap < 0 || (gap === 0 && node < head)) head = node;
  }
  return head;
}

/** Returns the first child and the next sibling of each node, in order of start. */
function siblings(parents: Int32Array, starts: Float64Array, lanes: ArrayLike<number> | undefined) {
  const byStart = Int32Array.from(parents.keys());
  const lane = (node: number) => (lanes ? at(lanes, node) : 0);
  byStart.sort((a, b) => lane(a) - lane(b) || at(starts, a) - at(starts, b) || a - b);
  const roots: number[] = [];
  const first = new Int32Array(parents.length).fill(NONE);
  const last = new Int32Array(parents.length).fill(NONE);
  const next = new Int32Array(parents.length).fill(NONE);
  for (const node of byStart) {
    const above = at(parents, node);
    if (above === NONE) {
      roots.push(node);
    } else if (at(first, above) === NONE) {
      first[above] = last[above] = node;
    } else {
      next[at(last, above)] = node;
      last[above] = node;
    }
  }
  return { roots, first, next };
}

function subtreeEnds(parent: Int32Array): Int32Array {
  const ends = Int32Array.from(parent, (_, place) => place + 1);
  for (let place = parent.length - 1; place >= 0; place--) {
    const above = at(parent, place);
    if (above !== NONE && at(ends, place) > at(ends, above)) ends[above] = at(ends, place);
  }
  return ends;
}
