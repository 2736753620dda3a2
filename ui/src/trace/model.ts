/**
 * A trace, or several linked traces, as columns: there is no object per span.
 *
 * A span is identified by its index in reading order, in which every span precedes its descendants.
 * Rows and bars read typed arrays; everything else is read from the responses when a span is
 * selected (`spanDetails.ts`).
 */
import type { ServiceShare, TraceResponse } from '../api/types';
import { at, textAt } from './column';
import { type MessageEdges, readEdges } from './edges';
import { KINDS, type SpanKind } from './spanKind';
import { arrangeTree, NONE, type TreeShape } from './tree';

/** Bits of `Trace.flags`. */
export const FAILED = 1;
export const MISSING_PARENT = 2;
export const CYCLE = 4;
/** The parent is inferred, not carried. */
export const INFERRED = 8;
/** The span starts a fragment: it must have a parent, but none was found. */
export const OPEN = 16;
/** The span starts before its parent in another service: their clocks differ. */
export const SKEWED = 32;
/** The span commits or acknowledges messages: no work, and nobody waits for it. */
export const SETTLES = 64;
/** The span was sent with an end before its start; it is drawn as an instant. */
export const NEGATIVE = 128;
/** In microseconds; tracers that read clocks in whole milliseconds do not count as skewed. */
const MIN_SKEW = 1_000;

/** The columns with one entry per span: their types, allocation and ordering follow from here. */
const SPAN_COLUMNS = {
  /** Microseconds since `Trace.start`. */
  begin: Float64Array,
  /** Microseconds. */
  length: Float64Array,
  /** Index into `Trace.strings`. */
  name: Uint32Array,
  /** Index into `Trace.services`. */
  service: Uint32Array,
  /** Index into `KINDS`. */
  kind: Uint8Array,
  flags: Uint8Array,
  /** Index into `Trace.responses`. */
  lane: Uint8Array,
  /** Row in the response of the lane. */
  row: Int32Array,
} as const;

type SpanColumns = {
  readonly [C in keyof typeof SPAN_COLUMNS]: InstanceType<(typeof SPAN_COLUMNS)[C]>;
};

export interface Trace extends SpanColumns, Pick<TreeShape, 'parent' | 'depth' | 'subtreeEnd'> {
  /** ID of the first lane. */
  readonly id: string;
  /** One response per lane; a single trace is one lane. */
  readonly responses: readonly TraceResponse[];
  readonly count: number;
  /** Whole microseconds since the epoch. All other times count from `startFraction` later. */
  readonly start: number;
  /** Less than a microsecond: a double near 1.8e15 has no room for it. */
  readonly startFraction: number;
  /** From the start to the end of the work. */
  readonly duration: number;
  /** From the start to the end of the last span; commits may follow the work by seconds. */
  readonly extent: number;
  readonly strings: readonly string[];
  readonly services: readonly ServiceShare[];
  /** Number of failed spans before each index; one entry longer than the columns. */
  readonly failedBefore: Int32Array;
  readonly edges: MessageEdges;
  /** Span that names the trace; `NONE` only without spans. */
  readonly root: number;
  readonly failures: number;
  readonly orphans: number;
  readonly cycles: number;
  readonly skewed: number;
  readonly negative: number;
  readonly omitted: number;
  /** Number of reported traces that were joined. */
  readonly fragments: number;
}

/** The spans of all lanes in the order of the responses. */
interface UnorderedSpans {
  readonly strings: readonly string[];
  readonly services: ServiceShare[];
  readonly columns: SpanColumns;
  readonly parent: Int32Array;
}

