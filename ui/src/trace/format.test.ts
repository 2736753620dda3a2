import { describe, expect, it } from 'vitest';
import { formatAge, formatCount, formatDuration, formatTick, formatTimestamp } from './format';

describe('formatDuration', () => {
  it.each([
    [0, '0 µs'],
    [850, '850 µs'],
    [1_000, '1 ms'],
    [12_345, '12.3 ms'],
    [999_499, '999 ms'],
    [999_500, '1 s'],
    [1_530_000, '1.53 s'],
    [59_960_000, '1 m 0 s'],
    [125_000_000, '2 m 5 s'],
    [7_260_000_000, '2 h 1 m'],
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
