/** The values that all rows of a timeline share, as one object. */
import type { TimeScale } from '../trace/axis';
import type { CriticalPath } from '../trace/critical';
import type { Trace } from '../trace/model';
import type { PageAction } from './actions';

export interface TimelineModel {
  readonly trace: Trace;
  readonly scale: TimeScale;
  /** Runs of similar consumers, as from `consumerRuns`. */
  readonly runs: Int32Array;
  readonly critical: CriticalPath | undefined;
  /** Width in pixels of the area in which bars are drawn. */
  readonly barAreaWidth: number;
  /** Colour slot by service name. */
  readonly colours: ReadonlyMap<string, number>;
  readonly dispatch: (action: PageAction) => void;
}
