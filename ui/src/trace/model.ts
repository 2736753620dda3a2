/**
 * A trace, or several that belong together, as columns: no object per span.
 *
 * A span is its place in reading order, where each is followed by all that is below it. What rows and
 * bars need stands in typed arrays; all else is read from the responses when a span is looked at
 * (`detail.ts`).
 */
import type { ServiceShare, TraceResponse } from '../api/types';
import { at, textAt } from './column';
import { type MessageEdges, readEdges } from './edges';
import { arrangeTree, NONE } from './tree';

export const KINDS = ['', 'internal', 'server', 'client', 'producer', 'consumer'] as const;
export type SpanKind = (typeof KINDS)[number];
export const PRODUCER = 4;
export const CONSUMER = 5;

/** Bits of `Trace.flags`. */
export const FAILED = 1;
export const MISSING_PARENT = 2;
export const CYCLE = 4;
/** The parent is inferred, not carried. */
export const INFERRED = 8;
/** Begins a fragment: there must be a parent, and none was found. */
export const OPEN = 16;
/** Begins before the span of another service that caused it: their clocks differ. */
export const SKEWED = 32;
/** Microseconds; clocks of whole milliseconds, as some tracers read them, are not skew. */
const SKEW = 1_000;

export interface Trace {
  /** The id of the first lane. */
  readonly id: string;
  /** One response per lane; a single trace is one lane. */
  readonly responses: readonly TraceResponse[];
  readonly count: number;
  /** Microseconds since the epoch; all other times count from here. */
  readonly start: number;
  readonly duration: number;
  readonly strings: readonly string[];
  readonly services: readonly ServiceShare[];
  readonly begin: Float64Array;
  readonly length: Float64Array;
  /** Into `strings`. */
  readonly name: Uint32Array;
  /** Into `services`. */
  readonly service: Uint32Array;
  /** Into `KINDS`. */
  readonly kind: Uint8Array;
  readonly flags: Uint8Array;
  readonly lane: Uint8Array;
  /** Row in the lane's response. */
  readonly row: Int32Array;
  readonly parent: Int32Array;
  readonly depth: Uint32Array;
  readonly subtreeEnd: Int32Array;
  /** Failed spans before each place; one longer than the others. */
  readonly failedBefore: Int32Array;
  readonly edges: MessageEdges;
  /** Span that names the trace; `NONE` only without spans. */
  readonly root: number;
  readonly failures: number;
  readonly orphans: number;
  readonly cycles: number;
  readonly skewed: number;
  readonly omitted: number;
}

/** What of the input is put in reading order. */
interface UnorderedSpans {
  readonly strings: readonly string[];
  readonly services: ServiceShare[];
  readonly begin: Float64Array;
  readonly length: Float64Array;
  readonly name: Uint32Array;
  readonly service: Uint32Array;
  readonly kind: Uint8Array;
  readonly flags: Uint8Array;
  readonly lane: Uint8Array;
  readonly row: Int32Array;
  readonly parent: Int32Array;
}

export function buildTrace(responses: readonly TraceResponse[]): Trace {
  const start = Math.min(
    ...responses.filter((response) => response.spans.start.length > 0).map(earliest),
  );
  const origin = Number.isFinite(start) ? start : 0;
  const found = gatherSpans(responses, origin);
  const shape = arrangeTree(found.parent, found.begin, found.lane);
  const { order } = shape;
  const flags = pick(found.flags, order);
  order.forEach((position, index) => {
    if (shape.cut.has(position)) flags[index] = (at(flags, index) | CYCLE) & ~MISSING_PARENT;
  });
  const placed = {
    ...shape,
    flags,
    begin: pick(found.begin, order),
    length: pick(found.length, order),
    name: pick(found.name, order),
    service: pick(found.service, order),
    kind: pick(found.kind, order),
    lane: pick(found.lane, order),
    row: pick(found.row, order),
  };
  markSkew(placed);
  const count = order.length;
  let duration = 0;
  for (let i = 0; i < count; i++)
    duration = Math.max(duration, at(placed.begin, i) + at(placed.length, i));
  const failedBefore = prefixCount(flags, FAILED);
  return {
    id: responses[0]?.trace_id ?? '',
    responses,
    count,
    start: origin,
    duration,
    strings: found.strings,
    services: found.services,
    ...placed,
    failedBefore,
    edges: readEdges(responses, placed),
    root: rootOf(placed.parent, flags),
    failures: at(failedBefore, count),
    orphans: at(prefixCount(flags, MISSING_PARENT), count),
    cycles: shape.cut.size,
    skewed: at(prefixCount(flags, SKEWED), count),
    omitted: responses.reduce((sum, response) => sum + response.omitted, 0),
  };
}

