/** The graph of a trace: operations and topics as nodes; loaded when it is first opened. */
import { useMemo, useState } from 'react';
import { type CanvasEdge, type CanvasNode, GraphCanvas } from '../graph/GraphCanvas';
import { Destination } from '../page/Destination';
import type { ViewProps } from '../page/viewProps';
import { formatCount, formatDuration, formatPercent } from '../trace/format';
import {
  type GraphNode,
  nodeDestinations,
  nodeId,
  type TraceGraph,
  traceGraph,
} from '../trace/graph';
import { nameOf, serviceOf } from '../trace/model';

/** Larger graphs take too long to lay out: only the nodes with the most self time are shown. */
const MAX_NODES = 150;
const MAX_EDGES = 400;
/** Longer names are cut; the tooltip has them whole. */
const MAX_NODE_PX = 380;

export default function GraphView({ page, colours }: ViewProps) {
  const { trace, dispatch, state } = page;
  const [graph, all] = useMemo(() => limitGraph(traceGraph(trace)), [trace]);
  const nodes = useMemo(
    () => graph.nodes.map((node) => canvasNode(node, colours)),
    [graph, colours],
  );
  const edges = useMemo(() => graph.edges.map(canvasEdge), [graph]);
  const [chosen, setChosen] = useState<string | undefined>(() =>
    state.open
      ? nodeId(
          serviceOf(trace, state.active),
          nameOf(trace, state.active),
          nodeDestinations(trace)[state.active] ?? '',
        )
      : undefined,
  );
  const choose = (id: string | undefined) => {
    setChosen(id);
    const node = graph.nodes.find((candidate) => candidate.id === id);
    if (node && node.first >= 0) dispatch({ type: 'select', index: node.first });
  };
  return (
    <section className="panel" aria-label="Graph">
      <p className="panel-note">
        One node per operation of a service and per topic. Times are totals over the spans of a
        node; on the edge out of a topic, the longest time in it.{' '}
        {graph.edges.some((edge) => edge.confidence !== undefined) &&
          'Dashed: inferred parent, with its confidence. '}
        {all > graph.nodes.length &&
          ` Showing the ${graph.nodes.length} of ${all} nodes with the most self time.`}
      </p>
      <GraphCanvas
        label="Graph of the trace"
        nodes={nodes}
        edges={edges}
        chosen={chosen}
        choose={choose}
      />
    </section>
  );
}

function limitGraph(graph: TraceGraph): [TraceGraph, number] {
  const all = graph.nodes.length;
  if (all <= MAX_NODES) return [graph, all];
  const nodes = [...graph.nodes]
    .sort((a, b) => Number(b.kind === 'topic') - Number(a.kind === 'topic') || b.self - a.self)
    .slice(0, MAX_NODES);
  const kept = new Set(nodes.map((node) => node.id));
  return [
    {
      nodes,
      edges: busiestEdges(graph.edges.filter((edge) => kept.has(edge.from) && kept.has(edge.to))),
    },
    all,
  ];
}

function busiestEdges(edges: TraceGraph['edges']): TraceGraph['edges'] {
  return [...edges]
    .sort((a, b) => Number(b.message) - Number(a.message) || b.count - a.count)
    .slice(0, MAX_EDGES);
}

function canvasNode(node: GraphNode, colours: ReadonlyMap<string, number>): CanvasNode {
  const isTopic = node.kind === 'topic';
  const errors = node.errors > 0 ? `, ${formatCount(node.errors, 'error')}` : '';
  const times = isTopic
    ? formatCount(node.count, 'message')
    : `${formatDuration(node.total)} · self ${formatDuration(node.self)}`;
  const longest = Math.max(
    (node.name.length + (node.destination ? node.destination.length + 3 : 0)) * 8.2,
    node.service.length * 7 + 24 + (errors ? 56 : 0),
    times.length * 6.8 + (node.count > 1 ? 34 : 0),
  );
  return {
    id: node.id,
    width: Math.min(Math.max(longest + 30, 120), MAX_NODE_PX),
    height: isTopic ? 46 : 62,
    label: isTopic
      ? `Topic ${node.name}: ${times}`
      : `${operationText(node)}: ${formatCount(node.count, 'span')}, ${times}${errors}`,
    className: isTopic
      ? 'topic'
      : `operation service-${colours.get(node.service) ?? 0}${node.errors > 0 ? ' failed' : ''}`,
    content: (
      <>
        {!isTopic && (
          <span className="graph-service">
            <span className="swatch" aria-hidden="true" />
            <bdi>{node.service}</bdi>
            {node.errors > 0 && (
              <span className="failure-note">{formatCount(node.errors, 'error')}</span>
            )}
          </span>
        )}
        <bdi className="graph-name">
          {isTopic && <span className="visually-hidden">Topic </span>}
          {node.name}
          <Destination text={node.destination} />
        </bdi>
        <span className="graph-times">
          {times}
          {!isTopic && node.count > 1 && <span> × {node.count}</span>}
        </span>
      </>
    ),
  };
}

function operationText({ service, name, destination }: GraphNode): string {
  return `${service} ${name}${destination && ` → ${destination}`}`;
}

function canvasEdge({
  from,
  to,
  count,
  message,
  wait,
  confidence,
}: TraceGraph['edges'][number]): CanvasEdge {
  const confidenceText =
    confidence === undefined || Number.isNaN(confidence) ? '' : formatPercent(confidence);
  const label =
    wait !== undefined
      ? formatDuration(wait)
      : [count > 1 && `× ${count}`, confidenceText].filter(Boolean).join(' · ');
  return {
    id: `${from}\u0001${to}`,
    from,
    to,
    className: `${message ? 'message' : 'call'}${confidence === undefined ? '' : ' inferred'}`,
    label,
  };
}
