/** The search page: the form and the traces that match. */

import { lazy, Suspense, useCallback, useEffect, useMemo, useState } from 'react';
import { completeTexts } from '../api/client';
import { openedTraces } from '../api/openedFiles';
import { DownloadMenu } from '../page/DownloadMenu';
import { FreshnessLine, useFreshness } from '../shell/Freshness';
import { Link } from '../shell/Link';
import { EmptyNotice, ErrorNotice, LoadingNotice } from '../shell/Notice';
import { comparePath, navigate } from '../shell/navigation';
import { useNow } from '../shell/now';
import { useRequest } from '../shell/request';
import { serviceColours } from '../trace/colour';
import { formatCount } from '../trace/format';
import { type Brush, isWithin, narrowQuery } from './brush';
import { summaryOf } from './fileSummaries';
import { OpenFile } from './OpenFile';
import { LOOKBACKS, ORDERS, parseQuery, type SearchQuery, searchPath } from './query';
import { ResultList } from './ResultList';
import { type SearchResults, useSearchResults } from './results';
import { SearchForm } from './SearchForm';

const Scatter = lazy(() => import('./Scatter'));

export function SearchPage({ address }: { readonly address: string }) {
  const query = useMemo(() => parseQuery(address), [address]);
  const services = useRequest('services', (signal) => completeTexts('services', {}, signal));
  const [isLive, setLive] = useState(false);
  const found = useSearchResults(query, isLive);
  const queryNode = useFreshness(found.loading);
  const [, countOpened] = useState(0);
  const [selected, setSelected] = useState<readonly string[]>([]);
  const toggleSelected = useCallback(
    // Two traces are compared: selecting a third replaces the first.
    (id: string) =>
      setSelected((before) =>
        before.includes(id) ? before.filter((other) => other !== id) : [...before.slice(-1), id],
      ),
    [],
  );
  useEffect(() => {
    document.title = 'Search · Throughline';
  }, []);

  function submit(next: SearchQuery) {
    services.reload();
    const path = searchPath(next);
    // The same query again reloads, to show traces that have arrived since.
    if (path === searchPath(query)) found.reload();
    else navigate(path);
  }

  const rejected = found.failure?.kind === 'rejected' ? found.failure : undefined;
  const error =
    rejected && query.q !== ''
      ? {
          message: rejected.message,
          ...(rejected.position !== undefined && { position: rejected.position }),
        }
      : undefined;
  return (
    <main className="page">
      <h1 className="visually-hidden">Search traces</h1>
      <SearchForm query={query} services={services.value ?? []} error={error} onSubmit={submit} />
      {queryNode && <FreshnessLine queryNode={queryNode} />}
      <TracesFromFiles selected={selected} toggleSelected={toggleSelected} />
      <Results
        query={query}
        found={found}
        isQueryNode={queryNode !== undefined}
        known={services.value}
        isLive={isLive}
        setLive={setLive}
        opened={() => countOpened((count) => count + 1)}
        selected={selected}
        toggleSelected={toggleSelected}
      />
    </main>
  );
}

function TracesFromFiles({ selected, toggleSelected }: ComparisonSelection) {
  const traces = openedTraces().map(({ response }) => response);
  const colours = serviceColours(
    traces.flatMap((trace) => trace.resources.map(({ service }) => trace.strings[service] ?? '')),
  );
  if (traces.length === 0) return null;
  return (
    <section aria-label="From files">
      <p className="result-count">From files, kept until this page is closed or reloaded</p>
      <ResultList
        traces={traces.map(summaryOf)}
        colours={colours}
        now={Date.now()}
        linksToMatches={false}
        selected={selected}
        toggleSelected={toggleSelected}
      />
    </section>
  );
}

/** Traces selected for comparison, from the results or from files. */
interface ComparisonSelection {
  readonly selected: readonly string[];
  readonly toggleSelected: (id: string) => void;
}

interface ResultsProps extends ComparisonSelection {
  readonly query: SearchQuery;
  readonly found: SearchResults;
  readonly isQueryNode: boolean;
  readonly known: readonly string[] | undefined;
  readonly isLive: boolean;
  readonly setLive: (isLive: boolean) => void;
  readonly opened: () => void;
}

