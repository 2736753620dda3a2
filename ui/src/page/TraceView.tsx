/** One trace in the selected view, with the details of the selected span. */
import { lazy, Suspense, useMemo, useRef } from 'react';
import { LoadingNotice } from '../shell/Notice';
import { serviceColours } from '../trace/colour';
import type { Trace } from '../trace/model';
import { FlameView } from '../views/FlameView';
import { JourneyView } from '../views/JourneyView';
import { JsonView } from '../views/JsonView';
import { SpansView } from '../views/SpansView';
import { StatisticsView } from '../views/StatisticsView';
import { usePageKeys } from './keys';
import { SpanDetail } from './SpanDetail';
import { usePageModel } from './state';
import { Timeline } from './Timeline';
import { Toolbar } from './Toolbar';
import { TraceHeader } from './TraceHeader';
import type { ViewProps } from './viewProps';

const GraphView = lazy(() => import('../views/GraphView'));

interface TraceViewProps {
  readonly trace: Trace;
  readonly id: string;
  readonly query: string;
  readonly reload: () => void;
}

export function TraceView({ trace, id, query, reload }: TraceViewProps) {
  const page = usePageModel(trace, id, query);
  const colours = useMemo(
    () => serviceColours(trace.services.map((service) => service.name)),
    [trace],
  );
  const { state, dispatch } = page;
  const grid = useRef<HTMLDivElement>(null);
  const findField = useRef<HTMLInputElement>(null);
  // The button that was pressed no longer exists; without this the keyboard focus would be lost.
  const close = () => {
    dispatch({ type: 'set', part: { open: false } });
    grid.current?.focus();
  };
  const follow = (index: number) => {
    dispatch({ type: 'select', index });
    grid.current?.focus();
  };
  // The journey has its own timeline and details, over several traces.
  const isJourney = state.view === 'journey';
  usePageKeys(isJourney ? undefined : page, findField);
  return (
    <main className="page trace-page">
      <TraceHeader page={page} colours={colours} id={id} reload={reload} />
      {!isJourney && <Toolbar page={page} findField={findField} />}
      {isJourney ? (
        <JourneyView page={page} id={trace.id} />
      ) : (
        <div className={state.open ? 'trace-body with-detail' : 'trace-body'}>
          <ChosenView page={page} colours={colours} grid={grid} />
          {state.open && (
            <SpanDetail
              page={page}
              index={state.active}
              colours={colours}
              follow={follow}
              close={close}
            />
          )}
        </div>
      )}
    </main>
  );
}

function ChosenView({
  page,
  colours,
  grid,
}: ViewProps & { readonly grid: React.RefObject<HTMLDivElement | null> }) {
  switch (page.state.view) {
    case 'graph':
      return (
        <Suspense fallback={<LoadingNotice subject="the graph" />}>
          <GraphView page={page} colours={colours} />
        </Suspense>
      );
    case 'flame':
      return <FlameView page={page} colours={colours} />;
    case 'statistics':
      return <StatisticsView page={page} colours={colours} />;
    case 'spans':
      return <SpansView page={page} colours={colours} />;
    case 'json':
      return <JsonView page={page} />;
    default:
      return <Timeline ref={grid} page={page} colours={colours} />;
  }
}
