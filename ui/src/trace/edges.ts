/**
 * Edges other than calls: a message went from one span to another through a topic, or a link says
 * that one span follows from another.
 *
 * Tracers record messages as a link or as a plain child of the producer span; both give the same
 * edge. Edges are columns, like the trace.
 */
import type { TraceResponse } from '../api/types';
import { at, textAt } from './column';
import { CONSUMER, PRODUCER } from './spanKind';
import { NONE } from './tree';

export interface MessageEdges {
  readonly count: number;
  /** Index of the sending span. */
  readonly from: Int32Array;
  /** Index of the receiving span. */
  readonly to: Int32Array;
  /**
   * Queue time in microseconds, from the end of the send to the receipt. It is negative if the
   * message was received before the sender got the acknowledgement, and `NaN` without a queue.
   */
  readonly wait: Float64Array;
  readonly topic: readonly string[];
  /** 1 if a link exists, 0 if only the parent says so. */
  readonly linked: Uint8Array;
  /**
   * First edge of each receiver, as edges are sorted by receiver; one entry longer than the spans.
   */
  readonly receivedFrom: Int32Array;
}

interface OrderedSpans {
  readonly order: Int32Array;
  readonly parent: Int32Array;
  readonly begin: Float64Array;
  readonly length: Float64Array;
  readonly kind: Uint8Array;
}

interface EdgeDraft {
  readonly from: number;
  readonly to: number;
  readonly linked: boolean;
}

export function readEdges(responses: readonly TraceResponse[], placed: OrderedSpans): MessageEdges {
  const { order, parent, begin, length, kind } = placed;
  const place = new Int32Array(order.length);
  order.forEach((position, index) => {
    place[position] = index;
  });
  const bases = basesOf(responses);
  const drafts = [...linkDrafts(responses, bases, place)];
  const linkedTo = new Set(drafts.map(({ from, to }) => from * order.length + to));
  for (let to = 0; to < order.length; to++) {
    const from = at(parent, to);
    if (
      from === NONE ||
      kind[from] !== PRODUCER ||
      kind[to] !== CONSUMER ||
      linkedTo.has(from * order.length + to)
    )
      continue;
    drafts.push({ from, to, linked: false });
  }
  drafts.sort((a, b) => a.to - b.to || a.from - b.from);
  const topic = topicsOf(responses, bases, place);
  const wait = Float64Array.from(drafts, ({ from, to }) => {
    if (kind[from] !== PRODUCER || kind[to] !== CONSUMER) return NaN;
    return at(begin, to) - at(begin, from) - at(length, from);
  });
  const receivedFrom = new Int32Array(order.length + 1);
  for (const { to } of drafts) receivedFrom[to + 1] = at(receivedFrom, to + 1) + 1;
  for (let i = 0; i < order.length; i++)
    receivedFrom[i + 1] = at(receivedFrom, i + 1) + at(receivedFrom, i);
  return {
    count: drafts.length,
    from: Int32Array.from(drafts, (draft) => draft.from),
    to: Int32Array.from(drafts, (draft) => draft.to),
    linked: Uint8Array.from(drafts, (draft) => (draft.linked ? 1 : 0)),
    topic: drafts.map(({ from, to }) => topic.get(to) ?? topic.get(from) ?? ''),
    wait,
    receivedFrom,
  };
}

/**
 * Returns the longest queue time of each topic; 0 if all messages were received before their
 * acknowledgement.
 */
export function longestQueueTimes(edges: MessageEdges): Map<string, number> {
  const longest = new Map<string, number>();
  edges.wait.forEach((wait, edge) => {
    const topic = edges.topic[edge] ?? '';
    if (!Number.isNaN(wait)) longest.set(topic, Math.max(longest.get(topic) ?? 0, wait));
  });
  return longest;
}

/** Returns the edges that end at a span. */
export function receivedEdges(edges: MessageEdges, to: number): number[] {
  const found: number[] = [];
  for (let i = at(edges.receivedFrom, to); i < at(edges.receivedFrom, to + 1); i++) found.push(i);
  return found;
}

function basesOf(responses: readonly TraceResponse[]): number[] {
  let base = 0;
  return responses.map((response) => {
    const mine = base;
    base += response.spans.start.length;
    return mine;
  });
}

function linkDrafts(
  responses: readonly TraceResponse[],
  bases: readonly number[],
  place: Int32Array,
): EdgeDraft[] {
  const lanes = new Map(responses.map((response, lane) => [response.trace_id, lane]));
  const rowsOf = responses.map(() => undefined as Map<string, number> | undefined);
  const drafts: EdgeDraft[] = [];
  const seen = new Set<number>();
  responses.forEach((response, lane) => {
    const { links } = response;
    for (let i = 0; i < links.row.length; i++) {
      const to = at(place, (bases[lane] ?? 0) + at(links.row, i));
      let fromLane = lane;
      let row = at(links.target, i);
      if (row < 0) {
        const other = lanes.get(textAt(response.strings, at(links.trace, i)));
        if (other === undefined) continue;
        fromLane = other;
        rowsOf[other] ??= rowsById(responses[other] as TraceResponse);
        row = rowsOf[other].get(textAt(response.strings, at(links.span, i))) ?? NONE;
      }
      if (row < 0) continue;
      const from = at(place, (bases[fromLane] ?? 0) + row);
      if (from === to || seen.has(from * place.length + to)) continue;
      seen.add(from * place.length + to);
      drafts.push({ from, to, linked: true });
    }
  });
  return drafts;
}

function rowsById({ spans }: TraceResponse): Map<string, number> {
  const rows = new Map<string, number>();
  for (let row = 0; row < spans.start.length; row++)
    rows.set(spans.id.slice(16 * row, 16 * row + 16), row);
  return rows;
}

function topicsOf(
  responses: readonly TraceResponse[],
  bases: readonly number[],
  place: Int32Array,
): Map<number, string> {
  const topics = new Map<number, string>();
  responses.forEach(({ messages, strings }, lane) => {
    messages.row.forEach((row, i) => {
      const name = textAt(strings, at(messages.topic, i));
      if (name) topics.set(at(place, (bases[lane] ?? 0) + row), name);
    });
  });
  return topics;
}
