import { describe, expect, it } from 'vitest';
import {
  formatAge,
  formatCount,
  formatDuration,
  formatPercent,
  formatTick,
  formatTimestamp,
} from './format';

describe('formatDuration', () => {
  it.each([
    [0, '0 µs'],
    [0.0004, '0 µs'],
    [-0.0001, '0 µs'],
    [0.116, '116 ns'],
    [0.9996, '1 µs'],
    [1.5, '1.5 µs'],
    [850, '850 µs'],
    [999.94, '999.9 µs'],
    [999.96, '1 ms'],
    [999.9999, '1 ms'],
    [1_000, '1 ms'],
    [12_345, '12.3 ms'],
    [999_499, '999 ms'],
    [999_500, '1 s'],
    [1_530_000, '1.53 s'],
    [59_960_000, '1 m 0 s'],
    [125_000_000, '2 m 5 s'],
    [7_260_000_000, '2 h 1 m'],
    [86_400_000_000, '24 h 0 m'],
    [273_600_000_000, '3 d 4 h'],
    [16_650_813_024_700_436, '528 y'],
    [-300, '-300 µs'],
  ])('shows %d µs as %s', (microseconds, text) => {
    expect(formatDuration(microseconds)).toBe(text);
  });
});

describe('formatTick', () => {
  it.each([
    [0, 100_000, '0 µs'],
    [50_000, 50_000, '50 ms'],
    [720_050_000, 50_000, '12 m 0.05 s'],
    [4_301_000, 1_000, '4.301 s'],
    [2_500, 2_500, '2.5 ms'],
    [7_200_000_000, 600_000_000, '2 h 0 m'],
    [999.9999999999, 200, '1 ms'],
    [999_999.9999999, 100_000, '1 s'],
    [59_999_999.99999, 10_000_000, '1 m 0 s'],
    [172_800_000_000, 43_200_000_000, '2 d 0 h'],
    [10_000_000_000_000_000, 2_000_000_000_000_000, '317.1 y'],
  ])('shows %d µs at steps of %d as %s', (time, step, text) => {
    expect(formatTick(time, step)).toBe(text);
  });
});

describe('formatTimestamp', () => {
  it('shows local date and time to the millisecond', () => {
    const local = new Date(2026, 2, 1, 9, 5, 7, 42).getTime() * 1e3;
    expect(formatTimestamp(local)).toBe('2026-03-01 09:05:07.042');
  });

  it('reports a time outside of the calendar', () => {
    expect(formatTimestamp(1e25)).toBe('unknown time');
  });
});

describe('formatAge', () => {
  const now = 1_772_000_000_000;
  it.each([
    [1, 'just now'],
    [42, '42 s ago'],
    [119, '1 min ago'],
    [7_200, '2 h ago'],
    [172_800, '2 d ago'],
    [-60, 'in the future'],
  ])('shows %d s before now as %s', (seconds, text) => {
    expect(formatAge((now - seconds * 1e3) * 1e3, now)).toBe(text);
  });
});

it('formatCount uses the plural', () => {
  expect([formatCount(1, 'span'), formatCount(12, 'span')]).toEqual(['1 span', '12 spans']);
});

describe('formatPercent', () => {
  it.each([
    [0, '0 %'],
    [0.0001, '<0.1 %'],
    [0.004, '0.4 %'],
    [0.83, '83 %'],
    [0.99, '99 %'],
    [0.996, '99.6 %'],
    [0.999, '99.9 %'],
    [0.99999, '99.9 %'],
    [1, '100 %'],
  ])('shows %d as %s: only certainty is 100 %%', (part, text) => {
    expect(formatPercent(part)).toBe(text);
  });
});
