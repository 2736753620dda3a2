/** One trace: its facts, its timeline, and the span that is looked at. */
import { useEffect, useMemo, useRef } from 'react';
import { fetchTrace } from '../shell/api';
import { Empty, Failed, Loading } from '../shell/Notice';
import { linkTo } from '../shell/navigation';
import { useRequest } from '../shell/request';
import { serviceColours } from '../trace/colour';
import { buildTrace, type Trace } from '../trace/model';
import { useCursor } from './cursor';
import { Legend } from './Legend';
import { SpanDetail } from './SpanDetail';
import { Timeline } from './Timeline';
import { TraceHeader } from './TraceHeader';

interface TracePageProps {
  readonly id: string;
  readonly address: string;
}

export function TracePage({ id, address }: TracePageProps) {
  const found = useRequest(id, (signal) => fetchTrace(id, signal).then(buildTrace));
  const root = found.value?.root;
  useEffect(() => {
    document.title = `${root ? `${root.service} ${root.name}` : 'Trace'} · Throughline`;
  }, [root]);

  if (root && found.value) return <TraceView trace={found.value} id={id} address={address} />;
  return (
    <main className="page">
      {found.loading && <Loading what="the trace" />}
      {!found.loading && <Absent id={id} found={found} />}
    </main>
  );
}

function Absent({ id, found }: { readonly id: string; readonly found: ReturnType<typeof useRequest<Trace>> }) {
  if (found.failure && found.failure.kind !== 'not-found') {
    return <Failed what="the trace" failure={found.failure} retry={found.reload} />;
  }
  return (
    <Empty title="No trace with this id">
      <p>
        The collector holds no spans of <code className="trace-id">{id}</code>. They may not have arrived yet, or were
        removed to make room for newer ones.
      </p>
      <p>
        <button type="button" onClick={found.reload}>
          Look again
        </button>{' '}
        <a {...linkTo('search')}>Search traces</a>
      </p>
    </Empty>
  );
}

function TraceView({ trace, id, address }: TracePageProps & { readonly trace: Trace }) {
  const cursor = useCursor(trace, id, address);
  const colours = useMemo(() => serviceColours(trace.services.map((service) => service.name)), [trace]);
  const shown = cursor.open ? trace.spans[cursor.active] : undefined;
  const grid = useRef<HTMLDivElement>(null);
  // What was pressed in the detail is gone afterwards, and the focus with it: back to the grid.
  const leave = () => {
    cursor.close();
    grid.current?.focus();
  };
  const follow = (index: number) => {
    cursor.look(index);
    grid.current?.focus();
  };
  return (
    <main className="page trace-page">
      <TraceHeader trace={trace} />
      <Legend trace={trace} colours={colours} cursor={cursor} />
      <div className={shown ? 'trace-body with-detail' : 'trace-body'}>
        <Timeline ref={grid} trace={trace} colours={colours} cursor={cursor} />
        {shown && (
          <SpanDetail
            trace={trace}
            span={shown}
            colour={colours.get(shown.service) ?? 0}
            follow={follow}
            leave={leave}
          />
        )}
      </div>
    </main>
  );
}
