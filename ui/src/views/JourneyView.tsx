/**
 * The journey: this trace and the traces linked to it, in both directions, as lanes of one
 * timeline. The lane of this trace stays marked.
 */

import { useMemo, useRef } from 'react';
import { fetchJourney, fetchTrace } from '../api/client';
import { openedTrace, openedTraces } from '../api/openedFiles';
import type { TraceResponse } from '../api/types';
import { usePageKeys } from '../page/keys';
import { SpanDetail } from '../page/SpanDetail';
import { type PageModel, usePageModel } from '../page/state';
import { TimeBreakdown } from '../page/TimeBreakdown';
import { Timeline } from '../page/Timeline';
import { Toolbar } from '../page/Toolbar';
import { Link } from '../shell/Link';
import { ErrorNotice, LoadingNotice } from '../shell/Notice';
import { tracePath } from '../shell/navigation';
import { useRequest } from '../shell/request';
import { serviceColours } from '../trace/colour';
import { formatCount } from '../trace/format';
import { findLinkedTraces } from '../trace/linkedTraces';
import { buildTrace, type Trace } from '../trace/model';

/** Lanes are numbered in a byte, and more would be unreadable. */
const MAX_LANES = 40;

interface Journey {
  readonly trace: Trace;
  readonly links: number;
  /** Number of linked traces that are not available. */
  readonly missing: number;
  readonly more: boolean;
  /** ID of the trace whose journey this is. */
  readonly homeId: string;
}

export function JourneyView({ page, id }: { readonly page: PageModel; readonly id: string }) {
  const found = useRequest(id, (signal) => loadJourney(id, signal));
  if (found.failure && !found.loading)
    return <ErrorNotice subject="the journey" failure={found.failure} retry={found.reload} />;
  if (!found.value) return <LoadingNotice subject="the journey" />;
  return <Lanes journey={found.value} outer={page} />;
}

async function loadJourney(id: string, signal: AbortSignal): Promise<Journey> {
  if (openedTrace(id)) return openedJourney(id);
  const response = await fetchJourney(id, signal);
  const wanted = response.traces.slice(0, MAX_LANES).sort((a, b) => a.start - b.start);
  const lanes = await Promise.all(wanted.map(({ trace_id }) => fetchTrace(trace_id, signal)));
  const more = response.more || response.traces.length > MAX_LANES;
  return {
    trace: buildTrace(lanes),
    links: response.links.length,
    missing: response.missing.length,
    more,
    homeId: id,
  };
}

/** Builds the journey of a trace from a file, with the traces of all open files. */
function openedJourney(id: string): Journey {
  const { lanes, links, missing } = findLinkedTraces(
    id,
    openedTraces().map(({ response }) => response),
  );
  const shown = lanes.slice(0, MAX_LANES).sort((a, b) => a.origin - b.origin);
  return {
    trace: buildTrace(shown),
    links,
    missing,
    more: lanes.length > shown.length,
    homeId: id,
  };
}

function Lanes({ journey, outer }: { readonly journey: Journey; readonly outer: PageModel }) {
  const { trace, links, missing, more, homeId } = journey;
  const lanes = trace.responses.length;
  const query = new URLSearchParams(location.search);
  query.set('view', 'journey');
  const page = usePageModel(trace, homeId, `?${query}`, true);
  const colours = useMemo(
    () => serviceColours(trace.services.map((service) => service.name)),
    [trace],
  );
  const grid = useRef<HTMLDivElement>(null);
  const findField = useRef<HTMLInputElement>(null);
  const { state, dispatch } = page;
  usePageKeys(page, findField);
  const titles = trace.responses.map((lane) => (
    <LaneTitle key={lane.trace_id} lane={lane} homeId={homeId} />
  ));
  const close = () => dispatch({ type: 'set', part: { open: false } });
  return (
    <>
      <p className="journey-note" role="status">
        {lanes === 1
          ? 'No other trace is linked to this one.'
          : `${formatCount(lanes, 'trace')}, joined by ${formatCount(links, 'link')}.`}
        {missing > 0 && ` Not stored: ${formatCount(missing, 'linked trace')}.`}
        {more && ' More traces are linked than shown.'}{' '}
        <button
          type="button"
          onClick={() => outer.dispatch({ type: 'set', part: { view: 'timeline' } })}
        >
          This trace only
        </button>
      </p>
      <TimeBreakdown page={page} colours={colours} />
      <Toolbar page={{ ...page, state: { ...state, view: 'timeline' } }} findField={findField} />
      <div className={state.open ? 'trace-body with-detail' : 'trace-body'}>
        <Timeline ref={grid} page={page} colours={colours} laneTitles={titles} />
        {state.open && (
          <SpanDetail
            page={page}
            index={state.active}
            colours={colours}
            follow={(index) => dispatch({ type: 'select', index })}
            close={() => {
              close();
              grid.current?.focus();
            }}
          />
        )}
      </div>
    </>
  );
}

function LaneTitle({ lane, homeId }: { readonly lane: TraceResponse; readonly homeId: string }) {
  if (lane.trace_id === homeId) return <span className="mark lane-home">this trace</span>;
  return (
    <Link
      className="mark lane-link"
      to={tracePath(lane.trace_id)}
      title={`Open trace ${lane.trace_id}`}
    >
      trace {lane.trace_id.slice(0, 8)}
    </Link>
  );
}
