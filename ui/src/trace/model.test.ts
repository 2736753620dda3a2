import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { built, linkedCheckout, placed, traceOf } from '../read/checkout.fixture';
import { readTraces } from '../read/file';
import { readJaeger } from '../read/jaeger';
import { ReadNotes } from '../read/notes';
import { longestQueueTimes, receivedEdges } from './edges';
import {
  buildTrace,
  CYCLE,
  countFailuresBelow,
  findSpan,
  isFailed,
  MISSING_PARENT,
  NEGATIVE,
  nameOf,
  SETTLES,
  serviceOf,
} from './model';

const kind = (value: string) => ({ 'span.kind': value });

describe('the linked checkout', () => {
  const { trace, at } = placed(linkedCheckout);

  it('has a root, services in order of appearance, and a duration', () => {
    expect(nameOf(trace, trace.root)).toBe('GET /checkout');
    expect(trace.services.map((service) => service.name)).toEqual([
      'eshop',
      'inventory',
      'billing',
      'delivery',
      'kafka-consumer',
      'notification',
    ]);
    expect(trace.duration).toBe(430_000);
    expect(trace.failures).toBe(0);
  });

  it('has the consumer below the producer, with a linked edge, queue time and topic', () => {
    const [producer, consumer] = [at('To_eshop-topic'), at('From_eshop-topic')];
    expect(trace.parent[consumer]).toBe(producer);
    expect(trace.edges.count).toBe(1);
    expect([
      trace.edges.from[0],
      trace.edges.to[0],
      trace.edges.linked[0],
      trace.edges.wait[0],
    ]).toEqual([producer, consumer, 1, 50_000]);
    expect(trace.edges.topic).toEqual(['eshop-topic']);
    expect(longestQueueTimes(trace.edges)).toEqual(new Map([['eshop-topic', 50_000]]));
    expect(receivedEdges(trace.edges, consumer)).toEqual([0]);
  });

  it('finds spans by ID, regardless of leading zeros and case', () => {
    expect(findSpan(trace, 'E0')).toBe(at('From_eshop-topic'));
    expect(findSpan(trace, 'ffff')).toBe(-1);
    expect(findSpan(trace, 'e0', 'another')).toBe(-1);
  });
});

describe('message edges', () => {
  const produce = { id: 'a', tags: kind('producer'), at: [0, 100] } as const;

  it('are the same for a consumer that is a plain child of the producer', () => {
    const { edges } = built([
      produce,
      { id: 'b', childOf: 'a', tags: kind('consumer'), at: [150, 5] },
    ]).trace;
    expect([edges.linked[0], edges.wait[0]]).toEqual([0, 50]);
  });

  it('have a negative queue time if the receipt precedes the acknowledgement', () => {
    const { edges } = built([
      produce,
      { id: 'b', followsFrom: 'a', tags: kind('consumer'), at: [80, 5] },
    ]).trace;
    expect(edges.wait[0]).toBe(-20);
    expect(longestQueueTimes(edges)).toEqual(new Map([['', 0]]));
  });

  it('have no queue time unless they go from a producer to a consumer', () => {
    expect(built([{ id: 'a' }, { id: 'b', followsFrom: 'a' }]).trace.edges.wait[0]).toBeNaN();
  });

  it('exist once per pair of spans, also if the parent is another span', () => {
    const { trace } = built([
      produce,
      { id: 'e' },
      { id: 'b', childOf: 'e', followsFrom: 'a' },
      { id: 'c', childOf: 'a', followsFrom: 'a' },
    ]);
    expect(trace.edges.count).toBe(2);
  });

  it('connect lanes of several traces', () => {
    const sender = traceOf([{ ...produce, id: 'aa' }]);
    const receiver = traceOf([{ id: 'bb', tags: kind('consumer'), at: [400, 5] }]);
    const linking = {
      ...receiver,
      traceID: 'ff',
      spans: receiver.spans.map((span) => ({
        ...span,
        traceID: 'ff',
        references: [{ refType: 'FOLLOWS_FROM', traceID: sender.traceID, spanID: 'aa' }],
      })),
    };
    const trace = buildTrace([
      readJaeger(sender, new ReadNotes()),
      readJaeger(linking, new ReadNotes()),
    ]);
    expect([...trace.lane]).toEqual([0, 1]);
    expect(trace.duration).toBe(405);
    expect([trace.edges.count, trace.edges.wait[0]]).toEqual([1, 300]);
    expect(trace.parent[1]).toBe(-1);
  });
});

