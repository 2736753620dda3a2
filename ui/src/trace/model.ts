/**
 * One trace as the pages use it, built from Jaeger's JSON.
 *
 * Nothing in the answer is taken for granted: parents may be missing or form a cycle, processes
 * may be absent, times may be nonsense. Such a trace is still drawn, and says what is odd.
 */
import { messageEdges, type MessageEdge } from './edges';
import { arrange, NONE } from './tree';
import type { WireLog, WireProcess, WireReference, WireSpan, WireTag, WireTrace } from './wire';

export type SpanKind = 'server' | 'client' | 'producer' | 'consumer' | 'internal';

export interface Attribute {
  readonly key: string;
  readonly value: string;
}

export interface SpanEvent {
  /** Microseconds since the epoch. */
  readonly time: number;
  readonly name: string;
  readonly attributes: readonly Attribute[];
}

export interface Reference {
  readonly type: 'CHILD_OF' | 'FOLLOWS_FROM';
  readonly traceId: string;
  readonly spanId: string;
  /** Index of the span it points at; absent when that span is not in this trace's answer. */
  readonly target?: number;
  /** Whether it names a span of another trace. */
  readonly elsewhere: boolean;
}

/** What is wrong with a span's place in the tree. */
export type Oddity = 'missing-parent' | 'cycle';

export interface Span {
  /** Position in `Trace.spans`, which is also the reading order. */
  readonly index: number;
  readonly id: string;
  readonly name: string;
  readonly service: string;
  readonly kind?: SpanKind;
  /** Microseconds since the epoch. */
  readonly start: number;
  readonly end: number;
  /** Microseconds, never negative. */
  readonly duration: number;
  readonly failed: boolean;
  /** Index of the parent, or -1. */
  readonly parent: number;
  readonly depth: number;
  /** One past the index of the last descendant. */
  readonly subtreeEnd: number;
  readonly oddity?: Oddity;
  readonly references: readonly Reference[];
  readonly attributes: readonly Attribute[];
  readonly resource: readonly Attribute[];
  readonly events: readonly SpanEvent[];
  readonly warnings: readonly string[];
}

export interface ServiceCount {
  readonly name: string;
  readonly spans: number;
  readonly failures: number;
}

export interface Trace {
  readonly id: string;
  /** In reading order: every span is followed by its descendants. */
  readonly spans: readonly Span[];
  /** The span that names the trace; absent only when the trace has no spans. */
  readonly root?: Span;
  readonly start: number;
  readonly end: number;
  readonly duration: number;
  /** In order of first appearance. */
  readonly services: readonly ServiceCount[];
  readonly failures: number;
  readonly orphans: number;
  readonly edges: readonly MessageEdge[];
  readonly warnings: readonly string[];
}

export function buildTrace(wire: WireTrace): Trace {
  const source = wire.spans ?? [];
  const places = indexById(source);
  const links = source.map((span) => parentLink(span, places));
  const shape = arrange(
    links.map((link) => link.parent),
    source.map((span) => microseconds(span.startTime)),
  );
  const indexOf = new Map(shape.order.map((position, index) => [position, index]));
  const spans = shape.order.map((position, index) => {
    const span = source[position] as WireSpan;
    const oddity: Oddity | undefined = shape.cut.has(position)
      ? 'cycle'
      : links[position]?.missing
        ? 'missing-parent'
        : undefined;
    return {
      ...readSpan(span, wire.processes ?? {}),
      index,
      parent: shape.parent[index] ?? NONE,
      depth: shape.depth[index] ?? 0,
      subtreeEnd: shape.subtreeEnd[index] ?? index + 1,
      references: (span.references ?? []).map((reference) =>
        readReference(reference, span, indexOf.get(places.get(shortId(reference.spanID)) ?? NONE)),
      ),
      ...(oddity && { oddity }),
    };
  });
  return summed(wire, spans);
}

function summed(wire: WireTrace, spans: readonly Span[]): Trace {
  const root = spans.find((span) => span.parent === NONE && !span.oddity) ?? spans[0];
  let start = root?.start ?? 0;
  let end = root?.end ?? 0;
  for (const span of spans) {
    start = Math.min(start, span.start);
    end = Math.max(end, span.end);
  }
  return {
    id: wire.traceID,
    spans,
    ...(root && { root }),
    start,
    end,
    duration: end - start,
    services: countServices(spans),
    failures: spans.filter((span) => span.failed).length,
    orphans: spans.filter((span) => span.oddity === 'missing-parent').length,
    edges: messageEdges(spans),
    warnings: wire.warnings ?? [],
  };
}

