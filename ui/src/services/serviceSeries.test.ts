import { expect, it } from 'vitest';
import type { MetricSeries } from '../api/types';
import { greatest, latest, lineOf, mean, names, timeSteps } from './serviceSeries';

function series(
  name: string,
  samples: readonly [number, number][],
  quantile?: number,
): MetricSeries {
  return {
    labels: [
      { key: 'service', value: { stringValue: name } },
      ...(quantile === undefined ? [] : [{ key: 'p', value: { doubleValue: quantile } }]),
    ],
    samples: samples.map(([time, value]) => ({ timestampMs: String(time), value })),
  };
}

it('divides the range into steps that end at multiples of their length', () => {
  const steps = timeSteps(60, 1_700_000_050_000);
  expect(steps.step).toBe(120_000);
  expect((steps.start + steps.count * steps.step) % steps.step).toBe(0);
  expect(steps.start + steps.count * steps.step).toBeGreaterThanOrEqual(1_700_000_050_000);
  expect(timeSteps(0.01, 1000).step).toBe(1000);
});

it('puts samples at the steps that they end, and leaves the others open', () => {
  const steps = { start: 1000, step: 500, count: 4 };
  const found = [
    series('shop', [
      [1500, 2],
      [3000, 4],
      [9000, 1],
    ]),
  ];
  expect(lineOf(found, steps, 'shop')).toEqual([2, undefined, undefined, 4]);
  expect(lineOf(found, steps, 'bank')).toEqual([undefined, undefined, undefined, undefined]);
});

it('tells quantiles of one name apart', () => {
  const steps = { start: 0, step: 10, count: 1 };
  const found = [series('shop', [[10, 1]], 0.5), series('shop', [[10, 3]], 0.99)];
  expect(lineOf(found, steps, 'shop', 0.99)).toEqual([3]);
});

it('lists the busiest names first, each once', () => {
  const found = [series('a', [[1, 1]]), series('b', [[1, 2]]), series('a', [[2, 5]])];
  expect(names(found)).toEqual(['a', 'b']);
});

it('sums lines up over all steps, with or without spans', () => {
  const line = [undefined, 2, 6, undefined];
  expect(mean(line)).toBe(2);
  expect(latest(line)).toBe(6);
  expect(greatest(line)).toBe(6);
  expect(greatest([undefined])).toBeUndefined();
});
