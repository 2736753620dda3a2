/**
 * Reads Jaeger's JSON as its UI and its API write it.
 *
 * The content of a file is untrusted: processes may be missing and times may be invalid.
 */
import type { TraceResponse } from '../api/types';
import { KINDS, type SpanKind } from '../trace/spanKind';
import type { AttributeRecord, SpanRecord } from './records';
import type { WireLog, WireReference, WireSpan, WireTag, WireTrace } from './wire';
import { writeTrace } from './writer';

export function readJaeger(wire: WireTrace): TraceResponse {
  const traceId = longId(wire.traceID, 32);
  return writeTrace(
    traceId,
    (wire.spans ?? []).map((span) => readSpan(span, wire, traceId)),
  );
}

function readSpan(span: WireSpan, wire: WireTrace, traceId: string): SpanRecord {
  const process = wire.processes?.[span.processID ?? ''];
  const tags = (span.tags ?? []).map(readTag);
  const value = (key: string) => tags.find((tag) => tag.key === key)?.value;
  const references = (span.references ?? []).map((reference) => ({
    ...reference,
    elsewhere: longId(reference.traceID, 32) !== traceId,
  }));
  // Jaeger's rule: the parent is the first reference, of either type, into the span's own trace.
  const parent = references.find((reference) => !reference.elsewhere);
  const failed =
    value('error') === true || value('error') === 'true' || value('otel.status_code') === 'ERROR';
  return {
    id: longId(span.spanID, 16),
    parent: parent ? longId(parent.spanID, 16) : '',
    name: span.operationName || '(no name)',
    kind: Math.max(0, KINDS.indexOf(value('span.kind') as SpanKind)),
    status: failed ? 2 : value('otel.status_code') === 'OK' ? 1 : 0,
    statusMessage: String(value('otel.status_description') ?? ''),
    start: microseconds(span.startTime),
    duration: microseconds(span.duration),
    resource: {
      service: process?.serviceName || '(no service)',
      attributes: (process?.tags ?? []).map(readTag),
    },
    scope: String(value('otel.scope.name') ?? ''),
    attributes: tags.filter((tag) => tag.key !== 'span.kind'),
    events: (span.logs ?? []).map(readLog),
    links: references
      .filter((reference) => reference.refType === 'FOLLOWS_FROM' || reference.elsewhere)
      .map(readLink),
  };
}

function readLink(reference: WireReference) {
  return {
    trace: longId(reference.traceID, 32),
    span: longId(reference.spanID, 16),
    attributes: [],
  };
}

function readLog(log: WireLog) {
  const fields = (log.fields ?? []).map(readTag);
  const named = fields.find((field) => field.key === 'event');
  return {
    time: microseconds(log.timestamp),
    name: named ? String(named.value) : 'event',
    attributes: fields.filter((field) => field !== named),
  };
}

function readTag(tag: WireTag): AttributeRecord {
  const { value } = tag;
  if (typeof value === 'boolean') return { key: tag.key, kind: 'b', value };
  if (typeof value === 'number')
    return { key: tag.key, kind: Number.isInteger(value) ? 'i' : 'd', value };
  return {
    key: tag.key,
    kind: 's',
    value: typeof value === 'string' ? value : (JSON.stringify(value) ?? ''),
  };
}

/** Back ends differ in letter case and leading zeros. */
function longId(id: unknown, digits: number): string {
  return String(id ?? '')
    .toLowerCase()
    .padStart(digits, '0')
    .slice(-digits);
}

function microseconds(value: unknown): number {
  const number = Number(value);
  return Number.isFinite(number) && number > 0 ? number : 0;
}
