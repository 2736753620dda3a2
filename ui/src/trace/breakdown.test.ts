import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { built, linkedCheckout, placed, type SpanSpec } from '../read/checkout.fixture';
import { readTraces } from '../read/file';
import { breakDownTime } from './breakdown';
import { criticalPath } from './critical';
import { buildTrace, type Trace } from './model';

it('divides the whole duration of a checkout among its services and its topic', () => {
  const { trace } = placed(linkedCheckout);
  const { services, topics } = breakDownTime(trace);
  const of = (name: string) =>
    services[trace.services.findIndex((service) => service.name === name)];
  expect(topics).toEqual(new Map([['eshop-topic', 50_000]]));
  expect([of('inventory'), of('notification'), of('billing')]).toEqual([55_000, 74_000, 115_000]);
  expect(services.reduce((sum, time) => sum + time, 50_000)).toBeCloseTo(trace.duration);
});

it('sums up to the end-to-end critical path', () => {
  const { trace } = placed(linkedCheckout);
  const path = criticalPath(trace, 'end-to-end');
  expect(breakDownTime(trace).services.reduce((sum, time) => sum + time, 0)).toBeCloseTo(
    path.length,
  );
});

it('has no topics for a trace without messages', () => {
  expect(breakDownTime(built([{ id: 'a', at: [0, 5] }]).trace).topics.size).toBe(0);
});

function sumOf(trace: Trace): number {
  const { services, topics, idle } = breakDownTime(trace);
  const sum = services.reduce((all, time) => all + time, 0);
  return [...topics.values()].reduce((all, time) => all + time, sum) + idle;
}

describe('the parts add up to the duration', () => {
  const page = (name: string) => {
    const text = readFileSync(new URL(`../../fixtures/page/${name}.json`, import.meta.url), 'utf8');
    return buildTrace([readTraces(text).traces[0]!.response]);
  };
  const timeOf = (trace: Trace, name: string) =>
    breakDownTime(trace).services[trace.services.findIndex((each) => each.name === name)];

  it('of fifty roots after each other, each with its own time', () => {
    const trace = page('multiroot');
    expect(trace.duration).toBe(495_000);
    expect([...breakDownTime(trace).services]).toEqual(Array.from({ length: 50 }, () => 5_000));
    expect(breakDownTime(trace).idle).toBeCloseTo(245_000);
    expect(sumOf(trace)).toBeCloseTo(trace.duration);
  });

  it('of orphans', () => {
    const trace = page('orphans');
    expect(['s0', 's1', 's2'].map((name) => timeOf(trace, name))).toEqual([35_000, 35_000, 30_000]);
    expect(sumOf(trace)).toBeCloseTo(trace.duration);
  });

  it('with a day of clock skew, which is idle and no work of the caller', () => {
    const trace = page('skew');
    expect([timeOf(trace, 'a'), timeOf(trace, 'b')]).toEqual([10_000, 5_000]);
    expect(breakDownTime(trace).idle).toBeCloseTo(86_400_000_000 - 5_000);
    expect(sumOf(trace)).toBeCloseTo(trace.duration, 3);
  });

  it('with a call that nobody waited for', () => {
    const { trace } = built([
      { id: 'a', service: 'a', at: [0, 10] },
      { id: 'b', service: 'b', childOf: 'a', at: [100, 10] },
    ]);
    expect([timeOf(trace, 'a'), timeOf(trace, 'b'), breakDownTime(trace).idle]).toEqual([
      10, 10, 90,
    ]);
  });

  it('with roots that overlap: the one that ended later has the common time', () => {
    const { trace } = built([
      { id: 'a', service: 'a', at: [0, 10] },
      { id: 'aa', service: 'b', childOf: 'a', at: [2, 7] },
      { id: 'c', service: 'c', at: [6, 14] },
    ]);
    expect(['a', 'b', 'c'].map((name) => timeOf(trace, name))).toEqual([2, 4, 14]);
  });

  it('without the commit of a timer', () => {
    const { trace } = built([
      { id: 'a', service: 'a', at: [0, 222_000] },
      {
        id: 'b',
        service: 'b',
        childOf: 'a',
        at: [5_000_000, 40_000],
        tags: { 'messaging.operation.type': 'settle', 'messaging.destination.name': 't' },
      },
    ]);
    expect([timeOf(trace, 'a'), timeOf(trace, 'b'), breakDownTime(trace).idle]).toEqual([
      222_000, 0, 0,
    ]);
  });

  it('for any trace', () => {
    // A linear congruential generator: the same traces in every run.
    let state = 12_345;
    const random = (below: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
      return state % below;
    };
    const kinds = ['server', 'client', 'producer', 'consumer', 'internal'];
    for (let round = 0; round < 300; round++) {
      const count = 1 + random(14);
      const specs = Array.from({ length: count }, (_, i): SpanSpec => {
        const cause = (random(count + 3) + 1).toString(16);
        return {
          id: (i + 1).toString(16),
          service: `s${random(4)}`,
          at: [random(100), random(40)],
          ...(random(3) > 0 && { childOf: cause }),
          ...(random(5) === 0 && { followsFrom: cause }),
          tags: { 'span.kind': kinds[random(5)] ?? '', 'kafka.topic': `t${random(2)}` },
        };
      });
      const { trace } = built(specs);
      expect(sumOf(trace), JSON.stringify(specs)).toBeCloseTo(trace.duration, 5);
    }
  });
});
