/**
 * The graph of a trace: one node per service and operation, and one per topic. Calls of one name
 * that go to different places are different operations.
 */
import { at } from './column';
import { destinationOf } from './destination';
import { INFERRED, isFailed, nameOf, serviceOf, type Trace } from './model';
import { selfTimes } from './self';
import { evidenceOf } from './spanDetails';
import { CONSUMER, PRODUCER } from './spanKind';
import { NONE } from './tree';

export interface GraphNode {
  readonly id: string;
  readonly kind: 'operation' | 'topic';
  readonly service: string;
  readonly name: string;
  /** Where the calls went, unless the name says it or there are many places. */
  readonly destination: string;
  readonly count: number;
  readonly errors: number;
  readonly total: number;
  readonly self: number;
  /** First span of the node; `NONE` for a topic. */
  readonly first: number;
}

export interface GraphEdge {
  readonly from: string;
  readonly to: string;
  readonly count: number;
  readonly message: boolean;
  /**
   * Lowest confidence of the inferred parents, `NaN` if unknown; absent if no parent is inferred.
   */
  readonly confidence?: number;
  /** Longest queue time in the topic. */
  readonly wait?: number;
}

export interface TraceGraph {
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** An operation that calls more places, for example by an ID in the path, is one node. */
const MAX_DESTINATIONS = 12;

/** Returns the destination that is part of the identity of each span's node. */
export function nodeDestinations(trace: Trace): string[] {
  const places = new Map<string, Set<string>>();
  const operationOf = (index: number) => `${at(trace.service, index)} ${at(trace.name, index)}`;
  const destinations = Array.from(trace.name, (_, index) => {
    const destination = destinationOf(trace, index);
    if (destination) {
      const known = places.get(operationOf(index)) ?? new Set();
      places.set(operationOf(index), known.add(destination));
    }
    return destination;
  });
  return destinations.map((destination, index) =>
    (places.get(operationOf(index))?.size ?? 0) > MAX_DESTINATIONS ? '' : destination,
  );
}

export function nodeId(service: string, name: string, destination: string): string {
  return [service, name, ...(destination ? [destination] : [])].join('\u0000');
}

export function traceGraph(trace: Trace): TraceGraph {
  const self = selfTimes(trace);
  const destinations = nodeDestinations(trace);
  const nodes = new Map<string, Mutable<GraphNode>>();
  const edges = new Map<string, Mutable<GraphEdge>>();
  const idOf = (index: number) =>
    nodeId(serviceOf(trace, index), nameOf(trace, index), destinations[index] ?? '');
  const join = (from: string, to: string, message: boolean, wait?: number) => {
    const key = `${from}\u0001${to}`;
    const edge = edges.get(key) ?? { from, to, count: 0, message };
    edge.count += 1;
    edge.message ||= message;
    if (wait !== undefined && wait > 0) edge.wait = Math.max(edge.wait ?? 0, wait);
    edges.set(key, edge);
    return edge;
  };
  const byMessage = messagePairs(trace);
  for (let index = 0; index < trace.count; index++) {
    const id = idOf(index);
    const node =
      nodes.get(id) ??
      emptyNode(id, 'operation', serviceOf(trace, index), nameOf(trace, index), index);
    node.destination = destinations[index] ?? '';
    node.count += 1;
    node.total += at(trace.length, index);
    node.self += at(self, index);
    if (isFailed(trace, index)) node.errors += 1;
    nodes.set(id, node);
    const parent = at(trace.parent, index);
    if (parent === NONE || byMessage.has(parent * trace.count + index)) continue;
    if (idOf(parent) === id) continue;
    const edge = join(idOf(parent), id, false);
    if ((at(trace.flags, index) & INFERRED) !== 0)
      edge.confidence = lowestConfidence(edge.confidence, evidenceOf(trace, index)?.confidence);
  }
  const { edges: messages } = trace;
  for (let edge = 0; edge < messages.count; edge++) {
    const [from, to] = [at(messages.from, edge), at(messages.to, edge)];
    const topic = messages.topic[edge];
    if (!topic) {
      join(idOf(from), idOf(to), true);
      continue;
    }
    const id = `topic\u0000${topic}`;
    const node = nodes.get(id) ?? emptyNode(id, 'topic', '', topic, NONE);
    const wait = Math.max(0, at(messages.wait, edge) || 0);
    node.count += 1;
    node.total = Math.max(node.total, wait);
    nodes.set(id, node);
    join(idOf(from), id, true);
    join(id, idOf(to), true, wait);
  }
  return { nodes: [...nodes.values()], edges: [...edges.values()] };
}

function messagePairs(trace: Trace): Set<number> {
  const pairs = new Set<number>();
  for (let edge = 0; edge < trace.edges.count; edge++) {
    const [from, to] = [at(trace.edges.from, edge), at(trace.edges.to, edge)];
    if (trace.kind[from] === PRODUCER || trace.kind[to] === CONSUMER)
      pairs.add(from * trace.count + to);
  }
  return pairs;
}

function lowestConfidence(a: number | undefined, b: number | undefined): number {
  const known = [a, b].filter((each) => each !== undefined && !Number.isNaN(each)) as number[];
  return known.length > 0 ? Math.min(...known) : NaN;
}

function emptyNode(
  id: string,
  kind: GraphNode['kind'],
  service: string,
  name: string,
  first: number,
): Mutable<GraphNode> {
  return {
    id,
    kind,
    service,
    name,
    destination: '',
    count: 0,
    errors: 0,
    total: 0,
    self: 0,
    first,
  };
}
