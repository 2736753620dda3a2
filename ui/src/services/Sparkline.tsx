/** A small line over time without axes; its greatest value is its text alternative. */

import { greatest, type Line } from './serviceSeries';

const WIDTH = 120;
const HEIGHT = 28;

interface SparklineProps {
  readonly label: string;
  readonly line: Line;
  readonly format: (value: number) => string;
  /** Draws in the colour of errors. */
  readonly isFailure?: boolean;
}

export function Sparkline({ label, line, format, isFailure = false }: SparklineProps) {
  const top = greatest(line);
  if (top === undefined) return <span className="quiet">no data</span>;
  const x = (at: number) => ((at + 0.5) / line.length) * WIDTH;
  const y = (value: number) =>
    HEIGHT - 2 - (value / Math.max(top, Number.MIN_VALUE)) * (HEIGHT - 4);
  return (
    <svg
      className={isFailure ? 'sparkline failed' : 'sparkline'}
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      width={WIDTH}
      height={HEIGHT}
      role="img"
      aria-label={`${label}, at most ${format(top)}`}
    >
      {runs(line).map((run) =>
        run.length === 1 ? (
          <circle key={run[0]?.at} cx={x(run[0]?.at ?? 0)} cy={y(run[0]?.value ?? 0)} r="1.8" />
        ) : (
          <polyline
            key={run[0]?.at}
            points={run.map(({ at, value }) => `${x(at)},${y(value)}`).join(' ')}
          />
        ),
      )}
    </svg>
  );
}

interface Point {
  readonly at: number;
  readonly value: number;
}

/** The points without a gap between them: no line crosses a time without spans. */
function runs(line: Line): Point[][] {
  const found: Point[][] = [];
  let run: Point[] = [];
  line.forEach((value, at) => {
    if (value !== undefined) {
      if (run.length === 0) found.push(run);
      run.push({ at, value });
    } else {
      run = [];
    }
  });
  return found;
}
