/**
 * Hand-written traces for tests: the linked checkout of the demo, and a builder for unusual ones.
 */
import { buildTrace, type Trace } from '../trace/model';
import { readJaeger } from './jaeger';
import { ReadNotes } from './notes';

interface WireTag {
  readonly key: string;
  readonly value: unknown;
}

interface WireReference {
  readonly refType: string;
  readonly traceID: string;
  readonly spanID: string;
}

interface WireSpan extends Record<string, unknown> {
  readonly operationName: string;
}

/** A trace in Jaeger's JSON. */
export interface WireTrace {
  readonly traceID: string;
  readonly spans: readonly WireSpan[];
  readonly processes: Readonly<Record<string, unknown>>;
  readonly warnings: null;
}

export const TRACE_ID = '4bf92f3577b34da6a3ce929d0e0e4736';
const START = 1_772_000_000_000_000;

export interface SpanSpec {
  readonly id: string;
  readonly service?: string;
  readonly name?: string;
  /** `[start, duration]` in microseconds after the trace's start. */
  readonly at?: readonly [number, number];
  readonly childOf?: string;
  readonly followsFrom?: string;
  readonly tags?: Readonly<Record<string, string | number | boolean>>;
}

export function traceOf(specs: readonly SpanSpec[]): WireTrace {
  const services = [...new Set(specs.map((spec) => spec.service ?? 'eshop'))];
  return {
    traceID: TRACE_ID,
    spans: specs.map((spec) => spanOf(spec, services)),
    processes: Object.fromEntries(
      services.map((serviceName, i) => [`p${i}`, { serviceName, tags: [] }]),
    ),
    warnings: null,
  };
}

function spanOf(spec: SpanSpec, services: readonly string[]): WireSpan {
  const [offset, duration] = spec.at ?? [0, 10];
  const references: WireReference[] = [];
  if (spec.childOf)
    references.push({ refType: 'CHILD_OF', traceID: TRACE_ID, spanID: spec.childOf });
  if (spec.followsFrom)
    references.push({ refType: 'FOLLOWS_FROM', traceID: TRACE_ID, spanID: spec.followsFrom });
  const tags = Object.entries(spec.tags ?? {}).map(([key, value]): WireTag => ({ key, value }));
  return {
    traceID: TRACE_ID,
    spanID: spec.id,
    operationName: spec.name ?? spec.id,
    references,
    startTime: START + offset,
    duration,
    tags,
    logs: [],
    processID: `p${services.indexOf(spec.service ?? 'eshop')}`,
    warnings: null,
  };
}

const kind = (value: string) => ({ 'span.kind': value });
const topic = { 'message_bus.destination': 'eshop-topic' };

/** One checkout in mode `linked`: the consumer span follows from the producer span. */
export const linkedCheckout: WireTrace = traceOf([
  { id: 'a0', service: 'eshop', name: 'GET /checkout', at: [0, 300_000], tags: kind('server') },
  {
    id: 'a1',
    service: 'eshop',
    name: 'GET',
    at: [2_000, 60_000],
    childOf: 'a0',
    tags: kind('client'),
  },
  {
    id: 'b0',
    service: 'inventory',
    name: 'GET /createOrder',
    at: [4_000, 55_000],
    childOf: 'a1',
    tags: kind('server'),
  },
  {
    id: 'a2',
    service: 'eshop',
    name: 'GET',
    at: [70_000, 120_000],
    childOf: 'a0',
    tags: kind('client'),
  },
  {
    id: 'c0',
    service: 'billing',
    name: 'GET /payment',
    at: [72_000, 115_000],
    childOf: 'a2',
    tags: kind('server'),
  },
  {
    id: 'c1',
    service: 'billing',
    name: 'BankTransaction.transfer',
    at: [75_000, 60_000],
    childOf: 'c0',
  },
  { id: 'c2', service: 'billing', name: 'DBAccess.save2db', at: [140_000, 40_000], childOf: 'c0' },
  {
    id: 'a3',
    service: 'eshop',
    name: 'GET',
    at: [200_000, 60_000],
    childOf: 'a0',
    tags: kind('client'),
  },
  {
    id: 'd0',
    service: 'delivery',
    name: 'GET /arrangeDelivery',
    at: [203_000, 50_000],
    childOf: 'a3',
    tags: kind('server'),
  },
  {
    id: 'a4',
    service: 'eshop',
    name: 'To_eshop-topic',
    at: [280_000, 10_000],
    childOf: 'a0',
    tags: { ...kind('producer'), ...topic },
  },
  {
    id: 'e0',
    service: 'kafka-consumer',
    name: 'From_eshop-topic',
    at: [340_000, 90_000],
    followsFrom: 'a4',
    tags: { ...kind('consumer'), ...topic },
  },
  {
    id: 'e1',
    service: 'kafka-consumer',
    name: 'GET',
    at: [342_000, 80_000],
    childOf: 'e0',
    tags: kind('client'),
  },
  {
    id: 'f0',
    service: 'notification',
    name: 'GET /sendEmail',
    at: [345_000, 74_000],
    childOf: 'e1',
    tags: kind('server'),
  },
]);

/** Builds a trace from specs, with a lookup of spans by name. */
export function built(specs: readonly SpanSpec[]): {
  trace: Trace;
  at: (name: string) => number;
} {
  return placed(traceOf(specs));
}

export function placed(wire: WireTrace): { trace: Trace; at: (name: string) => number } {
  const trace = buildTrace([readJaeger(wire, new ReadNotes())]);
  const at = (name: string) => trace.name.findIndex((text) => trace.strings[text] === name);
  return { trace, at };
}