export function buildTrace(responses: readonly TraceResponse[]): Trace {
  const origin = earliestStart(responses);
  const unordered = gatherSpans(responses, origin);
  const shape = arrangeTree(unordered.parent, unordered.columns.begin, unordered.columns.lane);
  const { order, parent, depth, subtreeEnd, cut } = shape;
  const columns = reorderColumns(unordered.columns, order);
  const { begin, length, flags } = columns;
  order.forEach((position, index) => {
    if (cut.has(position)) flags[index] = (at(flags, index) | CYCLE) & ~MISSING_PARENT;
  });
  markSkew(columns, parent);
  const count = order.length;
  let [work, extent] = [-1, 0];
  for (let i = 0; i < count; i++) {
    const end = at(begin, i) + at(length, i);
    extent = Math.max(extent, end);
    if ((at(flags, i) & SETTLES) === 0) work = Math.max(work, end);
  }
  // A trace of commits alone is as long as they are.
  const duration = work < 0 ? extent : work;
  const failedBefore = prefixCount(flags, FAILED);
  return {
    ...columns,
    parent,
    depth,
    subtreeEnd,
    id: responses[0]?.trace_id ?? '',
    responses,
    count,
    start: origin.whole,
    startFraction: origin.fraction,
    duration,
    extent,
    strings: unordered.strings,
    services: unordered.services,
    failedBefore,
    edges: readEdges(responses, { ...columns, order, parent }),
    root: rootOf(parent, flags),
    failures: at(failedBefore, count),
    orphans: at(prefixCount(flags, MISSING_PARENT), count),
    cycles: cut.size,
    skewed: at(prefixCount(flags, SKEWED), count),
    negative: at(prefixCount(flags, NEGATIVE), count),
    omitted: responses.reduce((sum, response) => sum + response.omitted, 0),
    fragments: responses.reduce((sum, response) => sum + response.fragments, 0),
  };
}

export function hasChildren(trace: Trace, index: number): boolean {
  return at(trace.subtreeEnd, index) > index + 1;
}

export function isFailed(trace: Trace, index: number): boolean {
  return (at(trace.flags, index) & FAILED) !== 0;
}

/** Counts the failed spans below a span, without the span itself. */
export function countFailuresBelow(trace: Trace, index: number): number {
  return at(trace.failedBefore, at(trace.subtreeEnd, index)) - at(trace.failedBefore, index + 1);
}

export function endOf(trace: Trace, index: number): number {
  return at(trace.begin, index) + at(trace.length, index);
}

export function nameOf(trace: Trace, index: number): string {
  return textAt(trace.strings, at(trace.name, index)) || '(no name)';
}

export function serviceOf(trace: Trace, index: number): string {
  return trace.services[at(trace.service, index)]?.name ?? '';
}

export function kindOf(trace: Trace, index: number): SpanKind {
  return KINDS[at(trace.kind, index)] ?? '';
}

export function spanIdOf(trace: Trace, index: number): string {
  const from = 16 * at(trace.row, index);
  return responseOf(trace, index).spans.id.slice(from, from + 16);
}

export function responseOf(trace: Trace, index: number): TraceResponse {
  return trace.responses[at(trace.lane, index)] as TraceResponse;
}

/** Returns the index of a span by its ID, in the lane of `traceId` or in any lane, or `NONE`. */
export function findSpan(trace: Trace, spanId: string, traceId?: string): number {
  const wanted = spanId.toLowerCase().padStart(16, '0');
  for (let index = 0; index < trace.count; index++) {
    const response = responseOf(trace, index);
    if (traceId !== undefined && response.trace_id !== traceId) continue;
    if (response.spans.id.startsWith(wanted, 16 * at(trace.row, index))) return index;
  }
  return NONE;
}

/** A point in time: whole microseconds since the epoch, and the rest. */
interface TraceStart {
  readonly whole: number;
  readonly fraction: number;
}

function earliestStart(responses: readonly TraceResponse[]): TraceStart {
  let earliest: TraceStart | undefined;
  for (const { origin, spans } of responses) {
    if (spans.start.length === 0) continue;
    let least = Infinity;
    for (const start of spans.start) least = Math.min(least, start);
    const whole = origin + Math.floor(least);
    const fraction = least - Math.floor(least);
    const isEarlier =
      !earliest ||
      whole < earliest.whole ||
      (whole === earliest.whole && fraction < earliest.fraction);
    if (isEarlier) earliest = { whole, fraction };
  }
  return earliest ?? { whole: 0, fraction: 0 };
}

/** Returns the time from the start of a trace to an offset of a response, to the nanosecond. */
export function sinceStart(
  start: { readonly start: number; readonly startFraction: number },
  origin: number,
  offset: number,
): number {
  const time = origin - start.start + offset - start.startFraction;
  // Exact in decimals: 12.883 - 0.883 is 12, not 11.999999999999998.
  return Math.abs(time) < 1e12 ? Math.round(time * 1e3) / 1e3 : time;
}

