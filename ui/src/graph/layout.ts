/** Layout of a graph, in layers from left to right. */
import { Graph, layout } from '@dagrejs/dagre';
import type { EdgeEnds, GraphLayout, NodeBox } from './geometry';
import { layoutInLayers } from './layers';

/** For larger graphs dagre takes seconds. */
const MAX_DAGRE_NODES = 60;
const MAX_DAGRE_EDGES = 90;
const NODE_GAP = 22;

const EMPTY_LAYOUT: GraphLayout = { nodes: new Map(), edges: new Map(), width: 0, height: 0 };

/** Lays out the graph; nodes without edges form a block below the others. */
export function layoutGraph(nodes: readonly NodeBox[], edges: readonly EdgeEnds[]): GraphLayout {
  const connected = new Set(edges.flatMap(({ from, to }) => [from, to]));
  const main = nodes.filter((node) => connected.has(node.id));
  const isSmall = main.length <= MAX_DAGRE_NODES && edges.length <= MAX_DAGRE_EDGES;
  const placed =
    main.length === 0
      ? EMPTY_LAYOUT
      : isSmall
        ? layoutWithDagre(main, edges)
        : layoutInLayers(main, edges);
  return addBlock(
    placed,
    nodes.filter((node) => !connected.has(node.id)),
  );
}

function addBlock(placed: GraphLayout, isolated: readonly NodeBox[]): GraphLayout {
  const all = new Map(placed.nodes);
  const maxWidth = Math.max(placed.width, 1100);
  let [x, y, row, width] = [16, placed.height + (placed.height > 0 ? 10 : 16), 0, placed.width];
  for (const node of isolated) {
    if (x > 16 && x + node.width > maxWidth) {
      x = 16;
      y += row + NODE_GAP;
      row = 0;
    }
    all.set(node.id, { x: x + node.width / 2, y: y + node.height / 2 });
    x += node.width + NODE_GAP;
    row = Math.max(row, node.height);
    width = Math.max(width, x);
  }
  return {
    ...placed,
    nodes: all,
    width,
    height: isolated.length === 0 ? placed.height : y + row + 16,
  };
}

function layoutWithDagre(nodes: readonly NodeBox[], edges: readonly EdgeEnds[]): GraphLayout {
  const graph = new Graph({ multigraph: true });
  graph.setGraph({ rankdir: 'LR', nodesep: 22, ranksep: 56, marginx: 16, marginy: 16 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const { id, width, height } of nodes) graph.setNode(id, { width, height });
  for (const { id, from, to, labelWidth } of edges) {
    graph.setEdge(
      from,
      to,
      { width: labelWidth, height: labelWidth > 0 ? 18 : 0, labelpos: 'c' },
      id,
    );
  }
  layout(graph);
  const placedNodes = new Map<string, { x: number; y: number }>();
  for (const { id } of nodes) {
    const { x = 0, y = 0 } = graph.node(id) as { x?: number; y?: number };
    placedNodes.set(id, { x, y });
  }
  const placedEdges = new Map<string, { path: string; x: number; y: number }>();
  for (const { id, from, to } of edges) {
    const {
      points = [],
      x,
      y,
    } = graph.edge(from, to, id) as { points?: { x: number; y: number }[]; x?: number; y?: number };
    const middle = points[points.length >> 1] ?? { x: 0, y: 0 };
    placedEdges.set(id, { path: smoothPath(points), x: x ?? middle.x, y: y ?? middle.y });
  }
  const { width = 0, height = 0 } = graph.graph() as { width?: number; height?: number };
  return { nodes: placedNodes, edges: placedEdges, width, height };
}

/** Returns an SVG path that curves smoothly through the points. */
export function smoothPath(points: readonly { readonly x: number; readonly y: number }[]): string {
  const [first, ...rest] = points;
  if (!first) return '';
  let path = `M ${round(first.x)} ${round(first.y)}`;
  let before = first;
  rest.forEach((point, i) => {
    if (i === rest.length - 1) {
      path += ` Q ${round(before.x)} ${round(before.y)} ${round(point.x)} ${round(point.y)}`;
      return;
    }
    const next = rest[i + 1] ?? point;
    const middle = { x: (point.x + next.x) / 2, y: (point.y + next.y) / 2 };
    path += ` Q ${round(point.x)} ${round(point.y)} ${round(middle.x)} ${round(middle.y)}`;
    before = point;
  });
  return path;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
