/**
 * The tables of a trace in the query API (`docs/openapi.json`): their columns are named here only.
 *
 * The types of a response and the tables that `read/` builds follow from `TRACE_TABLES`. Times
 * are microseconds. Texts are indexes into `strings`, where index 0 is the empty text and means
 * that the value is not set.
 */

const numbers = (): number[] => [];
const nullableNumbers = (): (number | null)[] => [];
const booleans = (): boolean[] => [];
const texts = (): string[] => [];
const values = (): unknown[] => [];

export const TRACE_TABLES = {
  spans: {
    /** Row of the parent span, or -1. */
    parent: numbers,
    start: numbers,
    duration: numbers,
    name: numbers,
    /** 0 unset, 1 internal, 2 server, 3 client, 4 producer, 5 consumer. */
    kind: numbers,
    /** 0 unset, 1 ok, 2 error. */
    status: numbers,
    resource: numbers,
    scope: numbers,
    /** Attributes of all rows, one row after the other; `pair_end` bounds each row. */
    pair: numbers,
    pair_end: numbers,
  },
  /** Distinct attributes; all other tables refer to them by index. */
  pairs: { key: numbers, value: values },
  events: { row: numbers, time: numbers, name: numbers, pair: numbers, pair_end: numbers },
  links: {
    row: numbers,
    trace: numbers,
    span: numbers,
    /** Row of the linked span when it is in this trace, or -1. */
    target: numbers,
    pair: numbers,
    pair_end: numbers,
  },
  messages: {
    row: numbers,
    topic: numbers,
    group: numbers,
    partition: nullableNumbers,
    offset: nullableNumbers,
    lag: nullableNumbers,
    /** Whether the span is a commit or acknowledgement, which the duration leaves out. */
    settles: booleans,
    /** Time between the send and the receipt. */
    queue: nullableNumbers,
    /** Row of the span that sent the message, or -1. */
    producer: numbers,
  },
  evidence: { row: numbers, name: numbers, inferred: booleans, confidence: nullableNumbers },
  /** Possible parents of spans that were reported without one; several lines for one row. */
  decisions: {
    row: numbers,
    /** Trace of the possible parent as reported; the empty text for no parent, here and below. */
    trace: numbers,
    span: numbers,
    /** Row of the possible parent when it is in this trace, or -1. */
    target: numbers,
    service: numbers,
    name: numbers,
    confidence: numbers,
    /** Whether the span has this parent here. */
    chosen: booleans,
  },
  status_messages: { row: numbers, text: numbers },
  trace_states: { row: numbers, text: numbers },
  missing_parents: { row: numbers, id: texts },
  dropped: { row: numbers, count: numbers },
} as const;

type Definitions = typeof TRACE_TABLES;
type TableName = keyof Definitions;

/** A table that is being filled. */
export type Table<T extends TableName> = {
  [C in keyof Definitions[T]]: Definitions[T][C] extends () => infer Column ? Column : never;
};

/** A table as a response holds it. */
export type ReadonlyTable<T extends TableName> = {
  readonly [C in keyof Table<T>]: Readonly<Table<T>[C]>;
};

/** One value for each column but `pair`, whose length is not that of the table. */
export type TableRow<T extends TableName> = {
  readonly [C in Exclude<keyof Table<T>, 'pair'>]: Table<T>[C] extends (infer Value)[]
    ? Value
    : never;
};

export type TraceTables = { readonly [T in TableName]: ReadonlyTable<T> };

/** Collects the rows of a table and keeps them as columns. */
export class TableBuilder<T extends TableName> {
  readonly columns: Table<T>;

  constructor(name: T) {
    const definition = Object.entries<() => unknown[]>(TRACE_TABLES[name]);
    const columns = definition.map(([column, create]) => [column, create()]);
    this.columns = Object.fromEntries(columns) as Table<T>;
  }

  append(row: TableRow<T>): void {
    const columns = this.columns as Record<string, unknown[]>;
    for (const [column, value] of Object.entries(row)) columns[column]?.push(value);
  }
}