function indexById(spans: readonly WireSpan[]): Map<string, number> {
  const places = new Map<string, number>();
  spans.forEach((span, position) => {
    // Zipkin's shared spans give two spans one id; the first, usually the client's, is the parent.
    const id = shortId(span.spanID);
    if (!places.has(id)) places.set(id, position);
  });
  return places;
}

/** Jaeger's rule: the parent is the first reference, of either type, into the span's own trace. */
function parentLink(span: WireSpan, places: ReadonlyMap<string, number>) {
  const reference = (span.references ?? []).find((candidate) => isSameTrace(candidate, span));
  if (!reference) return { parent: NONE, missing: false };
  const parent = places.get(shortId(reference.spanID)) ?? NONE;
  return { parent, missing: parent === NONE };
}

function isSameTrace(reference: WireReference, span: WireSpan): boolean {
  return shortId(reference.traceID) === shortId(span.traceID);
}

function readReference(wire: WireReference, span: WireSpan, target: number | undefined): Reference {
  const elsewhere = !isSameTrace(wire, span);
  return {
    type: wire.refType === 'FOLLOWS_FROM' ? 'FOLLOWS_FROM' : 'CHILD_OF',
    traceId: wire.traceID,
    spanId: wire.spanID,
    elsewhere,
    ...(!elsewhere && target !== undefined && { target }),
  };
}

function readSpan(wire: WireSpan, processes: Readonly<Record<string, WireProcess>>) {
  const process = processes[wire.processID ?? ''];
  const attributes = (wire.tags ?? []).map(readAttribute);
  const kind = readKind(attributes);
  const start = microseconds(wire.startTime);
  const duration = microseconds(wire.duration);
  return {
    id: wire.spanID,
    name: wire.operationName || '(no name)',
    service: process?.serviceName || '(no service)',
    ...(kind && { kind }),
    start,
    end: start + duration,
    duration,
    failed: isFailed(attributes),
    attributes,
    resource: (process?.tags ?? []).map(readAttribute),
    events: (wire.logs ?? []).map(readEvent).sort((a, b) => a.time - b.time),
    warnings: wire.warnings ?? [],
  };
}

function readEvent(log: WireLog): SpanEvent {
  const fields = (log.fields ?? []).map(readAttribute);
  const named = fields.find((field) => field.key === 'event');
  return {
    time: microseconds(log.timestamp),
    name: named?.value ?? 'event',
    attributes: fields.filter((field) => field !== named),
  };
}

function readAttribute(tag: WireTag): Attribute {
  const { value } = tag;
  return { key: tag.key, value: typeof value === 'string' ? value : (JSON.stringify(value) ?? '') };
}

function readKind(attributes: readonly Attribute[]): SpanKind | undefined {
  const kind = attributeValue(attributes, 'span.kind');
  switch (kind) {
    case 'server':
    case 'client':
    case 'producer':
    case 'consumer':
    case 'internal':
      return kind;
    default:
      return undefined;
  }
}

function isFailed(attributes: readonly Attribute[]): boolean {
  return attributeValue(attributes, 'error') === 'true' || attributeValue(attributes, 'otel.status_code') === 'ERROR';
}

export function attributeValue(attributes: readonly Attribute[], key: string): string | undefined {
  return attributes.find((attribute) => attribute.key === key)?.value;
}

function countServices(spans: readonly Span[]): ServiceCount[] {
  const counts = new Map<string, { name: string; spans: number; failures: number }>();
  for (const span of spans) {
    const count = counts.get(span.service) ?? { name: span.service, spans: 0, failures: 0 };
    count.spans += 1;
    if (span.failed) count.failures += 1;
    counts.set(span.service, count);
  }
  return [...counts.values()];
}

/** Ids are compared without case and leading zeros: back ends differ in both. */
function shortId(id: string): string {
  return id.toLowerCase().replace(/^0+/, '');
}

function microseconds(value: unknown): number {
  const number = Number(value);
  return Number.isFinite(number) && number > 0 ? number : 0;
}
