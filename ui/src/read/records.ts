/** Spans as objects: the form between a file format and the columns of a trace. */

export interface AttributeRecord {
  readonly key: string;
  readonly kind: string;
  readonly value: unknown;
}

export interface SpanRecord {
  readonly id: string;
  readonly parent: string;
  readonly name: string;
  /** As in `TRACE_TABLES.spans.kind`. */
  readonly kind: number;
  readonly status: number;
  readonly statusMessage: string;
  /** Microseconds since the epoch. */
  readonly start: number;
  readonly duration: number;
  readonly resource: { readonly service: string; readonly attributes: readonly AttributeRecord[] };
  readonly scope: string;
  readonly attributes: readonly AttributeRecord[];
  readonly events: readonly {
    readonly time: number;
    readonly name: string;
    readonly attributes: readonly AttributeRecord[];
  }[];
  readonly links: readonly {
    readonly trace: string;
    readonly span: string;
    readonly attributes: readonly AttributeRecord[];
  }[];
}
