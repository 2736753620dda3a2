/** What the trace is and how it went, before any span is looked at. */
import type { ReactNode } from 'react';
import { CopyButton } from '../shell/CopyButton';
import { longestWait } from '../trace/edges';
import { formatCount, formatDuration, formatTimestamp } from '../trace/format';
import type { Trace } from '../trace/model';

export function TraceHeader({ trace }: { readonly trace: Trace }) {
  const wait = longestWait(trace.edges);
  const answered = answeredAfter(trace);
  return (
    <header className="trace-header">
      <div className="trace-title">
        <h1>
          <bdi className="trace-service">{trace.root?.service}</bdi> <bdi>{trace.root?.name}</bdi>
        </h1>
        <p className="trace-identity">
          <code className="trace-id">{trace.id}</code>
          <CopyButton text={trace.id} what="trace id" />
        </p>
      </div>
      <dl className="facts">
        <Fact name="Start">{formatTimestamp(trace.start)}</Fact>
        <Fact name="Duration">{formatDuration(trace.duration)}</Fact>
        {answered !== undefined && <Fact name="Answered after">{formatDuration(answered)}</Fact>}
        {wait !== undefined && (
          <Fact name="Longest wait in a topic">
            <span className="queue-note">{formatDuration(wait)}</span>
          </Fact>
        )}
        <Fact name="Services">{trace.services.length}</Fact>
        <Fact name="Spans">{trace.spans.length}</Fact>
        <Fact name="Errors">
          <span className={trace.failures > 0 ? 'failure-note' : ''}>{trace.failures}</span>
        </Fact>
      </dl>
      <Remarks trace={trace} />
    </header>
  );
}

/** When the caller had its answer, if work went on after that. */
function answeredAfter({ root, end }: Trace): number | undefined {
  return root?.kind === 'server' && root.end < end ? root.duration : undefined;
}

function Fact({ name, children }: { readonly name: string; readonly children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Remarks({ trace }: { readonly trace: Trace }) {
  const cycles = trace.spans.filter((span) => span.oddity === 'cycle').length;
  const remarks = [
    ...(trace.orphans > 0
      ? [`${formatCount(trace.orphans, 'span')} with a parent that is not here: it has not arrived, was not sampled, or was removed`]
      : []),
    ...(cycles > 0 ? [`${formatCount(cycles, 'span')} named below itself: drawn as a root`] : []),
    ...trace.warnings,
  ];
  if (remarks.length === 0) return null;
  return (
    <ul className="remarks">
      {remarks.map((remark) => (
        <li key={remark}>{remark}</li>
      ))}
    </ul>
  );
}