export function hasChildren(trace: Trace, index: number): boolean {
  return at(trace.subtreeEnd, index) > index + 1;
}

export function isFailed(trace: Trace, index: number): boolean {
  return (at(trace.flags, index) & FAILED) !== 0;
}

/** Failed spans below this one, itself left out. */
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

/** The place of the span with this id in the lane of `traceId` (any lane without one), or `NONE`. */
export function findSpan(trace: Trace, spanId: string, traceId?: string): number {
  const wanted = spanId.toLowerCase().padStart(16, '0');
  for (let index = 0; index < trace.count; index++) {
    const response = responseOf(trace, index);
    if (traceId !== undefined && response.trace_id !== traceId) continue;
    if (response.spans.id.startsWith(wanted, 16 * at(trace.row, index))) return index;
  }
  return NONE;
}

function earliest(response: TraceResponse): number {
  let least = Infinity;
  for (const start of response.spans.start) least = Math.min(least, start);
  return response.origin + least;
}

function gatherSpans(responses: readonly TraceResponse[], origin: number): UnorderedSpans {
  const count = responses.reduce((sum, response) => sum + response.spans.start.length, 0);
  const strings: string[] = [];
  const services = new Map<string, { index: number; spans: number; errors: number }>();
  const found = {
    begin: new Float64Array(count),
    length: new Float64Array(count),
    name: new Uint32Array(count),
    service: new Uint32Array(count),
    kind: new Uint8Array(count),
    flags: new Uint8Array(count),
    lane: new Uint8Array(count),
    row: new Int32Array(count),
    parent: new Int32Array(count),
  };
  let base = 0;
  responses.forEach((response, lane) => {
    const { spans } = response;
    const shift = response.origin - origin;
    const firstString = strings.length;
    for (const text of response.strings) strings.push(text);
    const serviceOfResource = response.resources.map(({ service }) => {
      const name = textAt(response.strings, service) || '(no service)';
      const share = services.get(name) ?? { index: services.size, spans: 0, errors: 0 };
      services.set(name, share);
      return share;
    });
    const linked = firstTargets(response);
    for (let row = 0; row < spans.start.length; row++) {
      const i = base + row;
      const share = serviceOfResource[at(spans.resource, row)] ?? { index: 0, spans: 0, errors: 0 };
      const failed = spans.status[row] === 2;
      share.spans += 1;
      if (failed) share.errors += 1;
      const parent = at(spans.parent, row) >= 0 ? at(spans.parent, row) : at(linked, row);
      found.begin[i] = at(spans.start, row) + shift;
      found.length[i] = Math.max(0, at(spans.duration, row));
      found.name[i] = firstString + at(spans.name, row);
      found.service[i] = share.index;
      found.kind[i] = at(spans.kind, row);
      found.flags[i] = failed ? FAILED : 0;
      found.lane[i] = lane;
      found.row[i] = row;
      found.parent[i] = parent >= 0 ? base + parent : NONE;
    }
    markParentFlags(response, found.flags, base);
    base += spans.start.length;
  });
  const shares = [...services].map(([name, { spans, errors }]) => ({ name, spans, errors }));
  return { strings, services: shares, ...found };
}

/** A span without a parent hangs below the first span of the trace that it links to, as in Jaeger. */
function firstTargets({ spans, links }: TraceResponse): Int32Array {
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
  response.evidence.row.forEach((row, i) => {
    if (response.evidence.inferred[i]) mark(row, INFERRED);
    if (response.strings[response.evidence.name[i] ?? 0] === 'open') mark(row, OPEN);
  });
}

/** Says where clocks differ; nothing is moved. */
function markSkew({
  parent,
  begin,
  service,
  flags,
}: Pick<Trace, 'parent' | 'begin' | 'service' | 'flags'>): void {
  parent.forEach((above, i) => {
    if (above === NONE || service[above] === service[i] || at(begin, above) - at(begin, i) <= SKEW)
      return;
    flags[i] = at(flags, i) | SKEWED;
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

function pick<T extends Float64Array | Uint32Array | Uint8Array | Int32Array>(
  column: T,
  order: Int32Array,
): T {
  const picked = column.slice() as T;
  for (let i = 0; i < order.length; i++) picked[i] = at(column, at(order, i));
  return picked;
}
