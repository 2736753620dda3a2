import { expect, it } from 'vitest';
import { built, linkedCheckout, placed } from '../read/checkout.fixture';
import { breakDownTime } from './breakdown';
import { criticalPath } from './critical';

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
