import { expect, it } from 'vitest';
import { usualMaximum } from './usualRange';

it.each([
  [[], 0],
  [[5], 5],
  [[1_000, 2_000, 16_650_813_024_700_436], 2_000],
  [[1_000, 16_650_813_024_700_436], 1_000],
  // Slow, but a matter of seconds.
  [[1_000, 5_000_000], 5_000_000],
  [[1_000, 3_700e6, 3_600e6], 3_700e6],
  [[...Array.from({ length: 20 }, () => 100), 4e12, 5e12], 100],
])('of %j is %d', (durations, most) => {
  expect(usualMaximum(durations)).toBe(most);
});
