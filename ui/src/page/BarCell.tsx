/** The bar of a span, what of it is on the critical path, and the wait of the message it receivedEdges. */
import { fromAxisTime, positionIn } from '../trace/axis';
import { at } from '../trace/column';
import { receivedEdges } from '../trace/edges';
import { formatDuration } from '../trace/format';
import { endOf, INFERRED, isFailed } from '../trace/model';
import { percent } from './Ruler';
import type { SpanRowProps } from './SpanRow';

/** Pixels that the note on a wait needs. */
const WAIT_NOTE_WIDTH = 170;

interface BarCellProps extends SpanRowProps {
  /** Whether the row stands for a run of alike consumers. */
  readonly isRun: boolean;
}

export function BarCell(props: BarCellProps) {
  const { trace, index } = props;
  return (
    <div className="lane-cell" role="gridcell">
      <div className="lane">
        <Wait {...props} />
        {props.isRun && <Run {...props} />}
        <Bar {...props} />
        <span className="unseen">from {formatDuration(at(trace.begin, index))}</span>
      </div>
    </div>
  );
}

/** From the first to the last of a run. */
function Run({ trace, index, axis, window, runs }: SpanRowProps) {
  let end = endOf(trace, index);
  for (let i = index; i < at(runs, index); i++) end = Math.max(end, endOf(trace, i));
  const left = Math.max(0, positionIn(axis, window, at(trace.begin, index)));
  const right = Math.min(1, positionIn(axis, window, end));
  return right <= left ? null : (
    <span className="run" style={{ left: percent(left), width: percent(right - left) }} />
  );
}

function Bar(props: SpanRowProps) {
  const { trace, index, axis, window } = props;
  const length = at(trace.length, index);
  const from = positionIn(axis, window, at(trace.begin, index));
  const to = positionIn(axis, window, endOf(trace, index));
  if (to < 0)
    return (
      <span className="beyond left" title="Before the time shown">
        ◂ {formatDuration(length)}
      </span>
    );
  if (from > 1)
    return (
      <span className="beyond right" title="After the time shown">
        {formatDuration(length)} ▸
      </span>
    );
  const left = Math.max(from, 0);
  const right = Math.min(to, 1);
  const classes = ['bar'];
  if (isFailed(trace, index)) classes.push('failed');
  if (length === 0) classes.push('instant');
  if ((at(trace.flags, index) & INFERRED) !== 0) classes.push('dashed');
  return (
    <>
      <span
        className={classes.join(' ')}
        style={{ left: percent(left), ...(length > 0 && { width: percent(right - left) }) }}
      />
      <CriticalStretches {...props} />
      <span className="bar-note" style={{ left: percent(right) }}>
        {formatDuration(length)}
      </span>
    </>
  );
}

function CriticalStretches({ trace, index, axis, window, critical, laneWidth }: SpanRowProps) {
  if (!critical) return null;
  const stretches: { left: number; right: number }[] = [];
  const pixel = 1 / Math.max(laneWidth, 1);
  for (let i = at(critical.first, index); i < at(critical.first, index + 1); i++) {
    const left = Math.max(0, positionIn(axis, window, at(critical.from, i)));
    const right = Math.min(1, positionIn(axis, window, at(critical.to, i)));
    if (right < left) continue;
    const before = stretches.at(-1);
    // Thousands of stretches may lie in one row; what the eye cannot part is drawn as one.
    if (before && left - before.right < pixel) before.right = Math.max(before.right, right);
    else stretches.push({ left, right });
  }
  return stretches
    .map(({ left, right }) => (
      <span
        key={left}
        className="critical"
        style={{ left: percent(left), width: percent(Math.max(right - left, pixel)) }}
      />
    ))
    .concat(trace.count === 0 ? [<span key="none" />] : []);
}

/** The time a message lay in its topic, as a stretch of its own; of a batch, the longest. */
function Wait({ trace, index, axis, window, critical, laneWidth }: SpanRowProps) {
  const { edges } = trace;
  let longest = -1;
  for (const edge of receivedEdges(edges, index)) {
    if (at(edges.wait, edge) > 0 && (longest < 0 || at(edges.wait, edge) > at(edges.wait, longest)))
      longest = edge;
  }
  if (longest < 0) return null;
  const wait = at(edges.wait, longest);
  const begin = at(trace.begin, index);
  const from = Math.max(0, positionIn(axis, window, begin - wait));
  const to = Math.min(1, positionIn(axis, window, begin));
  if (to <= 0 || from >= 1 || to <= from) return null;
  const topic = edges.topic[longest] || 'the topic';
  const side =
    (to - from) * laneWidth >= WAIT_NOTE_WIDTH
      ? 'within'
      : from * laneWidth >= WAIT_NOTE_WIDTH
        ? 'before'
        : undefined;
  const isCut = axis.cuts.some(
    (cut) =>
      cut.from >= fromAxisTime(axis, window.from) && cut.from < begin && cut.to > begin - wait,
  );
  return (
    <span
      className={critical?.queues.has(longest) ? 'wait on-path' : 'wait'}
      style={{ left: percent(from), width: percent(to - from) }}
      title={`in ${topic} for ${formatDuration(wait)}${isCut ? ' (drawn shorter: idle time is cut out)' : ''}`}
    >
      <span className={side ? `wait-note ${side}` : 'unseen'}>
        <span className="wait-topic">
          in <bdi>{topic}</bdi>
        </span>{' '}
        {formatDuration(wait)}
      </span>
    </span>
  );
}
