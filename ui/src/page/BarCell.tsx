/** The right cell of a row: the bar, its part of the critical path, and the time in the topic. */
import { fromAxisTime, positionIn } from '../trace/axis';
import { at } from '../trace/column';
import { receivedEdges } from '../trace/edges';
import { formatDuration } from '../trace/format';
import { endOf, INFERRED, isFailed, SETTLES } from '../trace/model';
import { percent } from './Ruler';
import type { TimelineModel } from './timelineModel';

/** Width in pixels that the label of a wait needs. */
const WAIT_LABEL_PX = 170;

interface BarProps {
  readonly timeline: TimelineModel;
  readonly index: number;
}

interface BarCellProps extends BarProps {
  /** Whether the row represents a run of similar consumers. */
  readonly isRun: boolean;
}

export function BarCell({ timeline, index, isRun }: BarCellProps) {
  return (
    <div className="bar-cell" role="gridcell">
      <div className="bar-area">
        <QueueTime timeline={timeline} index={index} />
        {isRun && <RunExtent timeline={timeline} index={index} />}
        <Bar timeline={timeline} index={index} />
        <span className="visually-hidden">
          from {formatDuration(at(timeline.trace.begin, index))}
        </span>
      </div>
    </div>
  );
}

/** The time from the first start to the last end of a run. */
function RunExtent({ timeline, index }: BarProps) {
  const { trace, scale, runs } = timeline;
  let end = endOf(trace, index);
  for (let i = index; i < at(runs, index); i++) end = Math.max(end, endOf(trace, i));
  const left = Math.max(0, positionIn(scale, at(trace.begin, index)));
  const right = Math.min(1, positionIn(scale, end));
  return right <= left ? null : (
    <span className="run" style={{ left: percent(left), width: percent(right - left) }} />
  );
}

function Bar({ timeline, index }: BarProps) {
  const { trace, scale } = timeline;
  const length = at(trace.length, index);
  const from = positionIn(scale, at(trace.begin, index));
  const to = positionIn(scale, endOf(trace, index));
  if (to < 0)
    return (
      <span className="beyond left" title="Before the visible time range">
        ◂ {formatDuration(length)}
      </span>
    );
  if (from > 1)
    return (
      <span className="beyond right" title="After the visible time range">
        {formatDuration(length)} ▸
      </span>
    );
  const left = Math.max(from, 0);
  const right = Math.min(to, 1);
  const classes = ['bar'];
  if (isFailed(trace, index)) classes.push('failed');
  if (length === 0) classes.push('instant');
  const flags = at(trace.flags, index);
  if ((flags & INFERRED) !== 0) classes.push('dashed');
  if ((flags & SETTLES) !== 0) classes.push('settles');
  return (
    <>
      <span
        className={classes.join(' ')}
        style={{ left: percent(left), ...(length > 0 && { width: percent(right - left) }) }}
      />
      <CriticalSegments timeline={timeline} index={index} />
      <span className="bar-note" style={{ left: percent(right) }}>
        {formatDuration(length)}
      </span>
    </>
  );
}

function CriticalSegments({ timeline, index }: BarProps) {
  const { scale, critical, barAreaWidth } = timeline;
  if (!critical) return null;
  const segments: { left: number; right: number }[] = [];
  const pixel = 1 / Math.max(barAreaWidth, 1);
  for (let i = at(critical.first, index); i < at(critical.first, index + 1); i++) {
    const left = Math.max(0, positionIn(scale, at(critical.from, i)));
    const right = Math.min(1, positionIn(scale, at(critical.to, i)));
    if (right < left) continue;
    const before = segments.at(-1);
    // A row may have thousands of segments; those less than a pixel apart are drawn as one.
    if (before && left - before.right < pixel) before.right = Math.max(before.right, right);
    else segments.push({ left, right });
  }
  return segments.map(({ left, right }) => (
    <span
      key={left}
      className="critical"
      style={{ left: percent(left), width: percent(Math.max(right - left, pixel)) }}
    />
  ));
}

/** The time that the message breakdown in its topic; of a batch, the longest. */
function QueueTime({ timeline, index }: BarProps) {
  const { trace, scale, critical, barAreaWidth } = timeline;
  const { axis, window } = scale;
  const { edges } = trace;
  let longest = -1;
  for (const edge of receivedEdges(edges, index)) {
    if (at(edges.wait, edge) > 0 && (longest < 0 || at(edges.wait, edge) > at(edges.wait, longest)))
      longest = edge;
  }
  if (longest < 0) return null;
  const wait = at(edges.wait, longest);
  const begin = at(trace.begin, index);
  const from = Math.max(0, positionIn(scale, begin - wait));
  const to = Math.min(1, positionIn(scale, begin));
  if (to <= 0 || from >= 1 || to <= from) return null;
  const topic = edges.topic[longest] || 'the topic';
  const side =
    (to - from) * barAreaWidth >= WAIT_LABEL_PX
      ? 'within'
      : from * barAreaWidth >= WAIT_LABEL_PX
        ? 'before'
        : undefined;
  const isCut = axis.cuts.some(
    (cut) =>
      cut.from >= fromAxisTime(axis, window.from) && cut.from < begin && cut.to > begin - wait,
  );
  const title = `in ${topic} for ${formatDuration(wait)}${
    isCut ? ' (drawn shorter: idle time is hidden)' : ''
  }`;
  return (
    <span
      className={critical?.queues.has(longest) ? 'wait on-path' : 'wait'}
      style={{ left: percent(from), width: percent(to - from) }}
      title={title}
    >
      <span className={side ? `wait-note ${side}` : 'visually-hidden'}>
        <span className="wait-topic">
          in <bdi>{topic}</bdi>
        </span>{' '}
        {formatDuration(wait)}
      </span>
    </span>
  );
}
