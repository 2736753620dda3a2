/** A selected part of the scatter plot: a range of time and of durations. */
import type { TraceSummary } from '../api/types';
import type { SearchQuery } from './query';

export interface Brush {
  /** Microseconds since the epoch. */
  readonly from: number;
  readonly to: number;
  /** Microseconds. */
  readonly shortest: number;
  readonly longest: number;
}

export function isWithin(brush: Brush, { start, duration }: TraceSummary): boolean {
  return (
    start >= brush.from &&
    start <= brush.to &&
    duration >= brush.shortest &&
    duration <= brush.longest
  );
}

/** Returns a query for the traces in the selected part. */
export function narrowQuery(query: SearchQuery, brush: Brush): SearchQuery {
  return {
    ...query,
    lookback: 'custom',
    start: String(Math.max(0, Math.floor(brush.from))),
    end: Number.isFinite(brush.to) ? String(Math.ceil(brush.to)) : '',
    minDuration: `${Math.floor(brush.shortest)}us`,
    maxDuration: Number.isFinite(brush.longest) ? `${Math.ceil(brush.longest)}us` : '',
  };
}
