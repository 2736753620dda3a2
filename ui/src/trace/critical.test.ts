import { describe, expect, it } from 'vitest';
import { built, linkedCheckout, placed } from '../read/checkout.fixture';
import { type CriticalPath, criticalPath } from './critical';

function segments(path: CriticalPath, span: number): [number, number][] {
  const found: [number, number][] = [];
  for (let i = path.first[span] ?? 0; i < (path.first[span + 1] ?? 0); i++)
    found.push([path.from[i] ?? 0, path.to[i] ?? 0]);
  return found;
}

describe('blocking path', () => {
  it('lasts as long as the root span and excludes messages', () => {
    const { trace, at } = placed(linkedCheckout);
    const path = criticalPath(trace, 'blocking');
    expect(path.length).toBeCloseTo(300_000);
    expect(path.queued).toBe(0);
    expect(segments(path, at('From_eshop-topic'))).toEqual([]);
    expect(segments(path, at('GET /createOrder'))).toEqual([[4_000, 59_000]]);
  });

  it('follows the parallel child that ends last', () => {
    const { trace, at } = built([
      { id: 'a', at: [0, 100] },
      { id: 'b', childOf: 'a', at: [10, 30] },
      { id: 'c', childOf: 'a', at: [10, 80] },
    ]);
    const path = criticalPath(trace, 'blocking');
    expect(segments(path, at('b'))).toEqual([]);
    expect(segments(path, at('a'))).toEqual([
      [0, 10],
      [90, 100],
    ]);
  });

  it('clips a child that outlives its parent', () => {
    const { trace, at } = built([
      { id: 'a', at: [0, 100] },
      { id: 'b', childOf: 'a', at: [50, 500] },
    ]);
    expect(segments(criticalPath(trace, 'blocking'), at('b'))).toEqual([[50, 100]]);
  });
});

describe('end-to-end path', () => {
  it('goes through the topic and includes the queue time', () => {
    const { trace, at } = placed(linkedCheckout);
    const path = criticalPath(trace, 'end-to-end');
    expect(path.queued).toBe(50_000);
    expect([...path.queues]).toEqual([[0, 50_000]]);
    expect(path.length + path.queued).toBeCloseTo(430_000);
    expect(segments(path, at('GET /sendEmail'))).toEqual([[345_000, 419_000]]);
  });

  it('terminates for 2,000 siblings of zero length', () => {
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
