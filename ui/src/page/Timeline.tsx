/**
 * The timeline: a tree grid of spans beside their bars, with message edges drawn across the rows.
 *
 * Rows have one height, so only those in view exist. Focus stays on the grid, which names its
 * active row by `aria-activedescendant`: that survives rows coming and going.
 */
import { defaultRangeExtractor, useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useMemo, useRef, type KeyboardEvent, type ReactNode, type Ref } from 'react';
import type { MessageEdge } from '../trace/edges';
import type { Span, Trace } from '../trace/model';
import { visibleRows } from '../trace/rows';
import { ROW_HEIGHT, RULER_HEIGHT, ticks } from '../trace/scale';
import type { TraceCursor } from './cursor';
import { MessageEdges } from './MessageEdges';
import { Grid, Ruler } from './Ruler';
import { rowId, SpanRow } from './SpanRow';
import { useWidth } from './width';

/** Pixels that the label of a tick needs. */
const TICK_WIDTH = 110;

interface TimelineProps {
  /** The grid, for giving it the focus. */
  readonly ref: Ref<HTMLDivElement>;
  readonly trace: Trace;
  readonly colours: ReadonlyMap<string, number>;
  readonly cursor: TraceCursor;
}

export function Timeline({ ref, trace, colours, cursor }: TimelineProps) {
  const { scroller, virtual, rows, shown } = useRows(trace, cursor);
  const received = useMemo(() => edgesByReceiver(trace.edges), [trace]);
  const [lanes, laneWidth] = useWidth<HTMLDivElement>();
  const marks = ticks(trace.duration, Math.max(1, Math.floor(laneWidth / TICK_WIDTH)));
  const inView = virtual.getVirtualItems();

  return (
    <TreeGrid ref={ref} rowCount={rows.length} cursor={cursor}>
      <div className="timeline-scroll" role="presentation" ref={scroller}>
        <Ruler marks={marks} duration={trace.duration} />
        <div className="timeline-rows" role="rowgroup" style={{ height: virtual.getTotalSize() }}>
          <div className="lanes" role="presentation" ref={lanes}>
            <Grid marks={marks} duration={trace.duration} />
          </div>
          {inView.map((item) => {
            const span = trace.spans[rows[item.index] ?? 0] as Span;
            return (
              <SpanRow
                key={span.index}
                trace={trace}
                span={span}
                row={item.index}
                top={item.start - RULER_HEIGHT}
                colour={colours.get(span.service) ?? 0}
                received={received.get(span.index) ?? NO_EDGES}
                laneWidth={laneWidth}
                isActive={span.index === cursor.active}
                isOpen={cursor.open && span.index === cursor.active}
                isCollapsed={cursor.collapsed.has(span.index)}
                look={cursor.look}
                toggle={cursor.toggle}
              />
            );
          })}
          <MessageEdges
            trace={trace}
            shown={shown}
            width={laneWidth}
            height={virtual.getTotalSize()}
            firstRow={inView[0]?.index ?? 0}
            lastRow={inView.at(-1)?.index ?? 0}
          />
        </div>
      </div>
    </TreeGrid>
  );
}

/** The rows that are not folded away, those of them in view, and the active one always among these. */
function useRows(trace: Trace, { active, collapsed }: TraceCursor) {
  const rows = useMemo(() => visibleRows(trace.spans, collapsed), [trace, collapsed]);
  const shown = useMemo(() => new Map(rows.map((index, row) => [index, row])), [rows]);
  const scroller = useRef<HTMLDivElement>(null);
  const activeRow = shown.get(active) ?? 0;
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_HEIGHT,
    // The ruler scrolls in the same box, above the first row, and stays at its top.
    scrollMargin: RULER_HEIGHT,
    scrollPaddingStart: RULER_HEIGHT,
    overscan: 12,
    rangeExtractor: (range) => [...new Set([...defaultRangeExtractor(range), activeRow])].sort((a, b) => a - b),
  });
  useEffect(() => virtual.scrollToIndex(activeRow), [virtual, activeRow]);
  return { rows, shown, scroller, virtual };
}

interface TreeGridProps {
  readonly ref: Ref<HTMLDivElement>;
  readonly rowCount: number;
  readonly cursor: TraceCursor;
  readonly children: ReactNode;
}

function TreeGrid({ ref, rowCount, cursor, children }: TreeGridProps) {
  function onKeyDown(event: KeyboardEvent) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (cursor.press(event.key)) event.preventDefault();
  }

  return (
    <div
      ref={ref}
      className="timeline"
      role="treegrid"
      aria-label="Spans"
      aria-rowcount={rowCount + 1}
      aria-colcount={2}
      aria-activedescendant={rowId(cursor.active)}
      aria-describedby="timeline-keys"
      tabIndex={0}
      onKeyDown={onKeyDown}
    >
      <p id="timeline-keys" className="unseen">
        Up and down move, left and right fold and unfold, Enter opens the detail, Escape closes it.
      </p>
      {children}
    </div>
  );
}

const NO_EDGES: readonly MessageEdge[] = [];

function edgesByReceiver(edges: readonly MessageEdge[]): Map<number, MessageEdge[]> {
  const received = new Map<number, MessageEdge[]>();
  for (const edge of edges) {
    const known = received.get(edge.to);
    if (known) known.push(edge);
    else received.set(edge.to, [edge]);
  }
  return received;
}
