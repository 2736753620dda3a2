/**
 * The shape of a trace: who is below whom, and in which order the rows stand.
 *
 * Works on numbers only. A node is its position in the input; `parents[i]` is another position or
 * `NONE`. Nothing recurses, so a trace may be as deep as it likes.
 */

export const NONE = -1;

export interface Arrangement {
  /** Input positions in reading order: a parent first, then each child with all that is below it. */
  readonly order: readonly number[];
  /** By place in `order`: the place of the parent, or `NONE`. */
  readonly parent: readonly number[];
  /** By place in `order`: steps from the root. */
  readonly depth: readonly number[];
  /** By place in `order`: one past the last place below it. */
  readonly subtreeEnd: readonly number[];
  /** Input positions whose parent was dropped because it was also their descendant. */
  readonly cut: ReadonlySet<number>;
}

/** Orders a forest by start time; cycles are opened at their earliest node. */
export function arrange(parents: readonly number[], starts: readonly number[]): Arrangement {
  const { parents: acyclic, cut } = openCycles(parents, starts);
  const below = childrenByStart(acyclic, starts);
  const order: number[] = [];
  const parent: number[] = [];
  const depth: number[] = [];
  const place = new Map<number, number>();
  const pending = [...below.roots].reverse();
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    const above = place.get(acyclic[node] ?? NONE) ?? NONE;
    place.set(node, order.length);
    order.push(node);
    parent.push(above);
    depth.push(above === NONE ? 0 : (depth[above] ?? 0) + 1);
    const children = below.children.get(node) ?? [];
    for (let i = children.length - 1; i >= 0; i--) pending.push(children[i] as number);
  }
  return { order, parent, depth, subtreeEnd: subtreeEnds(parent), cut };
}

function openCycles(parents: readonly number[], starts: readonly number[]) {
  const open = [...parents];
  const cut = new Set<number>();
  // 0: not seen, otherwise the number of the walk that saw it.
  const seenBy = new Uint32Array(open.length);
  for (let first = 0; first < open.length; first++) {
    const walk = first + 1;
    let node = first;
    while (node !== NONE && seenBy[node] === 0) {
      seenBy[node] = walk;
      node = open[node] ?? NONE;
    }
    if (node === NONE || seenBy[node] !== walk) continue;
    const head = earliestOfCycle(open, starts, node);
    open[head] = NONE;
    cut.add(head);
  }
  return { parents: open, cut };
}

function earliestOfCycle(parents: readonly number[], starts: readonly number[], member: number): number {
  let head = member;
  for (let node = parents[member] ?? member; node !== member; node = parents[node] ?? member) {
    if (startsBefore(starts, node, head)) head = node;
  }
  return head;
}

function childrenByStart(parents: readonly number[], starts: readonly number[]) {
  const roots: number[] = [];
  const children = new Map<number, number[]>();
  parents.forEach((parent, node) => {
    if (parent === NONE) {
      roots.push(node);
      return;
    }
    const siblings = children.get(parent);
    if (siblings) siblings.push(node);
    else children.set(parent, [node]);
  });
  const byStart = (a: number, b: number) => (starts[a] ?? 0) - (starts[b] ?? 0) || a - b;
  roots.sort(byStart);
  for (const siblings of children.values()) siblings.sort(byStart);
  return { roots, children };
}

function startsBefore(starts: readonly number[], a: number, b: number): boolean {
  const gap = (starts[a] ?? 0) - (starts[b] ?? 0);
  return gap < 0 || (gap === 0 && a < b);
}

function subtreeEnds(parent: readonly number[]): number[] {
  const ends = parent.map((_, place) => place + 1);
  for (let place = parent.length - 1; place >= 0; place--) {
    const above = parent[place] ?? NONE;
    if (above !== NONE) ends[above] = Math.max(ends[above] ?? 0, ends[place] ?? 0);
  }
  return ends;
}
