/** The end-to-end critical path by service and topic, as a bar and as a list. */
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
  readonly topic: boolean;
  readonly name: string;
  /** Time on the path in microseconds. */
  readonly time: number;
  readonly className: string;
}

export function TimeBreakdown({ page, colours }: TimeBreakdownProps) {
  const { trace } = page;
  const parts = useMemo(() => partsOf(trace, colours), [trace, colours]);
  return (
    <section className="breakdown" aria-label="Time breakdown">
      <div className="breakdown-line">
        <h2 title="End-to-end critical path, including the time in topics">Time breakdown</h2>
        <div className="breakdown-bar" aria-hidden="true">
          {parts.map((part) => (
            <span
              key={`${part.topic} ${part.name}`}
              className={part.className}
              style={{ width: percent(trace.duration > 0 ? part.time / trace.duration : 0) }}
              title={describeItem(part)}
            />
          ))}
        </div>
      </div>
      <ul className="pills" aria-label="Services and topics">
        {parts.map((part) => (
          <li key={`${part.topic} ${part.name}`}>
            {part.topic ? (
              <TopicPill page={page} part={part} />
            ) : (
              <Service page={page} part={part} />
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

function describeItem({ topic, name, time }: BreakdownItem): string {
  return `${topic ? `in ${topicName(name)}` : name}: ${formatDuration(time)}`;
}

/** Returns the items in order of time, longest first. */
function partsOf(trace: Trace, colours: ReadonlyMap<string, number>): BreakdownItem[] {
  const breakdown = breakDownTime(trace);
  const services = trace.services.map(({ name }, i) => ({
    topic: false,
    name,
    time: at(breakdown.services, i),
    className: `service-${colours.get(name) ?? 0}`,
  }));
  const topics = [...longestQueueTimes(trace.edges).keys()].map((name) => ({
    topic: true,
    name,
    time: breakdown.topics.get(name) ?? 0,
    className: 'breakdown-topic',
  }));
  return [...services, ...topics].sort((a, b) => b.time - a.time);
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
      title={`${formatCount(share?.spans ?? 0, 'span')}; click to highlight them`}
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

/** A topic with its longest queue time; clicking it selects the span that received that message. */
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
      title={`Passed through ${topicName(part.name)}; click to select the receiver`}
      onClick={look}
    >
      <span className="swatch" aria-hidden="true" />
      <span>in</span>
      <bdi>{topicName(part.name)}</bdi>
      <span className="pill-time">{waitText(wait)}</span>
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
