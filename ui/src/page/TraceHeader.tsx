/**
 * The header of a trace: its name, facts, time breakdown and remarks, and the tabs of its views.
 */
import { type KeyboardEvent, type ReactNode, useRef } from 'react';
import { openedTrace } from '../api/openedFiles';
import { CopyButton } from '../shell/CopyButton';
import { Link } from '../shell/Link';
import { tracePath } from '../shell/navigation';
import { at } from '../trace/column';
import { destinationOf } from '../trace/destination';
import { longestQueueTimes } from '../trace/edges';
import { formatCount, formatDuration, formatTimestamp } from '../trace/format';
import { endOf, INFERRED, nameOf, OPEN, serviceOf, type Trace } from '../trace/model';
import { VIEWS, type View } from './address';
import { Destination } from './Destination';
import { DownloadMenu } from './DownloadMenu';
import type { PageModel } from './state';
import { TimeBreakdown, waitText } from './TimeBreakdown';

const VIEW_NAMES: Record<View, string> = {
  timeline: 'Timeline',
  journey: 'Journey',
  graph: 'Graph',
  flame: 'Flame graph',
  statistics: 'Statistics',
  spans: 'Spans',
  json: 'JSON',
};

interface TraceHeaderProps {
  readonly page: PageModel;
  readonly colours: ReadonlyMap<string, number>;
  readonly id: string;
  readonly reload: () => void;
}

export function TraceHeader({ page, colours, id, reload }: TraceHeaderProps) {
  const { trace } = page;
  return (
    <header className="trace-header">
      <div className="trace-title">
        <h1>
          <bdi className="trace-service">{serviceOf(trace, trace.root)}</bdi>{' '}
          <bdi>{nameOf(trace, trace.root)}</bdi>
          <Destination text={destinationOf(trace, trace.root)} />
        </h1>
        <p className="trace-identity">
          <code className="trace-id">{trace.id}</code>
          <CopyButton text={trace.id} subject="trace ID" />
          <button
            type="button"
            className="copy"
            onClick={reload}
            title="Reload the trace: more spans may have arrived"
          >
            Reload
          </button>
          <DownloadMenu ids={[id]} />
        </p>
      </div>
      <Facts trace={trace} />
      <Reported page={page} id={id} />
      {page.state.view !== 'journey' && <TimeBreakdown page={page} colours={colours} />}
      <Remarks trace={trace} />
      <ViewTabs page={page} />
    </header>
  );
}

function Facts({ trace }: { readonly trace: Trace }) {
  const waits = [...longestQueueTimes(trace.edges).values()];
  const responded = respondedAfter(trace);
  let deepest = 0;
  for (const depth of trace.depth) if (depth > deepest) deepest = depth;
  return (
    <dl className="facts">
      <Fact name="Start">{formatTimestamp(trace.start)}</Fact>
      <Fact name="Duration" title="From the first start to the end of the work">
        {formatDuration(trace.duration)}
      </Fact>
      {trace.extent > trace.duration && (
        <Fact
          name="Committed"
          title="From the end of the work to the last commit; nobody waits for it"
        >
          after {formatDuration(trace.extent - trace.duration)}
        </Fact>
      )}
      {responded !== undefined && <Fact name="Response after">{formatDuration(responded)}</Fact>}
      {waits.length > 0 && (
        <Fact name="Longest time in a topic">
          <span className="queue-note">
            {waitText(waits.reduce((longest, wait) => Math.max(longest, wait), 0))}
          </span>
        </Fact>
      )}
      <Fact name="Spans">{trace.count.toLocaleString('en')}</Fact>
      <Fact name="Depth">{trace.count > 0 ? deepest + 1 : 0}</Fact>
      <Fact name="Errors">
        <span className={trace.failures > 0 ? 'failure-note' : ''}>{trace.failures}</span>
      </Fact>
    </dl>
  );
}

/** The switch between a woven trace and the traces that were reported. */
function Reported({ page: { trace, raw }, id }: { readonly page: PageModel; readonly id: string }) {
  if (raw)
    return (
      <p className="remarks">
        As reported · <Link to={tracePath(id)}>Show the woven trace</Link>
      </p>
    );
  if (trace.fragments <= 1) return null;
  return (
    <p className="remarks">
      Woven from {formatCount(trace.fragments, 'reported trace')} ·{' '}
      <Link to={tracePath(id, { raw: '1' })}>Show as reported</Link>
    </p>
  );
}

interface FactProps {
  readonly name: string;
  readonly title?: string;
  readonly children: ReactNode;
}

function Fact({ name, title, children }: FactProps) {
  return (
    <div title={title}>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** Returns when the root span ended, if the trace continued after that. */
function respondedAfter(trace: Trace): number | undefined {
  if (trace.root < 0) return undefined;
  const responded = endOf(trace, trace.root);
  return responded < trace.duration * 0.98 ? responded : undefined;
}

function Remarks({ trace }: { readonly trace: Trace }) {
  const inferred = countFlag(trace, INFERRED);
  const open = countFlag(trace, OPEN);
  const remarks = [
    trace.orphans > 0 && `${formatCount(trace.orphans, 'span')} with a missing parent`,
    trace.skewed > 0 && `${formatCount(trace.skewed, 'span')} with clock skew, drawn as recorded`,
    trace.negative > 0 &&
      `${formatCount(trace.negative, 'span')} ending before the start, drawn as an instant`,
    trace.cycles > 0 && `${formatCount(trace.cycles, 'parent cycle')}, cut at the earliest span`,
    inferred > 0 && `${formatCount(inferred, 'inferred parent')}, drawn dashed`,
    open > 0 && `${formatCount(open, 'open fragment')} with an unknown cause`,
    trace.omitted > 0 &&
      `${formatCount(trace.omitted, 'span')} omitted, as the trace exceeds the size limit`,
    ...(openedTrace(trace.id)?.notes ?? []).map((note) => `file: ${note}`),
  ].filter((remark) => remark !== false);
  if (remarks.length === 0) return null;
  return <p className="remarks">{remarks.join(' · ')}</p>;
}

function countFlag(trace: Trace, flag: number): number {
  let count = 0;
  for (let i = 0; i < trace.count; i++) if ((at(trace.flags, i) & flag) !== 0) count += 1;
  return count;
}

/** Tabs as in the ARIA pattern: Tab stops once, arrow keys move between the tabs. */
export function ViewTabs({ page }: { readonly page: PageModel }) {
  const list = useRef<HTMLDivElement>(null);
  const { view } = page.state;
  const choose = (chosen: View) => page.dispatch({ type: 'set', part: { view: chosen } });

  function onKeyDown(event: KeyboardEvent) {
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
    if (step === 0) return;
    event.preventDefault();
    const next = (VIEWS.indexOf(view) + step + VIEWS.length) % VIEWS.length;
    choose(VIEWS[next] as View);
    list.current?.querySelectorAll<HTMLElement>('[role="tab"]')[next]?.focus();
  }

  return (
    <div className="tabs" role="tablist" aria-label="Views" ref={list} onKeyDown={onKeyDown}>
      {VIEWS.map((name) => (
        <button
          key={name}
          type="button"
          role="tab"
          aria-selected={name === view}
          tabIndex={name === view ? 0 : -1}
          onClick={() => choose(name)}
        >
          {VIEW_NAMES[name]}
        </button>
      ))}
    </div>
  );
}
