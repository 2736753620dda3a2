/** Spans as objects: the form between a file format and the columns of a trace. */

export interface AttributeRecord {
  readonly key: string;
  readonly kind: string;
  readonly value: unknown;
}

export interface EventRecord {
  /** Nanoseconds since the epoch; absent if the file has none. */
  readonly time: bigint | undefined;
  readonly name: string;
  readonly attributes: readonly AttributeRecord[];
}

export interface LinkRecord {
  readonly trace: string;
  readonly span: string;
  readonly attributes: readonly AttributeRecord[];
}

export interface SpanRecord {
  readonly id: string;
  readonly parent: string;
  readonly name: string;
  /** As in `TRACE_TABLES.spans.kind`. */
  readonly kind: number;
  readonly status: number;
  readonly statusMessage: string;
  /** Nanoseconds since the epoch; absent if the file has none. */
  readonly start: bigint | undefined;
  /** Microseconds; negative if the end is before the start. */
  readonly duration: number;
  readonly resource: { readonly service: string; readonly attributes: readonly AttributeRecord[] };
  readonly scope: string;
  readonly attributes: readonly AttributeRecord[];
  readonly events: readonly EventRecord[];
  readonly links: readonly LinkRecord[];
}

/** Returns the value of an attribute; the last one if a sender repeats it. */
export function attributeValue(attributes: readonly AttributeRecord[], key: string): unknown {
  return attributes.findLast((attribute) => attribute.key === key)?.value;
}

/** Returns an attribute for a value of plain JSON. */
export function plainAttribute(key: string, value: unknown): AttributeRecord {
  if (typeof value === 'boolean') return { key, kind: 'b', value };
  if (typeof value === 'number') return { key, kind: Number.isInteger(value) ? 'i' : 'd', value };
  if (value === null || value === undefined) return { key, kind: 'n', value: null };
  return { key, kind: 's', value: typeof value === 'string' ? value : JSON.stringify(value) };
}

/**
 * Returns the status number of a span. OpenTracing's tag `error` fails a span whose status is not
 * set, as in the collector.
 */
export function statusOf(code: unknown, attributes: readonly AttributeRecord[]): number {
  if (code === 'ERROR') return 2;
  if (code === 'OK') return 1;
  const error = attributeValue(attributes, 'error');
  return error === true || error === 'true' ? 2 : 0;
}
