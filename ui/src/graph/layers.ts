/**
 * A simple layered layout for graphs that are too large for dagre: linear in nodes and edges.
 *
 * Each node is one layer to the right of its last predecessor; within a layer, nodes are placed
 * near the average position of their neighbours. Cycles are broken where the traversal closes them.
 */
import type { EdgeEnds, GraphLayout, NodeBox } from './geometry';

const LAYER_GAP = 120;
const NODE_GAP = 18;
const SWEEPS = 4;

export function layoutInLayers(nodes: readonly NodeBox[], edges: readonly EdgeEnds[]): GraphLayout {
  const index = new Map(nodes.map((node, i) => [node.id, i]));
  const ends = edges.map(({ from, to }) => [index.get(from) ?? 0, index.get(to) ?? 0] as const);
  const forward = withoutCycles(nodes.length, ends);
  const layers = assignLayers(nodes.length, forward);
  orderLayers(layers, forward, nodes.length);
  const positions = new Map<string, { x: number; y: number }>();
  const heights = layers.map((layer) =>
    layer.reduce((sum, node) => sum + (nodes[node]?.height ?? 0) + NODE_GAP, 0),
  );
  const height = Math.max(0, ...heights);
  let x = 16;
  layers.forEach((layer, l) => {
    const width = Math.max(...layer.map((node) => nodes[node]?.width ?? 0));
    let y = (height - (heights[l] ?? 0)) / 2 + 16;
    for (const node of layer) {
      const box = nodes[node] as NodeBox;
      positions.set(box.id, { x: x + width / 2, y: y + box.height / 2 });
      y += box.height + NODE_GAP;
    }
    x += width + LAYER_GAP;
  });
  return {
    nodes: positions,
    edges: edgePaths(nodes, edges, positions),
    width: Math.max(0, x - LAYER_GAP + 16),
    height: height + 32,
  };
}

type Ends = readonly (readonly [number, number])[];

/** Returns the edges without those that close a cycle. */
function withoutCycles(count: number, ends: Ends): Ends {
  const out = outgoing(count, ends);
  // 0: not visited, 1: on the current path, 2: done.
  const state = new Uint8Array(count);
  const back = new Set<number>();
  for (let root = 0; root < count; root++) {
    if (state[root] !== 0) continue;
    const path: { node: number; next: number }[] = [{ node: root, next: 0 }];
    state[root] = 1;
    for (let top = path.at(-1); top; top = path.at(-1)) {
      const edge = out[top.node]?.[top.next++];
      if (edge === undefined) {
        state[top.node] = 2;
        path.pop();
        continue;
      }
      const to = ends[edge]?.[1] ?? 0;
      if (state[to] === 1) back.add(edge);
      else if (state[to] === 0) {
        state[to] = 1;
        path.push({ node: to, next: 0 });
      }
    }
  }
  return ends.filter((_, edge) => !back.has(edge));
}

function outgoing(count: number, ends: Ends): number[][] {
  const out: number[][] = Array.from({ length: count }, () => []);
  ends.forEach(([from], edge) => {
    out[from]?.push(edge);
  });
  return out;
}

function assignLayers(count: number, ends: Ends): number[][] {
  const out = outgoing(count, ends);
  const waiting = new Int32Array(count);
  for (const [, to] of ends) waiting[to] = (waiting[to] ?? 0) + 1;
  const layer = new Int32Array(count);
  const ready = [...waiting.keys()].filter((node) => waiting[node] === 0);
  for (let node = ready.pop(); node !== undefined; node = ready.pop()) {
    for (const edge of out[node] ?? []) {
      const to = ends[edge]?.[1] ?? 0;
      layer[to] = Math.max(layer[to] ?? 0, (layer[node] ?? 0) + 1);
      waiting[to] = (waiting[to] ?? 0) - 1;
      if (waiting[to] === 0) ready.push(to);
    }
  }
  const layers: number[][] = [];
  layer.forEach((l, node) => {
    const members = layers[l];
    if (members) members.push(node);
    else layers[l] = [node];
  });
  return layers.filter((members) => members !== undefined);
}

/** Moves nodes towards the average position of their neighbours, in several sweeps. */
function orderLayers(layers: number[][], ends: Ends, count: number): void {
  const place = new Float64Array(count);
  const updatePositions = (members: readonly number[]) => {
    members.forEach((node, i) => {
      place[node] = (i + 0.5) / members.length;
    });
  };
  layers.forEach(updatePositions);
  const near: number[][] = Array.from({ length: count }, () => []);
  for (const [from, to] of ends) {
    near[from]?.push(to);
    near[to]?.push(from);
  }
  const middle = (node: number) => {
    const all = near[node] ?? [];
    return all.length === 0
      ? (place[node] ?? 0)
      : all.reduce((sum, other) => sum + (place[other] ?? 0), 0) / all.length;
  };
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (const members of sweep % 2 === 0 ? layers : [...layers].reverse()) {
      const wanted = new Map(members.map((node) => [node, middle(node)]));
      members.sort((a, b) => (wanted.get(a) ?? 0) - (wanted.get(b) ?? 0));
      updatePositions(members);
    }
  }
}

function edgePaths(
  nodes: readonly NodeBox[],
  edges: readonly EdgeEnds[],
  positions: ReadonlyMap<string, { x: number; y: number }>,
) {
  const widths = new Map(nodes.map((node) => [node.id, node.width]));
  return new Map(
    edges.map(({ id, from, to }) => {
      const [a, b] = [positions.get(from) ?? { x: 0, y: 0 }, positions.get(to) ?? { x: 0, y: 0 }];
      const start = a.x + (widths.get(from) ?? 0) / 2;
      const end = b.x - (widths.get(to) ?? 0) / 2;
      const bend = Math.max(40, Math.abs(end - start) / 2);
      const path = `M ${start} ${a.y} C ${start + bend} ${a.y} ${end - bend} ${b.y} ${end} ${b.y}`;
      return [id, { path, x: (start + end) / 2, y: (a.y + b.y) / 2 }] as const;
    }),
  );
}