function gatherSpans(responses: readonly TraceResponse[], start: TraceStart): UnorderedSpans {
  const count = responses.reduce((sum, response) => sum + response.spans.start.length, 0);
  const strings: string[] = [];
  const services = new Map<string, { index: number; spans: number; errors: number }>();
  const columns = allocateColumns(count);
  const parents = new Int32Array(count);
  let base = 0;
  responses.forEach((response, lane) => {
    const { spans } = response;
    const from = { start: start.whole, startFraction: start.fraction };
    const firstString = strings.length;
    for (const text of response.strings) strings.push(text);
    const serviceOfResource = response.resources.map(({ service }) => {
      const name = textAt(response.strings, service) || '(no service)';
      const share = services.get(name) ?? { index: services.size, spans: 0, errors: 0 };
      services.set(name, share);
      return share;
    });
    const linked = firstLinkTargets(response);
    for (let row = 0; row < spans.start.length; row++) {
      const i = base + row;
      const share = serviceOfResource[at(spans.resource, row)] ?? { index: 0, spans: 0, errors: 0 };
      const failed = spans.status[row] === 2;
      share.spans += 1;
      if (failed) share.errors += 1;
      const parent = at(spans.parent, row) >= 0 ? at(spans.parent, row) : at(linked, row);
      columns.begin[i] = sinceStart(from, response.origin, at(spans.start, row));
      columns.length[i] = Math.max(0, at(spans.duration, row));
      columns.name[i] = firstString + at(spans.name, row);
      columns.service[i] = share.index;
      columns.kind[i] = at(spans.kind, row);
      columns.flags[i] = (failed ? FAILED : 0) | (at(spans.duration, row) < 0 ? NEGATIVE : 0);
      columns.lane[i] = lane;
      columns.row[i] = row;
      parents[i] = parent >= 0 ? base + parent : NONE;
    }
    markParentFlags(response, columns.flags, base);
    base += spans.start.length;
  });
  const shares = [...services].map(([name, { spans, errors }]) => ({ name, spans, errors }));
  return { strings, services: shares, columns, parent: parents };
}

/** A span without a parent becomes a child of the first span it links to, as in Jaeger. */
function firstLinkTargets({ spans, links }: TraceResponse): Int32Array {
  const first = new Int32Array(spans.start.length).fill(NONE);
  links.row.forEach((row, link) => {
    const target = links.target[link] ?? NONE;
    if (first[row] === NONE && target !== row) first[row] = target;
  });
  return first;
}

function markParentFlags(response: TraceResponse, flags: Uint8Array, base: number): void {
  const mark = (row: number, flag: number) => {
    flags[base + row] = at(flags, base + row) | flag;
  };
  for (const row of response.missing_parents.row) mark(row, MISSING_PARENT);
  response.messages.row.forEach((row, i) => {
    if (response.messages.settles[i]) mark(row, SETTLES);
  });
  response.evidence.row.forEach((row, i) => {
    if (response.evidence.inferred[i]) mark(row, INFERRED);
    if (response.strings[response.evidence.name[i] ?? 0] === 'open') mark(row, OPEN);
  });
}

/** Marks spans whose clock differs from their parent's; times are not changed. */
function markSkew({ begin, service, flags }: SpanColumns, parent: Int32Array): void {
  parent.forEach((above, i) => {
    if (above === NONE || service[above] === service[i]) return;
    if (at(begin, above) - at(begin, i) > MIN_SKEW) flags[i] = at(flags, i) | SKEWED;
  });
}

function rootOf(parent: Int32Array, flags: Uint8Array): number {
  for (let i = 0; i < parent.length; i++) {
    if (parent[i] === NONE && (at(flags, i) & (MISSING_PARENT | CYCLE)) === 0) return i;
  }
  return parent.length > 0 ? 0 : NONE;
}

function prefixCount(flags: Uint8Array, bit: number): Int32Array {
  const before = new Int32Array(flags.length + 1);
  for (let i = 0; i < flags.length; i++)
    before[i + 1] = at(before, i) + ((at(flags, i) & bit) === 0 ? 0 : 1);
  return before;
}

function allocateColumns(count: number): SpanColumns {
  const columns = Object.entries(SPAN_COLUMNS).map(([name, Column]) => [name, new Column(count)]);
  return Object.fromEntries(columns) as SpanColumns;
}

function reorderColumns(columns: SpanColumns, order: Int32Array): SpanColumns {
  const reordered = allocateColumns(order.length);
  for (const name of Object.keys(SPAN_COLUMNS) as (keyof SpanColumns)[]) {
    const [source, target] = [columns[name], reordered[name]];
    for (let i = 0; i < order.length; i++) target[i] = at(source, at(order, i));
  }
  return reordered;
}
