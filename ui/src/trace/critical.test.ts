import { describe, expect, it } from 'vitest';
import { built, linkedCheckout, placed } from '../read/checkout.fixture';
import { type CriticalPath, criticalPath } from './critical';

function stretches(path: CriticalPath, span: number): [number, number][] {
  const found: [number, number][] = [];
  for (let i = path.first[span] ?? 0; i < (path.first[span + 1] ?? 0); i++)
    found.push([path.from[i] ?? 0, path.to[i] ?? 0]);
  return found;
}

describe('the blocking path', () => {
  it('is as long as the first caller waited, and leaves messages out', () => {
    const { trace, at } = placed(linkedCheckout);
    const path = criticalPath(trace, 'blocking');
    expect(path.length).toBeCloseTo(300_000);
    expect(path.queued).toBe(0);
    expect(stretches(path, at('From_eshop-topic'))).toEqual([]);
    expect(stretches(path, at('GET /createOrder'))).toEqual([[4_000, 59_000]]);
  });

  it('takes of two that run side by side the one that ends last', () => {
    const { trace, at } = built([
      { id: 'a', at: [0, 100] },
      { id: 'b', childOf: 'a', at: [10, 30] },
      { id: 'c', childOf: 'a', at: [10, 80] },
    ]);
    const path = criticalPath(trace, 'blocking');
    expect(stretches(path, at('b'))).toEqual([]);
    expect(stretches(path, at('a'))).toEqual([
      [0, 10],
      [90, 100],
    ]);
  });

  it('counts of a child that outlives its parent what lies within', () => {
    const { trace, at } = built([
      { id: 'a', at: [0, 100] },
      { id: 'b', childOf: 'a', at: [50, 500] },
    ]);
    expect(stretches(criticalPath(trace, 'blocking'), at('b'))).toEqual([[50, 100]]);
  });
});

describe('the path end to end', () => {
  it('goes through the topic, with the time in it', () => {
    const { trace, at } = placed(linkedCheckout);
    const path = criticalPath(trace, 'end-to-end');
    expect(path.queued).toBe(50_000);
    expect([...path.queues]).toEqual([[0, 50_000]]);
    expect(path.length + path.queued).toBeCloseTo(430_000);
    expect(stretches(path, at('GET /sendEmail'))).toEqual([[345_000, 419_000]]);
  });

  it('ends for a trace of 2,000 siblings, each of no length', () => {
    const { trace } = built([
      { id: 'a', at: [0, 10] },
      ...Array.from({ length: 2_000 }, (_, i) => ({
        id: (i + 16).toString(16).padStart(6, 'b'),
        childOf: 'a',
        at: [5, 0] as const,
      })),
    ]);
    expect(criticalPath(trace, 'end-to-end').length).toBeCloseTo(10);
  });
});
