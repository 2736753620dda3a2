/** One span as a row of the timeline: its name in the tree, and its bar. */
import { memo, type ReactNode } from 'react';
import { at } from '../trace/column';
import { hasChildren, serviceOf } from '../trace/model';
import { COLLAPSED, UNFOLDED_RUN } from '../trace/rows';
import { BarCell } from './BarCell';
import { NameCell } from './NameCell';
import { ROW_HEIGHT_PX } from './rowWindow';
import type { TimelineModel } from './timelineModel';

export function rowId(index: number): string {
  return `span-${index}`;
}

interface SpanRowProps {
  readonly timeline: TimelineModel;
  readonly index: number;
  readonly row: number;
  /** Bits of `FoldFlags` of this span. */
  readonly fold: number;
  readonly laneTitle: ReactNode;
  /** `open`: the active row, with its details shown. */
  readonly selection: 'none' | 'active' | 'open';
  /** Outcome of a find in the trace; `none` while nothing is searched for. */
  readonly highlight: 'none' | 'found' | 'faded';
  /** Whether the search that led to this trace matched the span. */
  readonly isSearchMatch: boolean;
}

export const SpanRow = memo(function SpanRow(props: SpanRowProps) {
  const { timeline, index, row, fold, laneTitle, selection, highlight, isSearchMatch } = props;
  const { trace, runs, colours, dispatch } = timeline;
  const isRun = at(runs, index) > 0 && (fold & UNFOLDED_RUN) === 0;
  const isFolded = isRun || (fold & COLLAPSED) !== 0;
  const isExpandable = isRun || hasChildren(trace, index);
  const classes = ['row', `service-${colours.get(serviceOf(trace, index)) ?? 0}`];
  if (selection !== 'none') classes.push('active');
  if (selection === 'open') classes.push('open');
  if (highlight !== 'none') classes.push(highlight);
  if (laneTitle) classes.push('lane-start');
  return (
    <div
      id={rowId(index)}
      className={classes.join(' ')}
      role="row"
      aria-rowindex={row + 2}
      aria-level={at(trace.depth, index) + 1}
      aria-expanded={isExpandable ? !isFolded : undefined}
      aria-selected={selection === 'open'}
      style={{ top: row * ROW_HEIGHT_PX }}
      onClick={() => dispatch({ type: 'select', index })}
    >
      <NameCell
        timeline={timeline}
        index={index}
        folding={{ isExpandable, isFolded, isRun }}
        laneTitle={laneTitle}
        isSearchMatch={isSearchMatch}
      />
      <BarCell timeline={timeline} index={index} isRun={isRun} />
    </div>
  );
});