describe('invalid traces', () => {
  it('keep and mark a span whose parent is missing', () => {
    const { trace } = built([
      { id: 'b', childOf: 'dead', at: [0, 5] },
      { id: 'c', childOf: 'b' },
    ]);
    expect(trace.orphans).toBe(1);
    expect([trace.flags[0], trace.depth[0], trace.depth[1]]).toEqual([MISSING_PARENT, 0, 1]);
  });

  it('are named after their true root even if an orphan starts earlier', () => {
    const { trace, at } = built([
      { id: 'b', childOf: 'dead', at: [0, 5] },
      { id: 'a', at: [10, 5] },
    ]);
    expect(trace.root).toBe(at('a'));
  });

  it('have their cycles cut', () => {
    const { trace } = built([
      { id: 'a', childOf: 'b' },
      { id: 'b', childOf: 'a' },
    ]);
    expect([trace.flags[0], trace.flags[1], trace.cycles]).toEqual([CYCLE, 0, 1]);
  });

  it('count the failed descendants of each span', () => {
    const { trace } = built([
      { id: 'a' },
      { id: 'b', childOf: 'a', tags: { error: true } },
      { id: 'c', tags: { 'otel.status_code': 'ERROR' } },
      { id: 'd', tags: { error: false } },
    ]);
    expect([0, 1, 2, 3].map((index) => isFailed(trace, index))).toEqual([false, true, true, false]);
    expect([countFailuresBelow(trace, 0), countFailuresBelow(trace, 1), trace.failures]).toEqual([
      1, 0, 2,
    ]);
    expect(trace.services).toEqual([{ name: 'eshop', spans: 4, errors: 2 }]);
  });

  it('may be empty', () => {
    const trace = buildTrace([readJaeger({ traceID: 'ab', spans: [] }, new ReadNotes())]);
    expect([trace.count, trace.root, trace.duration]).toEqual([0, -1, 0]);
  });

  it('tolerate nulls, missing processes and times that are not numbers', () => {
    const wire = {
      traceID: 'ab',
      spans: [
        {
          traceID: 'ab',
          spanID: 'a',
          operationName: '',
          references: null,
          startTime: 'soon',
          duration: -4,
          tags: null,
          logs: null,
        },
      ],
      processes: null,
    };
    const { trace } = placed(wire as never);
    expect([nameOf(trace, 0), serviceOf(trace, 0), trace.length[0]]).toEqual([
      '(no name)',
      '(no service)',
      0,
    ]);
  });
});

describe('times', () => {
  const page = (name: string) => {
    const text = readFileSync(new URL(`../../fixtures/page/${name}.json`, import.meta.url), 'utf8');
    return buildTrace(readTraces(text).traces.map(({ response }) => response));
  };

  it('below a microsecond are exact, and no start is negative', () => {
    const trace = page('sub-microsecond-start');
    expect([trace.begin[0], trace.length[0], trace.duration]).toEqual([0, 1000, 1000]);
    expect([trace.start, Number(trace.startFraction.toFixed(3))]).toEqual([
      1_795_931_049_009_115, 0.883,
    ]);
  });

  it('of several lanes count from the earliest, to the nanosecond', () => {
    const lane = (id: string, start: string) =>
      readTraces(
        JSON.stringify({
          resourceSpans: [
            {
              scopeSpans: [
                {
                  spans: [
                    {
                      traceId: id.repeat(16),
                      spanId: 'aa'.repeat(8),
                      startTimeUnixNano: start,
                      endTimeUnixNano: start,
                    },
                  ],
                },
              ],
            },
          ],
        }),
      ).traces[0]!.response;
    const trace = buildTrace([
      lane('a1', '1795931049009116001'),
      lane('a2', '1795931049009115999'),
    ]);
    expect([...trace.begin]).toEqual([0.002, 0]);
  });

  it('mark a span whose end is before its start', () => {
    const { trace } = built([
      { id: 'a', at: [0, 10] },
      { id: 'b', childOf: 'a', at: [5, -3] },
    ]);
    expect([trace.length[1], trace.flags[1]! & NEGATIVE, trace.negative]).toEqual([0, NEGATIVE, 1]);
  });

  it('of an error tag without a status fail the span; "false" does not', () => {
    const trace = page('errors');
    expect([0, 1, 2, 3].map((index) => isFailed(trace, index))).toEqual([true, true, false, false]);
  });
});

describe('commits', () => {
  const commit = {
    id: 'c1',
    name: 'commit orders',
    childOf: 'b1',
    tags: { 'messaging.operation.type': 'settle', 'messaging.destination.name': 'orders' },
  };
  const work = [
    { id: 'a1', name: 'GET /checkout', at: [0, 200_000] as const },
    {
      id: 'b1',
      name: 'process orders',
      followsFrom: 'a1',
      at: [100_000, 122_000] as const,
      tags: { 'span.kind': 'consumer', 'messaging.destination.name': 'orders' },
    },
  ];

  it('after the work do not count for the duration', () => {
    const { trace, at } = built([...work, { ...commit, at: [5_036_000, 4_000] }]);
    expect([trace.duration, trace.extent]).toEqual([222_000, 5_040_000]);
    expect(trace.flags[at('commit orders')]! & SETTLES).toBe(SETTLES);
  });

  it('are known by the sidecar’s attributes and its OpenTracing names as well', () => {
    const named = (name: string, tags: Record<string, string | number>) =>
      built([...work, { ...commit, name, tags, at: [5_000_000, 1_000] }]).trace.duration;
    expect(named('x', { 'throughline.kafka.handled': 0.1, 'kafka.topic': 't' })).toBe(222_000);
    expect(named('Commit_t', { 'message_bus.destination': 't' })).toBe(222_000);
    expect(named('Commit_u', { 'message_bus.destination': 't' })).toBe(5_001_000);
    expect(named('x', { 'messaging.operation': 'process', 'kafka.topic': 't' })).toBe(5_001_000);
  });

  it('alone are as long as they are', () => {
    const { childOf: _, ...alone } = commit;
    expect(built([{ ...alone, at: [0, 70] }]).trace.duration).toBe(70);
  });
});
