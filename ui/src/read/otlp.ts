/**
 * Reads OTLP JSON: `resourceSpans`, IDs in hex (some exporters write base64), times as strings of
 * nanoseconds.
 */
import type { TraceResponse } from '../api/types';
import type { AttributeRecord, SpanRecord } from './records';
import { writeTrace } from './writer';

type JsonObject = Readonly<Record<string, unknown>>;

/** Returns all traces of one or more OTLP documents. */
export function readOtlp(documents: readonly unknown[]): TraceResponse[] {
  const traces = new Map<string, SpanRecord[]>();
  for (const document of documents) {
    for (const group of list(field(document, 'resourceSpans', 'resource_spans'))) {
      const attributes = readAttributes(field(field(group, 'resource'), 'attributes'));
      const service = String(
        attributes.find((attribute) => attribute.key === 'service.name')?.value ?? '(no service)',
      );
      for (const scoped of list(
        field(group, 'scopeSpans', 'scope_spans', 'instrumentationLibrarySpans'),
      )) {
        const scope = String(field(field(scoped, 'scope'), 'name') ?? '');
        for (const span of list(field(scoped, 'spans'))) {
          const traceId = hex(field(span, 'traceId', 'trace_id'), 32);
          const known = traces.get(traceId) ?? [];
          known.push(readSpan(span, { service, attributes }, scope));
          traces.set(traceId, known);
        }
      }
    }
  }
  return [...traces].map(([id, spans]) => writeTrace(id, spans));
}

/** Returns the part of the documents that belongs to one trace, as one document. */
export function otlpOf(documents: readonly unknown[], traceId: string): unknown {
  const isWanted = (span: unknown) => hex(field(span, 'traceId', 'trace_id'), 32) === traceId;
  const groups = documents.flatMap((document) =>
    list(field(document, 'resourceSpans', 'resource_spans')),
  );
  const resourceSpans = groups.flatMap((group) => {
    const scopeSpans = list(
      field(group, 'scopeSpans', 'scope_spans', 'instrumentationLibrarySpans'),
    ).flatMap((scoped) => {
      const spans = list(field(scoped, 'spans')).filter(isWanted);
      return spans.length > 0 ? [{ ...(scoped as JsonObject), spans }] : [];
    });
    return scopeSpans.length > 0 ? [{ resource: field(group, 'resource') ?? {}, scopeSpans }] : [];
  });
  return { resourceSpans };
}

function readSpan(span: unknown, resource: SpanRecord['resource'], scope: string): SpanRecord {
  const start = micros(field(span, 'startTimeUnixNano', 'start_time_unix_nano'));
  const end = micros(field(span, 'endTimeUnixNano', 'end_time_unix_nano'));
  const status = field(span, 'status');
  const parent = field(span, 'parentSpanId', 'parent_span_id');
  return {
    id: hex(field(span, 'spanId', 'span_id'), 16),
    parent: parent ? hex(parent, 16) : '',
    name: String(field(span, 'name') ?? ''),
    kind: enumeration(field(span, 'kind'), 'SPAN_KIND_', [
      'UNSPECIFIED',
      'INTERNAL',
      'SERVER',
      'CLIENT',
      'PRODUCER',
      'CONSUMER',
    ]),
    status: enumeration(field(status, 'code'), 'STATUS_CODE_', ['UNSET', 'OK', 'ERROR']),
    statusMessage: String(field(status, 'message') ?? ''),
    start,
    duration: Math.max(0, end - start),
    resource,
    scope,
    attributes: readAttributes(field(span, 'attributes')),
    events: list(field(span, 'events')).map((event) => ({
      time: micros(field(event, 'timeUnixNano', 'time_unix_nano')),
      name: String(field(event, 'name') ?? 'event'),
      attributes: readAttributes(field(event, 'attributes')),
    })),
    links: list(field(span, 'links')).map((link) => ({
      trace: hex(field(link, 'traceId', 'trace_id'), 32),
      span: hex(field(link, 'spanId', 'span_id'), 16),
      attributes: readAttributes(field(link, 'attributes')),
    })),
  };
}

function readAttributes(found: unknown): AttributeRecord[] {
  return list(found).map((attribute) => ({
    key: String(field(attribute, 'key') ?? ''),
    ...readValue(field(attribute, 'value')),
  }));
}

function readValue(value: unknown): { kind: string; value: unknown } {
  const [name, content] = Object.entries((value ?? {}) as JsonObject)[0] ?? [];
  switch (name) {
    case 'stringValue':
      return { kind: 's', value: String(content) };
    case 'intValue':
      return {
        kind: 'i',
        value: Number.isSafeInteger(Number(content)) ? Number(content) : String(content),
      };
    case 'doubleValue':
      return { kind: 'd', value: content };
    case 'boolValue':
      return { kind: 'b', value: content };
    case 'bytesValue':
      return { kind: 'x', value: String(content) };
    case 'arrayValue':
      return {
        kind: 'a',
        value: list(field(content, 'values')).map((item) => readValue(item).value),
      };
    case 'kvlistValue':
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

function field(object: unknown, ...names: readonly string[]): unknown {
  if (typeof object !== 'object' || object === null) return undefined;
  for (const name of names) if (Object.hasOwn(object, name)) return (object as JsonObject)[name];
  return undefined;
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function enumeration(value: unknown, prefix: string, names: readonly string[]): number {
  const number =
    typeof value === 'string' ? names.indexOf(value.replace(prefix, '')) : Number(value);
  return Number.isInteger(number) && number >= 0 && number < names.length ? number : 0;
}

/** Converts nanoseconds, as a string or a number, to microseconds. */
function micros(value: unknown): number {
  const text = typeof value === 'string' && /^\d+$/.test(value) ? value : undefined;
  if (text === undefined) return Number.isFinite(Number(value)) ? Number(value) / 1e3 : 0;
  return Number(text.slice(0, -3) || 0) + Number(text.slice(-3)) / 1e3;
}

function hex(id: unknown, digits: number): string {
  const text = String(id ?? '');
  if (/^[0-9a-fA-F]+$/.test(text) && text.length <= digits)
    return text.toLowerCase().padStart(digits, '0');
  try {
    return Array.from(atob(text), (char) => char.charCodeAt(0).toString(16).padStart(2, '0'))
      .join('')
      .padStart(digits, '0')
      .slice(-digits);
  } catch {
    return ''.padStart(digits, '0');
  }
}
