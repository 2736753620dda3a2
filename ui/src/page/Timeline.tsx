/**
 * The timeline: a tree grid of spans and their bars, with message edges drawn across the rows.
 *
 * All rows have the same height, so only those in view exist. The grid keeps the focus and names
 * its active row with `aria-activedescendant`, which still works when rows come and go.
 */
import { type KeyboardEvent, type ReactNode, type Ref, useEffect, useMemo, useRef } from 'react';
import { tickTimes } from '../trace/axis';
import { at } from '../trace/column';
import { useElementWidth } from './elementWidth';
import { MessageEdges } from './MessageEdges';
import { Minimap } from './Minimap';
import { NameColumnDivider, nameColumnStyle, useNameColumnWidth } from './NameColumn';
import { CutMarks, Grid, Ruler } from './Ruler';
import { ROW_HEIGHT_PX, useRowWindow } from './rowWindow';
import { rowId, SpanRow } from './SpanRow';
import type { PageModel } from './state';

/** Width in pixels that the label of a tick needs. */
const TICK_WIDTH_PX = 110;
/** Height of the ruler in pixels; must equal `--ruler` in the styles. */
const RULER_HEIGHT_PX = 30;

/** Pixels that the keys `s` and `w` scroll. */
const SCROLL_PX = 240;

interface TimelineProps {
  /** The grid, so that callers can focus it. */
  readonly ref: Ref<HTMLDivElement>;
  readonly page: PageModel;
  readonly colours: ReadonlyMap<string, number>;
  /** Titles of the lanes, if the trace has several. */
  readonly laneTitles?: readonly ReactNode[];
}

export function Timeline({ ref, page, colours, laneTitles }: TimelineProps) {
  const { trace, state, dispatch, rows, scale, runs, critical, matches } = page;
  const view = useRowWindow(rows.spans.length, RULER_HEIGHT_PX);
  const [barArea, barAreaWidth] = useElementWidth<HTMLDivElement>();
  const [nameFraction, setNameFraction] = useNameColumnWidth();
  const marks = tickTimes(scale, Math.max(1, Math.floor(barAreaWidth / TICK_WIDTH_PX)));
  const activeRow = trace.count > 0 ? at(rows.rowOf, state.active) : 0;
  useEffect(() => view.scrollTo(activeRow), [view.scrollTo, activeRow]);
  const timeline = useMemo(
    () => ({ trace, scale, runs, critical, barAreaWidth, colours, dispatch }),
    [trace, scale, runs, critical, barAreaWidth, colours, dispatch],
  );

  const inView: number[] = [];
  for (let row = view.first; row < view.last; row++) inView.push(row);
  // The active row exists even out of view, because the grid refers to it.
  const isShown = rows.spans[activeRow] === state.active;
  if (isShown && (activeRow < view.first || activeRow >= view.last)) inView.push(activeRow);

  return (
    <div className="timeline-box">
      <Minimap page={page} colours={colours} />
      <div className="timeline-frame" style={nameColumnStyle(nameFraction)}>
        <TreeGrid
          ref={ref}
          rowCount={rows.spans.length}
          activeId={isShown ? rowId(state.active) : undefined}
          page={page}
          scrollBy={view.scrollBy}
        >
          <div className="timeline-scroll" role="presentation" ref={view.scroller}>
            <Ruler marks={marks} scale={scale} width={barAreaWidth} />
            <div
              className="timeline-rows"
              role="rowgroup"
              style={{ height: rows.spans.length * ROW_HEIGHT_PX }}
            >
              <div className="lanes" role="presentation" ref={barArea}>
                <Grid marks={marks} scale={scale} />
                <CutMarks scale={scale} />
              </div>
              {inView.map((row) => {
                const index = at(rows.spans, row);
                return (
                  <SpanRow
                    key={index}
                    timeline={timeline}
                    index={index}
                    row={row}
                    fold={at(state.folds, index)}
                    laneTitle={
                      isLaneStart(page, row) ? laneTitles?.[at(trace.lane, index)] : undefined
                    }
                    selection={index !== state.active ? 'none' : state.open ? 'open' : 'active'}
                    highlight={
                      state.find === '' ? 'none' : matches.isMatch[index] === 1 ? 'found' : 'faded'
                    }
                    isSearchMatch={state.match.includes(index)}
                  />
                );
              })}
              <MessageEdges page={page} width={barAreaWidth} first={view.first} last={view.last} />
            </div>
          </div>
        </TreeGrid>
        <NameColumnDivider fraction={nameFraction} setFraction={setNameFraction} />
      </div>
    </div>
  );
}

function isLaneStart({ trace, rows }: PageModel, row: number): boolean {
  if (trace.responses.length < 2) return false;
  return row === 0 || trace.lane[at(rows.spans, row)] !== trace.lane[at(rows.spans, row - 1)];
}

interface TreeGridProps {
  readonly ref: Ref<HTMLDivElement>;
  readonly rowCount: number;
  /** ID of the active row; `undefined` if a find without matches hides all rows. */
  readonly activeId: string | undefined;
  readonly page: PageModel;
  readonly scrollBy: (pixels: number) => void;
  readonly children: ReactNode;
}

function TreeGrid({ ref, rowCount, activeId, page, scrollBy, children }: TreeGridProps) {
  const keys = useRef<HTMLParagraphElement>(null);
  function onKeyDown(event: KeyboardEvent) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const scroll = event.key === 's' ? SCROLL_PX : event.key === 'w' ? -SCROLL_PX : 0;
    if (scroll !== 0) scrollBy(scroll);
    if (scroll !== 0 || page.press(event.key, event.shiftKey)) event.preventDefault();
  }

  return (
    <div
      ref={ref}
      className="timeline"
      role="treegrid"
      aria-label="Spans"
      aria-rowcount={rowCount + 1}
      aria-colcount={2}
      aria-activedescendant={activeId}
      aria-describedby="timeline-keys"
      tabIndex={0}
      onKeyDown={onKeyDown}
    >
      <p id="timeline-keys" className="visually-hidden" ref={keys}>
        Use the up and down arrows to move between spans, left and right to collapse and expand,
        Enter to open the details, Escape to close them, and the question mark for all shortcuts.
      </p>
      {children}
    </div>
  );
}
