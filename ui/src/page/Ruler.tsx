/** The time axis: labels above the rows, grid lines behind them, and marks for hidden idle time. */
import { positionIn, type TimeScale } from '../trace/axis';
import { formatDuration, formatTick } from '../trace/format';

/** Width in pixels of a character of a label, and of the padding around the text. */
const CHARACTER_PX = 7.2;
const PADDING_PX = 12;
/** Part of `--note` in the styles that labels may use. */
const NOTE_PX = 76;
/** Width in pixels of the label of a tick. */
const TICK_PX = 62;

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
  const labels = placeLabels(cuts.map(cutLabel), width);
  const isHidden = (place: number) =>
    labels.some(({ left, right }) => place * width < right && place * width + TICK_PX > left);
  // The last label may reach into the room for the durations beside the bars, no further.
  const fits = (mark: number) =>
    positionIn(scale, mark) * width + formatTick(mark, step).length * CHARACTER_PX <
    width + NOTE_PX;
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
          .filter((mark) => !isHidden(positionIn(scale, mark)) && fits(mark))
          .map((mark) => (
            <span key={mark} className="tick" style={{ left: percent(positionIn(scale, mark)) }}>
              {formatTick(mark, step)}
            </span>
          ))}
        {labels.map(({ key, text, title, left }) => (
          <span key={key} className="cut-label" style={{ left }} title={title}>
            {text}
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
  return cutsIn(scale).map(({ from, to, left, width, settles }) => (
    <span
      key={from}
      className={settles ? 'cut settling' : 'cut'}
      title={`${formatDuration(to - from)} ${settles ? 'until the last commit' : 'idle'}`}
      style={{ left: percent(left), width: percent(width) }}
    />
  ));
}

interface CutLabel {
  readonly key: number;
  readonly text: string;
  readonly title: string;
  /** Centre, from 0 to 1. */
  readonly centre: number;
  /** Microseconds that the label stands for: the longest one is kept where two would overlap. */
  readonly weight: number;
}

function cutLabel({ from, to, left, width, settles }: ReturnType<typeof cutsIn>[number]): CutLabel {
  const duration = formatDuration(to - from);
  return {
    key: from,
    text: settles ? `+${duration}` : `${duration} idle`,
    title: settles
      ? `Commits and acknowledgements, up to ${duration} after the work; drawn shorter`
      : `${duration} without a running span, hidden`,
    centre: left + width / 2,
    weight: settles ? Infinity : to - from,
  };
}

/** Places labels within a width: none is cut off at an end, and none overlaps another. */
export function placeLabels(labels: readonly CutLabel[], width: number) {
  const placed: (CutLabel & { readonly left: number; readonly right: number })[] = [];
  for (const label of [...labels].sort((a, b) => b.weight - a.weight)) {
    const room = label.text.length * CHARACTER_PX + PADDING_PX;
    const left = Math.max(0, Math.min(label.centre * width - room / 2, width - room));
    const right = left + room;
    if (placed.every((other) => right <= other.left || left >= other.right))
      placed.push({ ...label, left, right });
  }
  return placed.sort((a, b) => a.left - b.left);
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
