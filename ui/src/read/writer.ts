/**
 * Converts spans from a file into the columns of a trace response, so that a trace from a file and
 * a trace from the collector are drawn by the same code.
 */
import { TableBuilder } from '../api/columns';
import type { TraceResponse } from '../api/types';
import { PRODUCER } from '../trace/spanKind';
import { isZero } from './ids';
import { isSettlement, readMessageAttributes } from './messageAttributes';
import type { ReadNotes } from './notes';
import { type AttributeRecord, plainAttribute, type SpanRecord } from './records';
import { earlierOf, microsecondsBetween } from './time';

/** A span whose start is known or assumed. */
interface StartedSpan extends SpanRecord {
  readonly start: bigint;
}

/** Builds the response that the collector would give for the spans of one trace. */
export function writeTrace(
  traceId: string,
  records: readonly SpanRecord[],
  notes: ReadNotes,
): TraceResponse {
  if (isZero(traceId)) notes.add('trace with an invalid ID', 'traces with an invalid ID');
  const spans = withStarts(withoutRepetitions(records, notes), notes).sort(byStart);
  const writer = new TraceWriter(traceId, spans);
  spans.forEach((span, row) => {
    if (isZero(span.id)) notes.add('span with an invalid ID', 'spans with an invalid ID');
    if (span.duration < 0)
      notes.add('span that ends before it starts', 'spans that end before they start');
    writer.addSpan(span, row);
  });
  return writer.finish();
}

/** The same span twice is one span, as in the collector. */
function withoutRepetitions(records: readonly SpanRecord[], notes: ReadNotes): SpanRecord[] {
  const seen = new Set<string>();
  return records.filter((span) => {
    const { id, kind, name, start, duration, resource } = span;
    const identity = [id, kind, name, start, duration, resource.service].join('\u0000');
    if (!seen.has(identity)) return seen.add(identity);
    notes.add('repeated span, left out', 'repeated spans, left out');
    return false;
  });
}

/** A span without a start begins with its parent, or with the trace: not in 1970. */
function withStarts(records: readonly SpanRecord[], notes: ReadNotes): StartedSpan[] {
  let earliest: bigint | undefined;
  const startOf = new Map<string, bigint>();
  for (const { id, start } of records) {
    if (start === undefined) continue;
    startOf.set(id, start);
    earliest = earlierOf(earliest, start);
  }
  return records.map((span) => {
    if (span.start !== undefined) return { ...span, start: span.start };
    notes.add('span without a start, placed at its parent’s', 'spans without a start');
    return {
      ...span,
      start: startOf.get(span.parent) ?? earliest ?? 0n,
      attributes: [...span.attributes, plainAttribute('throughline.start.assumed', true)],
    };
  });
}

function byStart(a: StartedSpan, b: StartedSpan): number {
  return a.start < b.start ? -1 : a.start > b.start ? 1 : 0;
}

class TraceWriter {
  /** Whole microseconds, in nanoseconds. */
  private readonly origin: bigint;
  private readonly strings = new Interner();
  private readonly pairs = new AttributePairs(this.strings);
  private readonly resources = new Interner([]);
  private readonly resourceEntries: { service: number; pair: number[] }[] = [];
  private readonly scopes = new Interner([]);
  private readonly rowById = new Map<string, number>();
  private readonly spans = new TableBuilder('spans');
  private readonly events = new TableBuilder('events');
  private readonly links = new TableBuilder('links');
  private readonly messages = new TableBuilder('messages');
  private readonly evidence = new TableBuilder('evidence');
  private readonly missingParents = new TableBuilder('missing_parents');
  private readonly statusMessages = new TableBuilder('status_messages');

  constructor(
    private readonly traceId: string,
    private readonly records: readonly StartedSpan[],
  ) {
    const first = records[0]?.start ?? 0n;
    this.origin = first - (first % 1000n);
    // Zipkin's shared spans give two spans one ID; the first, usually the client's, is the parent.
    records.forEach((span, row) => {
      if (!this.rowById.has(span.id)) this.rowById.set(span.id, row);
    });
  }

  addSpan(span: StartedSpan, row: number): void {
    const parent = span.parent ? this.rowOf(span.parent) : -1;
    if (span.parent && parent < 0) this.missingParents.append({ row, id: span.parent });
    this.spans.columns.pair.push(...this.pairs.addAll(span.attributes));
    this.spans.append({
      parent,
      start: microsecondsBetween(this.origin, span.start),
      duration: span.duration,
      name: this.strings.add(span.name),
      kind: span.kind,
      status: span.status,
      resource: this.addResource(span.resource),
      scope: this.scopes.add(span.scope),
      pair_end: this.spans.columns.pair.length,
    });
    if (span.statusMessage) {
      const text = this.strings.add(span.statusMessage);
      this.statusMessages.append({ row, text });
    }
    this.addEvents(span, row);
    const linkedProducer = this.addLinks(span, row);
    this.addMessage(span, row, linkedProducer >= 0 ? linkedProducer : this.producerAt(parent));
    this.addEvidence(span, row);
  }