function Results({
  query,
  found,
  isQueryNode,
  known,
  isLive,
  setLive,
  opened,
  selected,
  toggleSelected,
}: ResultsProps) {
  const now = useNow();
  // A brush belongs to the query whose plot it was drawn on; the next query begins without one.
  const path = searchPath(query);
  const [brushed, setBrushed] = useState<{ readonly path: string; readonly brush: Brush }>();
  const brush = brushed?.path === path ? brushed.brush : undefined;
  const setBrush = useCallback(
    (next: Brush | undefined) => setBrushed(next && { path, brush: next }),
    [path],
  );
  const { traces } = found;
  const names = traces?.flatMap((trace) => trace.services.map((service) => service.name)) ?? [];
  const namesKey = [...new Set(names)].sort().join('\u0000');
  const colours = useMemo(() => serviceColours(namesKey.split('\u0000')), [namesKey]);
  const shown = useMemo(
    () => (brush ? traces?.filter((trace) => isWithin(brush, trace)) : traces),
    [brush, traces],
  );
  const tools = (
    <span className="result-tools">
      {query.lookback !== 'custom' && (
        <label className="tick-box" title="Show new traces as they arrive">
          <input
            type="checkbox"
            checked={isLive}
            onChange={(event) => setLive(event.target.checked)}
          />
          Live
        </label>
      )}
      <button
        type="button"
        className="small"
        disabled={selected.length !== 2}
        title={selected.length === 2 ? '' : 'Select two traces to compare'}
        onClick={() => navigate(comparePath(selected[0] ?? '', selected[1] ?? ''))}
      >
        Compare {selected.length > 0 && `${selected.length} of 2`}
      </button>
      <DownloadMenu
        ids={
          selected.length > 0
            ? selected
            : (shown?.slice(0, 100).map((trace) => trace.trace_id) ?? [])
        }
      />
      <OpenFile opened={opened} />
    </span>
  );
  if (found.failure) {
    return found.failure.kind === 'rejected' && query.q !== '' ? (
      <InvalidQuery tools={tools} />
    ) : (
      <ErrorNotice subject="traces" failure={found.failure} retry={found.reload} />
    );
  }
  if (!traces || !shown) return found.loading ? <LoadingNotice subject="traces" /> : null;
  if (traces.length === 0)
    return known?.length === 0 ? (
      <NoTracesYet isQueryNode={isQueryNode} tools={tools} />
    ) : (
      <NoMatches query={query} tools={tools} />
    );
  return (
    <section aria-label="Results" aria-busy={found.loading}>
      <Suspense fallback={<div className="scatter" />}>
        <Scatter traces={traces} onBrush={setBrush} />
      </Suspense>
      <div className="result-bar">
        <p className="result-count" role="status">
          {countText(shown.length, found, brush !== undefined)}, {ORDERS[query.order]}
        </p>
        {brush && (
          <>
            <button
              type="button"
              className="small"
              onClick={() => navigate(searchPath(narrowQuery(query, brush)))}
            >
              Search selection
            </button>
            <button type="button" className="small" onClick={() => setBrush(undefined)}>
              Clear selection
            </button>
          </>
        )}
        {tools}
      </div>
      <ResultList
        traces={shown}
        colours={colours}
        now={now}
        linksToMatches={hasSpanConditions(query)}
        selected={selected}
        toggleSelected={toggleSelected}
      />
      {found.hasMore && (
        <p className="more">
          <button type="button" disabled={found.loadingMore} onClick={found.more}>
            {found.loadingMore ? 'Loading…' : 'Show more'}
          </button>
        </p>
      )}
    </section>
  );
}

/**
 * Returns whether the search has conditions on spans, so that matching spans can be highlighted.
 */
function hasSpanConditions({ q, errors }: SearchQuery): boolean {
  return q !== '' || errors;
}

function countText(shown: number, { traces, total }: SearchResults, isBrushed: boolean): string {
  if (isBrushed) return `${shown} of ${formatCount(traces?.length ?? 0, 'trace')} in the selection`;
  return total !== undefined && total > shown
    ? `${shown} of ${formatCount(total, 'trace')}`
    : formatCount(shown, 'trace');
}

interface ToolsProps {
  readonly tools: React.ReactNode;
}

function InvalidQuery({ tools }: ToolsProps) {
  return (
    <EmptyNotice title="Invalid query">
      <p>The error is shown below the query. For examples, open the help (?).</p>
      {tools}
    </EmptyNotice>
  );
}

function NoTracesYet({ isQueryNode, tools }: ToolsProps & { readonly isQueryNode: boolean }) {
  return (
    <EmptyNotice title="No traces yet">
      {isQueryNode ? (
        <p>
          This collector receives no spans: send them to one that stores them where this one reads.
          Once they are sealed, press <em>Find traces</em> or turn on <em>Live</em>.
        </p>
      ) : (
        <p>
          Point the OpenTelemetry exporter of a service at this collector, for example{' '}
          <code>OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318</code>, or start the demo:{' '}
          <code>cargo xtask demo</code>. Then press <em>Find traces</em> or turn on <em>Live</em>.
        </p>
      )}
      {tools}
    </EmptyNotice>
  );
}

function NoMatches({ query, tools }: ToolsProps & { readonly query: SearchQuery }) {
  const time =
    query.lookback === 'custom'
      ? 'selected time range'
      : LOOKBACKS[query.lookback].label.toLowerCase();
  return (
    <EmptyNotice title="No traces found">
      <p>
        No trace from the {time} matches this query. Choose a longer time range, remove a condition,
        or <Link to="search">show all traces</Link>.
      </p>
      {tools}
    </EmptyNotice>
  );
}
