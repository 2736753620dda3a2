/** Search: the form, and the newest traces that match. */
import { useEffect, useState } from 'react';
import { fetchServices, searchTraces } from '../shell/api';
import { Empty, Failed, Loading } from '../shell/Notice';
import { go } from '../shell/navigation';
import { useRequest, type RequestState } from '../shell/request';
import { formatCount } from '../trace/format';
import { buildTrace, type Trace } from '../trace/model';
import { apiParams, LOOKBACKS, parseConditions, parseQuery, searchPath, type SearchQuery } from './query';
import { ResultList } from './ResultList';
import { SearchForm } from './SearchForm';

export function SearchPage({ address }: { readonly address: string }) {
  const query = parseQuery(address);
  const services = useRequest('services', fetchServices);
  const conditions = parseConditions(query.attributes);
  const found = useRequest(conditions.ok ? searchPath(query) : undefined, async (signal) => {
    const values = conditions.ok ? conditions.values : {};
    const traces = await searchTraces(apiParams(query, values, Date.now()), signal);
    return newestFirst(traces.map(buildTrace));
  });
  useEffect(() => {
    document.title = 'Search · Throughline';
  }, []);

  function submit(next: SearchQuery) {
    services.reload();
    const path = searchPath(next);
    // The same question again means: look for what has arrived since.
    if (path === searchPath(query)) found.reload();
    else go(path);
  }

  return (
    <main className="page">
      <h1 className="unseen">Search traces</h1>
      <SearchForm query={query} services={services.value ?? []} onSubmit={submit} />
      <Results query={query} found={found} known={services.value} />
    </main>
  );
}

interface ResultsProps {
  readonly query: SearchQuery;
  readonly found: RequestState<Trace[]>;
  readonly known: readonly string[] | undefined;
}

function Results({ query, found, known }: ResultsProps) {
  const now = useNow();
  if (found.failure && !found.loading) return <Failed what="traces" failure={found.failure} retry={found.reload} />;
  if (!found.value) return found.loading ? <Loading what="traces" /> : null;
  if (found.value.length === 0) return known?.length === 0 ? <NothingYet /> : <NoMatch query={query} />;
  return (
    <section aria-label="Results" aria-busy={found.loading}>
      <p className="result-count" role="status">
        {formatCount(found.value.length, 'trace')}, newest first
        {found.value.length >= query.limit && ' — there may be more: raise the limit or narrow the query'}
      </p>
      <ResultList traces={found.value} now={now} />
    </section>
  );
}

function NothingYet() {
  return (
    <Empty title="No traces yet">
      <p>
        Point a service’s OpenTelemetry exporter here, for instance{' '}
        <code>OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318</code>, or start the demo:{' '}
        <code>cargo xtask demo</code>. Then press <em>Find traces</em>.
      </p>
    </Empty>
  );
}

function NoMatch({ query }: { readonly query: SearchQuery }) {
  return (
    <Empty title="No trace matches">
      <p>
        Nothing in the {LOOKBACKS[query.lookback].label.toLowerCase()} fits this query. Look further back, or ask for
        less.
      </p>
    </Empty>
  );
}

function newestFirst(traces: Trace[]): Trace[] {
  return traces.filter((trace) => trace.spans.length > 0).sort((a, b) => b.start - a.start);
}

/** The time of day in milliseconds, renewed often enough for “42 s ago” to be true. */
function useNow(): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 5_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
