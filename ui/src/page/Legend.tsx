/** What the colours and lines of the timeline mean, and the buttons that fold it. */
import { ServicePill } from '../shell/ServicePill';
import type { Trace } from '../trace/model';
import type { TraceCursor } from './cursor';

interface LegendProps {
  readonly trace: Trace;
  readonly colours: ReadonlyMap<string, number>;
  readonly cursor: TraceCursor;
}

export function Legend({ trace, colours, cursor }: LegendProps) {
  return (
    <div className="legend">
      <ul className="pills" aria-label="Services of this trace">
        {trace.services.map((service) => (
          <li key={service.name}>
            <ServicePill service={service} colour={colours.get(service.name) ?? 0} />
          </li>
        ))}
      </ul>
      {trace.edges.length > 0 && (
        <ul className="signs" aria-label="Signs">
          <li>
            <svg width="34" height="14" viewBox="0 0 34 14" aria-hidden="true" className="edge-sign">
              <circle cx="3.5" cy="3" r="2.5" />
              <path d="M3.5 3 V7 Q3.5 11 7.5 11 H26" />
              <path className="edge-head" d="M26 7 L33 11 L26 14.5 Z" />
            </svg>
            follows from, by a message
          </li>
          <li>
            <span className="wait-sign" aria-hidden="true" />
            in the topic
          </li>
        </ul>
      )}
      <span className="fold-buttons">
        <button type="button" onClick={cursor.expandAll}>
          Expand all
        </button>
        <button type="button" onClick={cursor.collapseAll}>
          Collapse all
        </button>
      </span>
    </div>
  );
}
