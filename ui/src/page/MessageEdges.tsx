/**
 * Lines from the bar of a sender to the bar of its receiver.
 *
 * The lines are decoration: rows and details say the same in words. The picture is only as high as
 * the visible rows, because browsers do not draw one as high as 100,000 rows.
 */
import { positionIn } from '../trace/axis';
import { at } from '../trace/column';
import { edgePath, type Point } from '../trace/edgePath';
import { endOf, INFERRED, spanIdOf } from '../trace/model';
import { isFoldedRun } from '../trace/rows';
import { ROW_HEIGHT_PX } from './rowWindow';
import type { PageModel } from './state';

/** Length of the arrow head in pixels. */
const ARROW_PX = 7;
/** More lines than these would be unreadable. */
const MAX_LINES = 200;

interface MessageEdgesProps {
  readonly page: PageModel;
  /** Width in pixels of the area in which bars are drawn. */
  readonly width: number;
  readonly first: number;
  readonly last: number;
}

export function MessageEdges({ page, width, first, last }: MessageEdgesProps) {
  if (width === 0) return null;
  const { edges } = page.trace;
  const { rowOf } = page.rows;
  const lines = [];
  for (let edge = 0; edge < edges.count && lines.length < MAX_LINES; edge++) {
    const rows = [at(rowOf, at(edges.from, edge)), at(rowOf, at(edges.to, edge))] as const;
    // A folded run is represented by its first consumer.
    const shown = at(page.rows.spans, rows[1]);
    if (shown !== at(edges.to, edge) && isFoldedRun(page.state.folds, page.runs, shown)) continue;
    if (
      page.matches.shown?.[at(edges.from, edge)] === 0 ||
      page.matches.shown?.[at(edges.to, edge)] === 0
    )
      continue;
    if (rows[0] === rows[1] || Math.max(...rows) < first || Math.min(...rows) >= last) continue;
    lines.push(
      <EdgeLine
        key={edge}
        page={page}
        edge={edge}
        rows={rows}
        width={width}
        top={first}
        bottom={last}
      />,
    );
  }
  return (
    <svg
      className="edges"
      width={width}
      height={Math.max(0, last - first) * ROW_HEIGHT_PX}
      style={{ top: first * ROW_HEIGHT_PX }}
      aria-hidden="true"
    >
      {lines}
    </svg>
  );
}

interface EdgeLineProps {
  readonly page: PageModel;
  readonly edge: number;
  readonly rows: readonly [number, number];
  readonly width: number;
  readonly top: number;
  readonly bottom: number;
}

function EdgeLine({ page, edge, rows, width, top, bottom }: EdgeLineProps) {
  const { trace, scale, state } = page;
  const { edges } = trace;
  const [sender, receiver] = [at(edges.from, edge), at(edges.to, edge)];
  const sent = positionIn(scale, endOf(trace, sender));
  const got = positionIn(scale, at(trace.begin, receiver));
  if ((sent < 0 && got < 0) || (sent > 1 && got > 1)) return null;
  const from: Point = { x: width * clamp(sent), y: middle(rows[0], top, bottom) };
  const tip: Point = { x: width * clamp(got), y: middle(rows[1], top, bottom) };
  const path = edgePath(from, { x: tip.x - ARROW_PX, y: tip.y });
  const base = tip.x - ARROW_PX - 1;
  const head = `M ${base} ${tip.y - 5} L ${tip.x} ${tip.y} L ${base} ${tip.y + 5} Z`;
  const batch = at(edges.receivedFrom, receiver + 1) - at(edges.receivedFrom, receiver) > 3;
  const classes = ['edge'];
  if (batch) classes.push('one-of-many');
  if ((at(trace.flags, receiver) & INFERRED) !== 0) classes.push('dashed');
  if (state.open && (state.active === sender || state.active === receiver))
    classes.push('looked-at');
  return (
    <g
      className={classes.join(' ')}
      data-reference={edges.linked[edge] === 1 ? 'FOLLOWS_FROM' : 'CHILD_OF'}
      data-from={spanIdOf(trace, sender)}
      data-to={spanIdOf(trace, receiver)}
    >
      <path className="edge-halo" d={path} />
      <path className="edge-line" d={path} />
      {got >= 0 && got <= 1 && <path className="edge-head" d={head} />}
      {sent >= 0 && sent <= 1 && <circle className="edge-tail" cx={from.x} cy={from.y} r={3.5} />}
    </g>
  );
}

function clamp(place: number): number {
  return Math.min(Math.max(place, 0), 1);
}

/**
 * Returns the height of a row's centre; an end outside of the view is drawn just beyond its edge.
 */
function middle(row: number, top: number, bottom: number): number {
  return (Math.min(Math.max(row, top - 2), bottom + 2) - top) * ROW_HEIGHT_PX + ROW_HEIGHT_PX / 2;
}
