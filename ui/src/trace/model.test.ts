import { describe, expect, it } from 'vitest';
import { built, linkedCheckout, placed, traceOf } from '../read/checkout.fixture';
import { readJaeger } from '../read/jaeger';
import { longestQueueTimes, receivedEdges } from './edges';
import {
  buildTrace,
  CYCLE,
  countFailuresBelow,
  findSpan,
  isFailed,
  MISSING_PARENT,
  nameOf,
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
    const trace = buildTrace([readJaeger(sender), readJaeger(linking)]);
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
    const trace = buildTrace([readJaeger({ traceID: 'ab', spans: [] })]);
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
