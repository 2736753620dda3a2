/**
 * Writes a trace in the columns of the collector's response, from spans in some other form.
 *
 * So a file that someone opens is drawn by the same code as a trace of the collector.
 */
import type { TraceResponse } from '../api/types';
import { type MessageAttributes, readMessageAttributes } from './messageAttributes';
import type { AttributeRecord, SpanRecord } from './records';

export function writeAnswer(traceId: string, sketches: readonly SpanRecord[]): TraceResponse {
  const spans = [...sketches].sort((a, b) => a.start - b.start);
  const origin = spans[0]?.start ?? 0;
  const strings = new Interner();
  const pairs = new AttributePairs(strings);
  const rows = new Map<string, number>();
  // Zipkin's shared spans give two spans one id; the first, usually the client's, is the parent.
  spans.forEach((span, row) => {
    if (!rows.has(span.id)) rows.set(span.id, row);
  });
  const resources = new Interner([]);
  const resourceEntries: { service: number; pair: number[] }[] = [];
  const scopes = new Interner([]);
  const columns = {
    parent: [] as number[],
    start: [] as number[],
    duration: [] as number[],
    name: [] as number[],
    kind: [] as number[],
    status: [] as number[],
    resource: [] as number[],
    scope: [] as number[],
    pair: [] as number[],
    pair_end: [] as number[],
  };
  const events = {
    row: [] as number[],
    time: [] as number[],
    name: [] as number[],
    pair: [] as number[],
    pair_end: [] as number[],
  };
  const links = {
    row: [] as number[],
    trace: [] as number[],
    span: [] as number[],
    target: [] as number[],
    pair: [] as number[],
    pair_end: [] as number[],
  };
  const missing = { row: [] as number[], id: [] as string[] };
  const status = { row: [] as number[], text: [] as number[] };
  const facts: (readonly [number, MessageAttributes, number])[] = [];
  const evidence = {
    row: [] as number[],
    name: [] as number[],
    inferred: [] as boolean[],
    confidence: [] as (number | null)[],
  };

  spans.forEach((span, row) => {
    const parent = span.parent ? (rows.get(span.parent) ?? -1) : -1;
    if (span.parent && parent < 0) {
      missing.row.push(row);
      missing.id.push(span.parent);
    }
    const resource = resources.add(JSON.stringify(span.resource));
    resourceEntries[resource] ??= {
      service: strings.add(span.resource.service),
      pair: pairs.addAll(span.resource.attributes),
    };
    columns.parent.push(parent);
    columns.start.push(span.start - origin);
    columns.duration.push(span.duration);
    columns.name.push(strings.add(span.name));
    columns.kind.push(span.kind);
    columns.status.push(span.status);
    columns.resource.push(resource);
    columns.scope.push(scopes.add(span.scope));
    columns.pair.push(...pairs.addAll(span.attributes));
    columns.pair_end.push(columns.pair.length);
    if (span.statusMessage) {
      status.row.push(row);
      status.text.push(strings.add(span.statusMessage));
    }
    for (const event of span.events) {
      events.row.push(row);
      events.time.push(event.time - origin);
      events.name.push(strings.add(event.name));
      events.pair.push(...pairs.addAll(event.attributes));
      events.pair_end.push(events.pair.length);
    }
    let producer = -1;
    for (const link of span.links) {
      const target = link.trace === traceId ? (rows.get(link.span) ?? -1) : -1;
      if (producer < 0 && target >= 0 && spans[target]?.kind === 4) producer = target;
      links.row.push(row);
      links.trace.push(strings.add(link.trace));
      links.span.push(strings.add(link.span));
      links.target.push(target);
      links.pair.push(...pairs.addAll(link.attributes));
      links.pair_end.push(links.pair.length);
    }
    if (producer < 0 && parent >= 0 && spans[parent]?.kind === 4) producer = parent;
    const said = readMessageAttributes(span.attributes);
    if (said) facts.push([row, said, producer]);
    const found = span.attributes.find(
      (attribute) => attribute.key === 'throughline.parent.evidence',
    );
    if (found) {
      const confidence = Number(
        span.attributes.find((attribute) => attribute.key === 'throughline.parent.confidence')
          ?.value ?? NaN,
      );
      evidence.row.push(row);
      evidence.name.push(strings.add(String(found.value)));
      evidence.inferred.push(isInferred(String(found.value), Number.isFinite(confidence)));
      evidence.confidence.push(Number.isFinite(confidence) ? confidence : null);
    }
  });
  const end = spans.reduce((latest, span) => Math.max(latest, span.start + span.duration), origin);
  return {
    trace_id: traceId,
    origin,
    duration: end - origin,
    omitted: 0,
    spans: { id: spans.map((span) => span.id).join(''), ...columns },
    pairs: pairs.columns(),
    resources: resourceEntries,
    scopes: scopes.texts.map((text) => ({ name: strings.add(text), version: 0, pair: [] })),
    events,
    links,
    missing_parents: missing,
    status_messages: status,
    trace_states: { row: [], text: [] },
    dropped: { row: [], count: [] },
    evidence,
    messages: {
      row: facts.map(([row]) => row),
      topic: facts.map(([, said]) => strings.add(said.topic)),
      group: facts.map(([, said]) => strings.add(said.group)),
      partition: facts.map(([, said]) => said.partition),
      offset: facts.map(([, said]) => said.offset),
      lag: facts.map(([, said]) => said.lag),
      queue: facts.map(() => null),
      producer: facts.map(([, , producer]) => producer),
    },
    strings: strings.texts,
  };
}

/** As the collector has it: what was carried is not inferred, and what has no parent neither. */
function isInferred(evidence: string, hasConfidence: boolean): boolean {
  return (
    evidence !== 'open' && (hasConfidence || !['header', 'request-id', 'thread'].includes(evidence))
  );
}

/** Gives each text one number. */
class Interner {
  private readonly numbers: Map<string, number>;

  /** `texts` have their numbers from the beginning; that of strings is the empty one. */
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
