/**
 * The range of values that a plot should show: a few absurd ones, such as a span that ends in the
 * year 2262, would leave no room for the others.
 */

/** A step of this factor between neighbours in size separates absurd values from the others. */
const ABSURD_FACTOR = 1e3;
/** In microseconds: shorter durations are never absurd. */
const MIN_ABSURD = 3_600e6;
/** At most this fraction of the values is absurd, or a single one. */
const MAX_ABSURD_FRACTION = 0.1;

/** Returns the greatest duration (in microseconds) that is not absurd; 0 without durations. */
export function usualMaximum(durations: readonly number[]): number {
  const descending = [...durations].sort((a, b) => b - a);
  const most = Math.max(1, Math.floor(descending.length * MAX_ABSURD_FRACTION));
  for (let absurd = Math.min(most, descending.length - 1); absurd > 0; absurd--) {
    const [above, below] = [descending[absurd - 1] ?? 0, descending[absurd] ?? 0];
    if (above >= MIN_ABSURD && above > ABSURD_FACTOR * Math.max(below, 1)) return below;
  }
  return descending[0] ?? 0;
}
