/** The time axis: labels above the rows, grid lines behind them, and marks for hidden idle time. */
import { positionIn, type TimeScale } from '../trace/axis';
import { formatDuration, formatTick } from '../trace/format';

/** Pixels on either side of the label of a hidden gap in which tick labels would overlap it. */
const LABEL_ROOM_PX = 62;

interface ScaleProps {
  readonly scale: TimeScale;
}

interface MarksProps extends ScaleProps {
  /** Microseconds. */
  readonly marks: readonly number[];
}

interface RulerProps extends MarksProps {
  /** Pixels. */
  readonly width: number;
}

export function Ruler({ marks, scale, width }: RulerProps) {
  const cuts = cutsIn(scale);
  const step = marks.reduce(
    (least, mark, i) => (i === 0 ? least : Math.min(least, mark - (marks[i - 1] ?? 0))),
    Infinity,
  );
  const isHidden = (place: number) =>
    cuts.some(({ left, width: part }) => {
      const far = (place - left - part / 2) * width;
      return far > -1.5 * LABEL_ROOM_PX && far < LABEL_ROOM_PX;
    });
  return (
    <div className="ruler" role="row" aria-rowindex={1}>
      <div role="columnheader" className="ruler-names">
        Service and span
      </div>
      <div
        role="columnheader"
        className="ruler-axis"
        aria-label="Time since the start of the trace"
      >
        {marks
          .filter((mark) => !isHidden(positionIn(scale, mark)))
          .map((mark) => (
            <span key={mark} className="tick" style={{ left: percent(positionIn(scale, mark)) }}>
              {formatTick(mark, step)}
            </span>
          ))}
        {cuts.map(({ from, to, left, width: part }) => (
          <span
            key={from}
            className="cut-label"
            style={{ left: percent(left + part / 2) }}
            title={`${formatDuration(to - from)} without a running span, hidden`}
          >
            {formatDuration(to - from)} idle
          </span>
        ))}
      </div>
    </div>
  );
}

export function Grid({ marks, scale }: MarksProps) {
  return marks.map((mark) => (
    <span key={mark} className="grid-line" style={{ left: percent(positionIn(scale, mark)) }} />
  ));
}

export function CutMarks({ scale }: ScaleProps) {
  return cutsIn(scale).map(({ from, left, width }) => (
    <span key={from} className="cut" style={{ left: percent(left), width: percent(width) }} />
  ));
}

function cutsIn(scale: TimeScale) {
  return scale.axis.cuts.flatMap((cut) => {
    const [left, right] = [positionIn(scale, cut.from), positionIn(scale, cut.to)];
    return right <= 0 || left >= 1 ? [] : [{ ...cut, left, width: right - left }];
  });
}

export function percent(part: number): string {
  return `${100 * part}%`;
}