  finish(): TraceResponse {
    const { origin, records, strings } = this;
    const ends = records.map(
      ({ start, duration }) => microsecondsBetween(origin, start) + duration,
    );
    const duration = ends.reduce((latest, end) => Math.max(latest, end), 0);
    return {
      trace_id: this.traceId,
      origin: Number(origin / 1000n),
      duration,
      omitted: 0,
      fragments: 1,
      spans: { id: records.map((span) => span.id).join(''), ...this.spans.columns },
      pairs: this.pairs.columns(),
      resources: this.resourceEntries,
      scopes: this.scopes.texts.map((text) => ({ name: strings.add(text), version: 0, pair: [] })),
      events: this.events.columns,
      links: this.links.columns,
      missing_parents: this.missingParents.columns,
      status_messages: this.statusMessages.columns,
      trace_states: new TableBuilder('trace_states').columns,
      dropped: new TableBuilder('dropped').columns,
      evidence: this.evidence.columns,
      decisions: new TableBuilder('decisions').columns,
      messages: this.messages.columns,
      strings: strings.texts,
    };
  }

  private rowOf(spanId: string): number {
    return this.rowById.get(spanId) ?? -1;
  }

  private producerAt(row: number): number {
    return this.records[row]?.kind === PRODUCER ? row : -1;
  }

  private addResource(resource: SpanRecord['resource']): number {
    const index = this.resources.add(JSON.stringify(resource));
    this.resourceEntries[index] ??= {
      service: this.strings.add(resource.service),
      pair: this.pairs.addAll(resource.attributes),
    };
    return index;
  }

  private addEvents(span: StartedSpan, row: number): void {
    for (const event of span.events) {
      this.events.columns.pair.push(...this.pairs.addAll(event.attributes));
      this.events.append({
        row,
        time: microsecondsBetween(this.origin, event.time ?? span.start),
        name: this.strings.add(event.name),
        pair_end: this.events.columns.pair.length,
      });
    }
  }

  /** Returns the row of the first linked span that sent a message, or -1. */
  private addLinks(span: SpanRecord, row: number): number {
    let producer = -1;
    for (const link of span.links) {
      const target = link.trace === this.traceId ? this.rowOf(link.span) : -1;
      if (producer < 0) producer = this.producerAt(target);
      this.links.columns.pair.push(...this.pairs.addAll(link.attributes));
      this.links.append({
        row,
        trace: this.strings.add(link.trace),
        span: this.strings.add(link.span),
        target,
        pair_end: this.links.columns.pair.length,
      });
    }
    return producer;
  }

  private addMessage(span: SpanRecord, row: number, producer: number): void {
    const message = readMessageAttributes(span.attributes);
    if (!message) return;
    this.messages.append({
      ...message,
      row,
      topic: this.strings.add(message.topic),
      group: this.strings.add(message.group),
      queue: null,
      settles: isSettlement(span.name, span.attributes),
      producer,
    });
  }

  private addEvidence(span: SpanRecord, row: number): void {
    const value = (key: string) => span.attributes.find((each) => each.key === key)?.value;
    const evidence = value('throughline.parent.evidence');
    if (evidence === undefined) return;
    const confidence = Number(value('throughline.parent.confidence') ?? NaN);
    const hasConfidence = Number.isFinite(confidence);
    this.evidence.append({
      row,
      name: this.strings.add(String(evidence)),
      inferred: isInferred(String(evidence), hasConfidence),
      confidence: hasConfidence ? confidence : null,
    });
  }
}

/** Follows the collector's rule: a carried context is not inferred, nor is an absent parent. */
function isInferred(evidence: string, hasConfidence: boolean): boolean {
  return (
    evidence !== 'open' && (hasConfidence || !['header', 'request-id', 'thread'].includes(evidence))
  );
}

/** Gives each distinct text an index. */
class Interner {
  private readonly numbers: Map<string, number>;

  /** `texts` are the first entries: for `strings` the empty text, which means not set. */
  constructor(readonly texts: string[] = ['']) {
    this.numbers = new Map(texts.map((text, i) => [text, i]));
  }

  add(text: string): number {
    const known = this.numbers.get(text);
    if (known !== undefined) return known;
    this.numbers.set(text, this.texts.length);
    return this.texts.push(text) - 1;
  }
}

class AttributePairs {
  private readonly ids = new Map<string, number>();
  private readonly keys: number[] = [];
  private readonly values: unknown[] = [];
  private kinds = '';

  constructor(private readonly strings: Interner) {}

  addAll(attributes: readonly AttributeRecord[]): number[] {
    return attributes.map(({ key, kind, value }) => {
      const identity = `${kind}${key}\u0000${JSON.stringify(value) ?? ''}`;
      const known = this.ids.get(identity);
      if (known !== undefined) return known;
      this.ids.set(identity, this.values.length);
      this.keys.push(this.strings.add(key));
      this.kinds += kind;
      return this.values.push(value) - 1;
    });
  }

  columns() {
    return { key: this.keys, kind: this.kinds, value: this.values };
  }
}
