/** The list of traces found, with name, duration, time, services and topics. */

import { memo, useDeferredValue } from 'react';
import type { TraceSummary } from '../api/types';
import { Destination } from '../page/Destination';
import { Link } from '../shell/Link';
import { tracePath } from '../shell/navigation';
import { ServicePill } from '../shell/ServicePill';
import { formatAge, formatCount, formatDuration, formatTimestamp } from '../trace/format';
import { usualMaximum } from './usualRange';

interface ResultListProps {
  readonly traces: readonly TraceSummary[];
  readonly colours: ReadonlyMap<string, number>;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Whether a link to a trace highlights the spans that the search matched. */
  readonly linksToMatches: boolean;
  readonly selected: readonly string[];
  readonly toggleSelected: (id: string) => void;
}

const INITIAL_ROWS = 40;

export function ResultList({
  traces,
  colours,
  now,
  linksToMatches,
  selected,
  toggleSelected,
}: ResultListProps) {
  // The visible rows are drawn at once; the others follow without blocking input.
  const deferred = useDeferredValue(traces, traces.slice(0, INITIAL_ROWS));
  const shown = traces.length <= INITIAL_ROWS ? traces : deferred;
  const longest = usualMaximum(traces.map((trace) => trace.duration));
  return (
    <ol className="results">
      {shown.map((trace) => (
        <Result
          key={trace.trace_id}
          trace={trace}
          fraction={Math.min(1, trace.duration / Math.max(longest, 1))}
          colours={colours}
          age={formatAge(trace.start, now)}
          linksToMatches={linksToMatches}
          isSelected={selected.includes(trace.trace_id)}
          toggleSelected={toggleSelected}
        />
      ))}
    </ol>
  );
}

interface ResultProps {
  readonly trace: TraceSummary;
  /** Fraction of the longest duration in the list. */
  readonly fraction: number;
  readonly colours: ReadonlyMap<string, number>;
  readonly age: string;
  readonly linksToMatches: boolean;
  readonly isSelected: boolean;
  readonly toggleSelected: (id: string) => void;
}

const Result = memo(function Result({
  trace,
  fraction,
  colours,
  age,
  linksToMatches,
  isSelected,
  toggleSelected,
}: ResultProps) {
  const name = `${trace.service} ${trace.operation}`;
  const settled = trace.settled_after ?? 0;
  const matched = linksToMatches
    ? {
        span: trace.matched[0],
        match: trace.matched.length > 1 ? trace.matched.join(',') : undefined,
      }
    : {};
  return (
    <li className={isSelected ? 'result ticked' : 'result'}>
      <input
        type="checkbox"
        className="result-tick"
        aria-label={`Compare ${name}`}
        title="Select two traces to compare them"
        checked={isSelected}
        onChange={() => toggleSelected(trace.trace_id)}
      />
      <div className="result-body">
        <div className="result-head">
          <Link className="result-name" to={tracePath(trace.trace_id, matched)}>
            <bdi className="result-service">{trace.service || '(no service)'}</bdi>{' '}
            <bdi>{trace.operation || '(no name)'}</bdi>
            <Destination text={trace.destination ?? ''} />
          </Link>
          <span className="result-duration">
            <span className="meter" aria-hidden="true">
              <span style={{ width: `${100 * fraction}%` }} />
            </span>
            {formatDuration(trace.duration)}
          </span>
          <time className="result-time" dateTime={isoTime(trace.start)}>
            {age} <span className="quiet">{formatTimestamp(trace.start)}</span>
          </time>
        </div>
        <div className="result-parts">
          <ul className="pills" aria-label="Services and topics">
            {trace.services.map((service) => (
              <li key={service.name}>
                <ServicePill service={service} colour={colours.get(service.name) ?? 0} />
              </li>
            ))}
            {trace.topics.map((topic) => (
              <li
                key={`topic ${topic}`}
                className="pill topic-pill"
                title={`Passed through topic ${topic}`}
              >
                <bdi>{topic}</bdi>
              </li>
            ))}
          </ul>
          <span className="result-facts">
            {settled > 0 && (
              <span title="From the end of the work to the last commit or acknowledgement">
                committed after {formatDuration(settled)}
              </span>
            )}
            {!trace.rooted && <span title="The root span is missing">incomplete</span>}
            {trace.open > 0 && (
              <span title="Fragments with an unknown cause">{trace.open} open</span>
            )}
            {trace.woven > 0 && (
              <span title="Spans with an inferred parent">{trace.woven} inferred</span>
            )}
            <span>{formatCount(trace.spans, 'span')}</span>
            <span className={trace.errors > 0 ? 'failure-note' : ''}>
              {formatCount(trace.errors, 'error')}
            </span>
          </span>
        </div>
      </div>
    </li>
  );
});

function isoTime(microseconds: number): string | undefined {
  const date = new Date(microseconds / 1e3);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}
