/**
 * Edges that are not calls: a message went from one span to another through a topic.
 *
 * Tracers tell it in two ways, FOLLOWS_FROM or a plain child of the producer span; both are the
 * same thing to a reader and give the same edge.
 */
import type { Attribute, Span } from './model';

export interface MessageEdge {
  /** Index of the span that sent. */
  readonly from: number;
  /** Index of the span that received. */
  readonly to: number;
  readonly reference: 'CHILD_OF' | 'FOLLOWS_FROM';
  readonly topic?: string;
  /**
   * Microseconds from the end of the send to the start of the receipt. Negative when the message
   * was received before its acknowledgement reached the sender; absent when no queue is involved.
   */
  readonly wait?: number;
}

/** Attributes that name the topic: OpenTelemetry's, its older name, and OpenTracing's. */
const TOPIC_KEYS = ['messaging.destination.name', 'messaging.destination', 'message_bus.destination'];

export function messageEdges(spans: readonly Span[]): MessageEdge[] {
  const edges: MessageEdge[] = [];
  for (const to of spans) {
    const seen = new Set<number>();
    for (const reference of to.references) {
      const from = reference.target === undefined ? undefined : spans[reference.target];
      if (!from || from === to || seen.has(from.index)) continue;
      const queued = from.kind === 'producer' && to.kind === 'consumer';
      if (!queued && reference.type !== 'FOLLOWS_FROM') continue;
      seen.add(from.index);
      const topic = topicOf(to.attributes) ?? topicOf(from.attributes);
      edges.push({
        from: from.index,
        to: to.index,
        reference: reference.type,
        ...(queued && { wait: to.start - from.end }),
        ...(topic !== undefined && { topic }),
      });
    }
  }
  return edges;
}

/** The longest time a message of the trace lay in a topic, if any did. */
export function longestWait(edges: readonly MessageEdge[]): number | undefined {
  const waits = edges.flatMap((edge) => (edge.wait !== undefined && edge.wait > 0 ? [edge.wait] : []));
  return waits.length > 0 ? Math.max(...waits) : undefined;
}

function topicOf(attributes: readonly Attribute[]): string | undefined {
  for (const key of TOPIC_KEYS) {
    const found = attributes.find((attribute) => attribute.key === key);
    if (found) return found.value;
  }
  return undefined;
}
