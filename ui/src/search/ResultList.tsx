/** The traces found, one row each: what it was, how long it took, who took part. */
import { ServicePill } from '../shell/ServicePill';
import { linkTo, tracePath } from '../shell/navigation';
import { serviceColours } from '../trace/colour';
import { longestWait } from '../trace/edges';
import { formatAge, formatCount, formatDuration, formatTimestamp } from '../trace/format';
import type { Trace } from '../trace/model';

interface ResultListProps {
  readonly traces: readonly Trace[];
  /** Milliseconds since the epoch. */
  readonly now: number;
}

export function ResultList({ traces, now }: ResultListProps) {
  const longest = Math.max(1, ...traces.map((trace) => trace.duration));
  const colours = serviceColours(traces.flatMap((trace) => trace.services.map((service) => service.name)));
  return (
    <ol className="results">
      {traces.map((trace) => (
        <Result key={trace.id} trace={trace} longest={longest} colours={colours} now={now} />
      ))}
    </ol>
  );
}

interface ResultProps {
  readonly trace: Trace;
  readonly longest: number;
  readonly colours: ReadonlyMap<string, number>;
  readonly now: number;
}

function Result({ trace, longest, colours, now }: ResultProps) {
  const wait = longestWait(trace.edges);
  return (
    <li className="result">
      <div className="result-head">
        <a className="result-name" {...linkTo(tracePath(trace.id))}>
          <bdi className="result-service">{trace.root?.service}</bdi> <bdi>{trace.root?.name}</bdi>
        </a>
        <span className="result-duration">
          <span className="meter" aria-hidden="true">
            <span style={{ width: `${(100 * trace.duration) / longest}%` }} />
          </span>
          {formatDuration(trace.duration)}
        </span>
        <time className="result-time" dateTime={isoTime(trace.start)}>
          {formatAge(trace.start, now)} <span className="quiet">{formatTimestamp(trace.start)}</span>
        </time>
      </div>
      <div className="result-parts">
        <ul className="pills" aria-label="Services">
          {trace.services.map((service) => (
            <li key={service.name}>
              <ServicePill service={service} colour={colours.get(service.name) ?? 0} />
            </li>
          ))}
        </ul>
        <span className="result-facts">
          {wait !== undefined && <span className="queue-note">{formatDuration(wait)} in a topic</span>}
          {trace.orphans > 0 && <span>incomplete</span>}
          <span>{formatCount(trace.spans.length, 'span')}</span>
          <span className={trace.failures > 0 ? 'failure-note' : ''}>{formatCount(trace.failures, 'error')}</span>
        </span>
      </div>
    </li>
  );
}

function isoTime(microseconds: number): string | undefined {
  const date = new Date(microseconds / 1e3);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}
