/**
 * Reads Jaeger's JSON as its UI and its API write it.
 *
 * The content of a file is untrusted: any list may be `null` or have entries that are, processes
 * may be missing, and times may be invalid.
 */
import type { TraceResponse } from '../api/types';
import { KINDS, type SpanKind } from '../trace/spanKind';
import { idOf } from './ids';
import { field, isObject, type JsonObject, list, text } from './json';
import type { ReadNotes } from './notes';
import {
  type AttributeRecord,
  attributeValue,
  type EventRecord,
  plainAttribute,
  type SpanRecord,
  statusOf,
} from './records';
import { fromMicroseconds, microseconds } from './time';
import { writeTrace } from './writer';

export function readJaeger(wire: unknown, notes: ReadNotes): TraceResponse {
  const traceId = idOf(field(wire, 'traceID'), 32);
  const spans = objects(field(wire, 'spans'), notes);
  return writeTrace(
    traceId,
    spans.map((span) => readSpan(span, field(wire, 'processes'), traceId, notes)),
    notes,
  );
}

function readSpan(
  span: JsonObject,
  processes: unknown,
  traceId: string,
  notes: ReadNotes,
): SpanRecord {
  // Jaeger's storage has the process in the span, its API in a table of the trace.
  const process = field(processes, text(span.processID)) ?? span.process;
  const tags = readTags(span.tags, notes);
  const references = objects(span.references, notes).map((reference) => ({
    isFollower: reference.refType === 'FOLLOWS_FROM',
    trace: idOf(reference.traceID, 32),
    span: idOf(reference.spanID, 16),
  }));
  // Jaeger's rule: the parent is the first reference, of either type, into the span's own trace.
  const parent = references.find(({ trace }) => trace === traceId)?.span;
  const older = span.parentSpanID ? idOf(span.parentSpanID, 16) : '';
  return {
    id: idOf(span.spanID, 16),
    parent: parent ?? older,
    name: text(span.operationName) || '(no name)',
    kind: Math.max(0, KINDS.indexOf(attributeValue(tags, 'span.kind') as SpanKind)),
    status: statusOf(attributeValue(tags, 'otel.status_code'), tags),
    statusMessage: text(attributeValue(tags, 'otel.status_description')),
    start: fromMicroseconds(span.startTime),
    duration: microseconds(span.duration) ?? 0,
    resource: {
      service: text(field(process, 'serviceName')) || '(no service)',
      attributes: readTags(field(process, 'tags'), notes),
    },
    scope: text(attributeValue(tags, 'otel.scope.name')),
    attributes: tags.filter((tag) => tag.key !== 'span.kind'),
    events: objects(span.logs, notes).map((log) => readLog(log, notes)),
    links: references
      .filter(({ isFollower, trace }) => isFollower || trace !== traceId)
      .map(({ trace, span: id }) => ({ trace, span: id, attributes: [] })),
  };
}

function readLog(log: JsonObject, notes: ReadNotes): EventRecord {
  const fields = readTags(log.fields, notes);
  const named = fields.find((tag) => tag.key === 'event');
  return {
    time: fromMicroseconds(log.timestamp),
    name: named ? text(named.value) : 'event',
    attributes: fields.filter((tag) => tag !== named),
  };
}

function readTags(tags: unknown, notes: ReadNotes): AttributeRecord[] {
  // Elasticsearch stores tags as an object if it is so configured.
  if (isObject(tags)) return Object.entries(tags).map(([key, value]) => plainAttribute(key, value));
  return objects(tags, notes)
    .filter(({ key }) => typeof key === 'string')
    .map(({ key, value }) => plainAttribute(text(key), value));
}

/** Returns the entries of a list that are objects, and notes the others. */
function objects(value: unknown, notes: ReadNotes): JsonObject[] {
  return list(value).filter((entry): entry is JsonObject => {
    if (!isObject(entry)) notes.add('entry that is no object', 'entries that are no objects');
    return isObject(entry);
  });
}
