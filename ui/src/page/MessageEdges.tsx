/**
 * Lines from the bar of a sender to the bar of its receiver.
 *
 * For the eye only: the rows say the same in words, and the detail links both ends.
 */
import type { MessageEdge } from '../trace/edges';
import type { Trace } from '../trace/model';
import { shownStandIn } from '../trace/rows';
import { edgePath, fraction, ROW_HEIGHT, type Point } from '../trace/scale';

/** Length of the arrow head in pixels. */
const HEAD = 7;

interface MessageEdgesProps {
  readonly trace: Trace;
  /** Row by index of span. */
  readonly shown: ReadonlyMap<number, number>;
  /** Size of the area of the bars in pixels. */
  readonly width: number;
  readonly height: number;
  readonly firstRow: number;
  readonly lastRow: number;
}

export function MessageEdges({ trace, shown, width, height, firstRow, lastRow }: MessageEdgesProps) {
  if (width === 0) return null;
  return (
    <svg className="edges" width={width} height={height} aria-hidden="true">
      {trace.edges.map((edge) => {
        const rows = endRows(trace, shown, edge);
        if (!rows || Math.max(...rows) < firstRow || Math.min(...rows) > lastRow) return null;
        return <EdgeLine key={`${edge.from}-${edge.to}`} trace={trace} edge={edge} rows={rows} width={width} />;
      })}
    </svg>
  );
}

interface EdgeLineProps {
  readonly trace: Trace;
  readonly edge: MessageEdge;
  readonly rows: readonly [number, number];
  readonly width: number;
}

function EdgeLine({ trace, edge, rows, width }: EdgeLineProps) {
  const sender = trace.spans[edge.from];
  const receiver = trace.spans[edge.to];
  if (!sender || !receiver) return null;
  const from: Point = { x: width * fraction(trace, sender.end), y: middle(rows[0]) };
  const tip: Point = { x: width * fraction(trace, receiver.start), y: middle(rows[1]) };
  const path = edgePath(from, { x: tip.x - HEAD, y: tip.y });
  const head = `M ${tip.x - HEAD - 1} ${tip.y - 5} L ${tip.x} ${tip.y} L ${tip.x - HEAD - 1} ${tip.y + 5} Z`;
  return (
    <g className="edge" data-reference={edge.reference} data-from={sender.id} data-to={receiver.id}>
      <path className="edge-halo" d={path} />
      <path className="edge-line" d={path} />
      <path className="edge-head" d={head} />
      <circle className="edge-tail" cx={from.x} cy={from.y} r={3.5} />
    </g>
  );
}

/** Rows of both ends; none when both are folded into the same row. */
function endRows(trace: Trace, shown: ReadonlyMap<number, number>, edge: MessageEdge): [number, number] | undefined {
  const from = shown.get(shownStandIn(trace.spans, shown, edge.from));
  const to = shown.get(shownStandIn(trace.spans, shown, edge.to));
  return from === undefined || to === undefined || from === to ? undefined : [from, to];
}

function middle(row: number): number {
  return row * ROW_HEIGHT + ROW_HEIGHT / 2;
}
