/**
 * Reads OTLP JSON: `resourceSpans`, IDs in hex (some exporters write base64), times as strings of
 * nanoseconds.
 */
import type { TraceResponse } from '../api/types';
import { idOf } from './ids';
import { field, isObject, type JsonObject, list, text } from './json';
import type { ReadNotes } from './notes';
import { type AttributeRecord, type SpanRecord, statusOf } from './records';
import { fromNanoseconds, microsecondsBetween } from './time';
import { writeTrace } from './writer';

const SCOPE_SPANS = ['scopeSpans', 'scope_spans', 'instrumentationLibrarySpans'] as const;
const STATUS_CODES = ['UNSET', 'OK', 'ERROR'] as const;

/** Returns all traces of one or more OTLP documents. */
export function readOtlp(documents: readonly unknown[], notes: ReadNotes): TraceResponse[] {
  const traces = new Map<string, SpanRecord[]>();
  for (const group of documents.flatMap(groupsOf)) {
    const attributes = readAttributes(field(field(group, 'resource'), 'attributes'));
    const name = attributes.find((attribute) => attribute.key === 'service.name')?.value;
    const service = text(name) || '(no service)';
    for (const scoped of list(field(group, ...SCOPE_SPANS))) {
      const scope = text(field(field(scoped, 'scope', 'instrumentationLibrary'), 'name'));
      for (const span of list(field(scoped, 'spans'))) {
        if (!isObject(span)) {
          notes.add('entry that is no object', 'entries that are no objects');
          continue;
        }
        const traceId = traceIdOf(span);
        const known = traces.get(traceId) ?? [];
        known.push(readSpan(span, { service, attributes }, scope));
        traces.set(traceId, known);
      }
    }
  }
  return [...traces].map(([id, spans]) => writeTrace(id, spans, notes));
}

/** Returns the part of the documents that belongs to one trace, as one document. */
export function otlpOf(documents: readonly unknown[], traceId: string): unknown {
  const isWanted = (span: unknown) => isObject(span) && traceIdOf(span) === traceId;
  const resourceSpans = documents.flatMap(groupsOf).flatMap((group) => {
    const scopeSpans = list(field(group, ...SCOPE_SPANS)).flatMap((scoped) => {
      const spans = list(field(scoped, 'spans')).filter(isWanted);
      return spans.length > 0 ? [{ ...(scoped as JsonObject), spans }] : [];
    });
    return scopeSpans.length > 0 ? [{ resource: field(group, 'resource') ?? {}, scopeSpans }] : [];
  });
  return { resourceSpans };
}

function groupsOf(document: unknown): readonly unknown[] {
  return list(field(document, 'resourceSpans', 'resource_spans'));
}

function traceIdOf(span: JsonObject): string {
  return idOf(field(span, 'traceId', 'trace_id'), 32);
}

function readSpan(span: JsonObject, resource: SpanRecord['resource'], scope: string): SpanRecord {
  const start = fromNanoseconds(field(span, 'startTimeUnixNano', 'start_time_unix_nano'));
  const end = fromNanoseconds(field(span, 'endTimeUnixNano', 'end_time_unix_nano'));
  const status = field(span, 'status');
  const code = enumeration(field(status, 'code') ?? status, 'STATUS_CODE_', STATUS_CODES);
  const parent = field(span, 'parentSpanId', 'parent_span_id');
  const attributes = readAttributes(field(span, 'attributes'));
  return {
    id: idOf(field(span, 'spanId', 'span_id'), 16),
    parent: parent ? idOf(parent, 16) : '',
    name: text(field(span, 'name')),
    kind: enumeration(field(span, 'kind'), 'SPAN_KIND_', [
      'UNSPECIFIED',
      'INTERNAL',
      'SERVER',
      'CLIENT',
      'PRODUCER',
      'CONSUMER',
    ]),
    status: statusOf(STATUS_CODES[code], attributes),
    statusMessage: text(field(status, 'message')),
    start,
    duration: start !== undefined && end !== undefined ? microsecondsBetween(start, end) : 0,
    resource,
    scope,
    attributes,
    events: list(field(span, 'events')).map((event) => ({
      time: fromNanoseconds(field(event, 'timeUnixNano', 'time_unix_nano')),
      name: text(field(event, 'name')) || 'event',
      attributes: readAttributes(field(event, 'attributes')),
    })),
    links: list(field(span, 'links')).map((link) => ({
      trace: idOf(field(link, 'traceId', 'trace_id'), 32),
      span: idOf(field(link, 'spanId', 'span_id'), 16),
      attributes: readAttributes(field(link, 'attributes')),
    })),
  };
}

function readAttributes(found: unknown): AttributeRecord[] {
  return list(found)
    .filter(isObject)
    .map((attribute) => ({ key: text(attribute.key), ...readValue(attribute.value) }));
}

function readValue(value: unknown): { kind: string; value: unknown } {
  // Some senders write the value itself.
  if (typeof value === 'string') return { kind: 's', value };
  const [name, content] = Object.entries(isObject(value) ? value : {})[0] ?? [];
  switch (name) {
    case 'stringValue':
    case 'string_value':
      return { kind: 's', value: text(content) };
    case 'intValue':
    case 'int_value':
      return {
        kind: 'i',
        value: Number.isSafeInteger(Number(content)) ? Number(content) : String(content),
      };
    case 'doubleValue':
    case 'double_value':
      return { kind: 'd', value: content };
    case 'boolValue':
    case 'bool_value':
      return { kind: 'b', value: content === 'true' ? true : content };
    case 'bytesValue':
    case 'bytes_value':
      return { kind: 'x', value: String(content) };
    case 'arrayValue':
    case 'array_value':
      return {
        kind: 'a',
        value: list(field(content, 'values')).map((item) => readValue(item).value),
      };
    case 'kvlistValue':
    case 'kvlist_value':
      return {
        kind: 'm',
        value: Object.fromEntries(
          readAttributes(field(content, 'values')).map((entry) => [entry.key, entry.value]),
        ),
      };
    default:
      return { kind: 'n', value: null };
  }
}

function enumeration(value: unknown, prefix: string, names: readonly string[]): number {
  const number =
    typeof value === 'string' && !/^\d+$/.test(value)
      ? names.indexOf(value.replace(prefix, ''))
      : Number(value);
  return Number.isInteger(number) && number >= 0 && number < names.length ? number : 0;
}
