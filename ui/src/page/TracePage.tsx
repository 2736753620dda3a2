/** The page of one trace, loaded from the collector or opened from a file. */

import { useEffect } from 'react';
import { type ApiError, fetchTrace } from '../api/client';
import { openedTrace } from '../api/openedFiles';
import { Link } from '../shell/Link';
import { EmptyNotice, ErrorNotice, LoadingNotice } from '../shell/Notice';
import { useRequest } from '../shell/request';
import { buildTrace, nameOf, serviceOf, type Trace } from '../trace/model';
import { parseAddress } from './address';
import { TraceView } from './TraceView';

interface TracePageProps {
  readonly id: string;
  readonly query: string;
}

export async function loadTrace(id: string, signal: AbortSignal, raw = false): Promise<Trace> {
  const trace = buildTrace([openedTrace(id)?.response ?? (await fetchTrace(id, signal, raw))]);
  performance.mark('throughline:built');
  return trace;
}

export function TracePage({ id, query }: TracePageProps) {
  const { raw } = parseAddress(query);
  const view = raw ? 'raw' : 'woven';
  const found = useRequest(`${view} ${id}`, async (signal) => ({
    view,
    trace: await loadTrace(id, signal, raw),
  }));
  // While one view is loaded, the value is still that of the other.
  const trace = found.value?.view === view ? found.value.trace : undefined;
  useEffect(() => {
    const title =
      trace && trace.count > 0
        ? `${serviceOf(trace, trace.root)} ${nameOf(trace, trace.root)}`
        : 'Trace';
    document.title = `${title} · Throughline`;
  }, [trace]);

  if (trace && trace.count > 0)
    return <TraceView key={view} trace={trace} id={id} query={query} reload={found.reload} />;
  return (
    <main className="page">
      {found.loading && <LoadingNotice subject="the trace" />}
      {!found.loading && <Absent id={id} failure={found.failure} reload={found.reload} />}
    </main>
  );
}

interface AbsentProps {
  readonly id: string;
  readonly failure: ApiError | undefined;
  readonly reload: () => void;
}

function Absent({ id, failure, reload }: AbsentProps) {
  if (failure && failure.kind !== 'not-found') {
    return <ErrorNotice subject="the trace" failure={failure} retry={reload} />;
  }
  return (
    <EmptyNotice title="Trace not found">
      <p>
        The collector has no spans of <code className="trace-id">{id}</code>. They may not have
        arrived yet, or they were deleted to free space. A trace from a file must be opened again
        after a reload.
      </p>
      <p>
        <button type="button" onClick={reload}>
          Try again
        </button>{' '}
        <Link to="search">Search traces</Link>
      </p>
    </EmptyNotice>
  );
}
