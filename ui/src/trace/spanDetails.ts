/** The details of one span, read when it is selected. */
import type { TraceResponse } from '../api/types';
import { at, textAt } from './column';
import { responseOf, sinceStart, type Trace } from './model';

export interface Attribute {
  readonly key: string;
  readonly value: string;
  /** As in `TraceResponse.pairs.kind`. */
  readonly kind: string;
}

export interface SpanEvent {
  /** Microseconds from the start of the trace. */
  readonly time: number;
  readonly name: string;
  readonly attributes: readonly Attribute[];
}

export interface SpanLink {
  readonly traceId: string;
  readonly spanId: string;
  readonly attributes: readonly Attribute[];
}

export interface MessageDetails {
  readonly topic: string;
  readonly group: string;
  readonly partition?: number;
  readonly offset?: number;
  readonly lag?: number;
  /** Queue time in microseconds. */
  readonly queue?: number;
}

export interface ParentEvidence {
  readonly name: string;
  readonly inferred: boolean;
  readonly confidence?: number;
}

/** A possible parent of a span that was reported without one. */
export interface ParentCandidate {
  /** Trace as reported; empty for no parent. */
  readonly traceId: string;
  readonly spanId: string;
  readonly service: string;
  readonly name: string;
  readonly confidence: number;
  /** Whether the span has this parent here. */
  readonly chosen: boolean;
}

export interface SpanDetails {
  readonly attributes: readonly Attribute[];
  readonly resource: readonly Attribute[];
  readonly scope: string;
  readonly events: readonly SpanEvent[];
  readonly links: readonly SpanLink[];
  readonly message?: MessageDetails;
  readonly evidence?: ParentEvidence;
  readonly candidates: readonly ParentCandidate[];
  readonly statusMessage: string;
  readonly missingParent?: string;
  readonly dropped: number;
}

export function readSpanDetails(trace: Trace, index: number): SpanDetails {
  const response = responseOf(trace, index);
  const row = at(trace.row, index);
  const message = messageOf(trace, index);
  const evidence = evidenceOf(trace, index);
  const missing = response.missing_parents.row.indexOf(row);
  const scope = response.scopes[at(response.spans.scope, row)];
  const status = response.status_messages.row.indexOf(row);
  const dropped = response.dropped.row.indexOf(row);
  return {
    attributes: attributesOf(trace, index),
    resource: resourceOf(trace, index),
    scope: scope
      ? `${textAt(response.strings, scope.name)} ${textAt(response.strings, scope.version)}`.trim()
      : '',
    events: eventsOf(trace, index),
    links: linksOf(response, row),
    ...(message && { message }),
    ...(evidence && { evidence }),
    candidates: candidatesOf(response, row),
    statusMessage:
      status < 0 ? '' : textAt(response.strings, at(response.status_messages.text, status)),
    ...(missing >= 0 && { missingParent: response.missing_parents.id[missing] ?? '' }),
    dropped: dropped < 0 ? 0 : at(response.dropped.count, dropped),
  };
}

export function attributesOf(trace: Trace, index: number): Attribute[] {
  const response = responseOf(trace, index);
  return pairRange(response, response.spans.pair, response.spans.pair_end, at(trace.row, index));
}

export function resourceOf(trace: Trace, index: number): Attribute[] {
  const response = responseOf(trace, index);
  const resource = response.resources[at(response.spans.resource, at(trace.row, index))];
  return (resource?.pair ?? []).map((pair) => attributeAt(response, pair));
}

/** Returns the message attributes of a span, if it has any. */
export function messageOf(trace: Trace, index: number): MessageDetails | undefined {
  const { messages, strings } = responseOf(trace, index);
  const i = sortedIndexOf(messages.row, at(trace.row, index));
  if (i < 0) return undefined;
  const number = (name: 'partition' | 'offset' | 'lag' | 'queue') => {
    const value = messages[name][i];
    return value === null || value === undefined ? {} : { [name]: value };
  };
  return {
    topic: textAt(strings, at(messages.topic, i)),
    group: textAt(strings, at(messages.group, i)),
    ...number('partition'),
    ...number('offset'),
    ...number('lag'),
    ...number('queue'),
  };
}

export function evidenceOf(trace: Trace, index: number): ParentEvidence | undefined {
  const { evidence, strings } = responseOf(trace, index);
  const i = sortedIndexOf(evidence.row, at(trace.row, index));
  if (i < 0) return undefined;
  const confidence = evidence.confidence[i];
  return {
    name: textAt(strings, at(evidence.name, i)),
    inferred: evidence.inferred[i] === true,
    ...(confidence !== null && confidence !== undefined && { confidence }),
  };
}

/** Returns the possible parents of a span, the likeliest first. */
function candidatesOf({ decisions, strings }: TraceResponse, row: number): ParentCandidate[] {
  const candidates: ParentCandidate[] = [];
  decisions.row.forEach((own, i) => {
    if (own !== row) return;
    candidates.push({
      traceId: textAt(strings, at(decisions.trace, i)),
      spanId: textAt(strings, at(decisions.span, i)),
      service: textAt(strings, at(decisions.service, i)),
      name: textAt(strings, at(decisions.name, i)),
      confidence: at(decisions.confidence, i),
      chosen: decisions.chosen[i] === true,
    });
  });
  return candidates;
}

/** Returns the number of links of a span. */
export function linkCount(trace: Trace, index: number): number {
  const { links } = responseOf(trace, index);
  const row = at(trace.row, index);
  const first = lowerBound(links.row, row);
  let last = first;
  while (links.row[last] === row) last += 1;
  return last - first;
}

function linksOf(response: TraceResponse, row: number): SpanLink[] {
  const { links, strings } = response;
  const found: SpanLink[] = [];
  for (let i = lowerBound(links.row, row); links.row[i] === row; i++) {
    found.push({
      traceId: textAt(strings, at(links.trace, i)),
      spanId: textAt(strings, at(links.span, i)),
      attributes: pairRange(response, links.pair, links.pair_end, i),
    });
  }
  return found;
}

function eventsOf(trace: Trace, index: number): SpanEvent[] {
  const response = responseOf(trace, index);
  const { events, strings } = response;
  const row = at(trace.row, index);
  const found: SpanEvent[] = [];
  for (let i = lowerBound(events.row, row); events.row[i] === row; i++) {
    found.push({
      time: sinceStart(trace, response.origin, at(events.time, i)),
      name: textAt(strings, at(events.name, i)) || 'event',
      attributes: pairRange(response, events.pair, events.pair_end, i),
    });
  }
  return found.sort((a, b) => a.time - b.time);
}

function pairRange(
  response: TraceResponse,
  pairs: readonly number[],
  ends: readonly number[],
  i: number,
): Attribute[] {
  const found: Attribute[] = [];
  for (let p = i === 0 ? 0 : at(ends, i - 1); p < at(ends, i); p++)
    found.push(attributeAt(response, at(pairs, p)));
  return found;
}

export function attributeAt({ pairs, strings }: TraceResponse, pair: number): Attribute {
  const value = pairs.value[pair];
  return {
    key: textAt(strings, at(pairs.key, pair)),
    value: typeof value === 'string' ? value : (JSON.stringify(value) ?? ''),
    kind: pairs.kind[pair] ?? 's',
  };
}

/** Returns the first index whose value is not below `wanted`, in an ascending column. */
function lowerBound(column: readonly number[], wanted: number): number {
  let low = 0;
  let high = column.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at(column, middle) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

function sortedIndexOf(column: readonly number[], wanted: number): number {
  const found = lowerBound(column, wanted);
  return column[found] === wanted ? found : -1;
}
