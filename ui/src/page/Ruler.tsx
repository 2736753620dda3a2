/** The time axis: labels above the rows, lines behind them. */
import { formatDuration } from '../trace/format';
import { fraction } from '../trace/scale';

interface AxisProps {
  /** Offsets in microseconds. */
  readonly marks: readonly number[];
  readonly duration: number;
}

export function Ruler({ marks, duration }: AxisProps) {
  return (
    <div className="ruler" role="row" aria-rowindex={1}>
      <div role="columnheader" className="ruler-names">
        Service and span
      </div>
      <div role="columnheader" className="ruler-axis" aria-label="Time since the start of the trace">
        {marks.map((mark) => (
          <span key={mark} className="tick" style={{ left: place(mark, duration) }}>
            {formatDuration(mark)}
          </span>
        ))}
      </div>
    </div>
  );
}

export function Grid({ marks, duration }: AxisProps) {
  return marks.map((mark) => <span key={mark} className="grid-line" style={{ left: place(mark, duration) }} />);
}

function place(mark: number, duration: number): string {
  return `${100 * fraction({ start: 0, duration }, mark)}%`;
}
