/** Where the time went: the end-to-end critical path by service and topic, as a bar and a list. */
import { useMemo } from 'react';
import { breakDownTime } from '../trace/breakdown';
import { at } from '../trace/column';
import { longestQueueTimes } from '../trace/edges';
import { findService } from '../trace/find';
import { formatCount, formatDuration } from '../trace/format';
import type { Trace } from '../trace/model';
import { percent } from './Ruler';
import type { PageModel } from './state';

interface TimeBreakdownProps {
  readonly page: PageModel;
  readonly colours: ReadonlyMap<string, number>;
}

interface BreakdownItem {
  readonly kind: 'service' | 'topic' | 'idle';
  readonly name: string;
  /** Time on the path in microseconds. */
  readonly time: number;
  readonly className: string;
}

export function TimeBreakdown({ page, colours }: TimeBreakdownProps) {
  const { trace } = page;
  const parts = useMemo(() => partsOf(trace, colours), [trace, colours]);
  const whole = trace.duration > 0 ? trace.duration : 1;
  return (
    <section className="breakdown" aria-label="Time breakdown">
      <div className="breakdown-line">
        <h2 title={EXPLANATION}>Time breakdown</h2>
        <div className="breakdown-bar" aria-hidden="true">
          {parts.map((part) => (
            <span
              key={`${part.kind} ${part.name}`}
              className={part.className}
              style={{ width: percent(part.time / whole) }}
              title={describeItem(part)}
            />
          ))}
        </div>
      </div>
      <ul className="pills" aria-label="Services and topics">
        {parts.map((part) => (
          <li key={`${part.kind} ${part.name}`}>
            {part.kind === 'topic' ? (
              <TopicPill page={page} part={part} />
            ) : part.kind === 'service' ? (
              <Service page={page} part={part} />
            ) : (
              <span className="pill idle-pill" title={IDLE_EXPLANATION}>
                <span className="swatch" aria-hidden="true" />
                idle <span className="pill-time">{formatDuration(part.time)}</span>
              </span>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

const EXPLANATION =
  'Each moment from the first start to the end of the work counts once: for the service on the ' +
  'end-to-end critical path, for the topic in which its message waited, or as idle. The parts ' +
  'add up to the duration.';
const IDLE_EXPLANATION =
  'No span of the end-to-end critical path ran: between roots, while a cause is not recorded, or ' +
  'because clocks differ';

function describeItem({ kind, name, time }: BreakdownItem): string {
  const subject = kind === 'topic' ? `in ${topicName(name)}` : kind === 'idle' ? 'idle' : name;
  return `${subject}: ${formatDuration(time)} of the critical path`;
}

/** Returns the items in order of time, longest first. */
function partsOf(trace: Trace, colours: ReadonlyMap<string, number>): BreakdownItem[] {
  const breakdown = breakDownTime(trace);
  const services = trace.services.map(({ name }, i) => ({
    kind: 'service' as const,
    name,
    time: at(breakdown.services, i),
    className: `service-${colours.get(name) ?? 0}`,
  }));
  const topics = [...longestQueueTimes(trace.edges).keys()].map((name) => ({
    kind: 'topic' as const,
    name,
    time: breakdown.topics.get(name) ?? 0,
    className: 'breakdown-topic',
  }));
  const idle = {
    kind: 'idle' as const,
    name: '',
    time: breakdown.idle,
    className: 'breakdown-idle',
  };
  return [...services, ...topics, ...(idle.time > 0 ? [idle] : [])].sort((a, b) => b.time - a.time);
}

interface BreakdownItemProps {
  readonly page: PageModel;
  readonly part: BreakdownItem;
}

/** A service; clicking it highlights its spans. */
function Service({ page, part }: BreakdownItemProps) {
  const { trace, state, dispatch } = page;
  const share = trace.services.find(({ name }) => name === part.name);
  const find = findService(part.name);
  return (
    <button
      type="button"
      className={`pill ${part.className}`}
      aria-pressed={state.find === find}
      title={`${timeText(part)}${formatCount(share?.spans ?? 0, 'span')}; click to highlight them`}
      onClick={() => dispatch({ type: 'set', part: { find: state.find === find ? '' : find } })}
    >
      <span className="swatch" aria-hidden="true" />
      <bdi>{part.name}</bdi>
      {part.time > 0 && <span className="pill-time">{formatDuration(part.time)}</span>}
      {share && share.errors > 0 && (
        <span className="failure-note">{formatCount(share.errors, 'error')}</span>
      )}
    </button>
  );
}

function timeText({ time }: BreakdownItem): string {
  return time > 0 ? `${formatDuration(time)} of the critical path; ` : 'Not on the critical path; ';
}

/**
 * A topic with the time on the path that a message waited in it; clicking it selects the receiver
 * of the message that waited longest.
 */
function TopicPill({ page, part }: BreakdownItemProps) {
  const { trace, dispatch } = page;
  const wait = longestQueueTimes(trace.edges).get(part.name) ?? 0;
  const look = () => {
    const { edges } = trace;
    let longest = -1;
    edges.wait.forEach((each, edge) => {
      if (
        edges.topic[edge] === part.name &&
        !Number.isNaN(each) &&
        (longest < 0 || each > at(edges.wait, longest))
      )
        longest = edge;
    });
    if (longest >= 0) dispatch({ type: 'select', index: at(edges.to, longest) });
  };
  return (
    <button
      type="button"
      className="pill topic-pill"
      title={`${timeText(part)}longest wait ${waitText(wait)}; click to select its receiver`}
      onClick={look}
    >
      <span className="swatch" aria-hidden="true" />
      <span>in</span>
      <bdi>{topicName(part.name)}</bdi>
      {part.time > 0 && <span className="pill-time">{formatDuration(part.time)}</span>}
    </button>
  );
}

function topicName(name: string): string {
  return name || 'a topic';
}

/**
 * A message may be received before its sender gets the acknowledgement: it then has no queue time.
 */
export function waitText(wait: number): string {
  return formatDuration(Math.max(wait, 0));
}
