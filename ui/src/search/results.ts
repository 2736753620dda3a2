/** The results of a search: the pages loaded so far as one list, and updates while live. */
import { useCallback, useEffect, useState } from 'react';
import { ApiError, fetchLive, search } from '../api/client';
import type { SearchResponse, TraceSummary } from '../api/types';
import { useRequest } from '../shell/request';
import { apiParams, type SearchQuery, searchPath } from './query';

export interface SearchResults {
  readonly traces: readonly TraceSummary[] | undefined;
  readonly total: number | undefined;
  readonly loading: boolean;
  readonly loadingMore: boolean;
  readonly failure: ApiError | undefined;
  readonly hasMore: boolean;
  readonly more: () => void;
  readonly reload: () => void;
}

const NO_PAGES = {
  key: '',
  traces: [] as readonly TraceSummary[],
  next: undefined as string | undefined,
};
/** Interval between requests for new traces. */
const LIVE_INTERVAL_MS = 2_000;

export function useSearchResults(query: SearchQuery, isLive: boolean): SearchResults {
  const key = searchPath(query);
  const first = useRequest(key, async (signal): Promise<SearchResponse> => {
    const response = await search(apiParams(query, Date.now()), signal);
    performance.mark('throughline:answered');
    return response;
  });
  const [pages, setPages] = useState(NO_PAGES);
  const [loadingMore, setLoadingMore] = useState(false);
  const [failed, setFailed] = useState<ApiError>();
  const response = first.value;
  // Further pages belong to one first page; a new first page discards them.
  const furtherPages = pages.key === (response?.live ?? '') + key ? pages : undefined;
  const next = furtherPages ? furtherPages.next : (response?.next ?? undefined);

  const more = useCallback(() => {
    if (!next || !response) return;
    setLoadingMore(true);
    setFailed(undefined);
    search(apiParams(query, Date.now(), next), AbortSignal.timeout(30_000))
      .then(
        (page) =>
          setPages({
            key: response.live + key,
            traces: [...(furtherPages?.traces ?? []), ...page.traces],
            next: page.next ?? undefined,
          }),
        (error: unknown) =>
          setFailed(error instanceof ApiError ? error : new ApiError('malformed', String(error))),
      )
      .finally(() => setLoadingMore(false));
  }, [next, response, furtherPages, key, query]);

  useLive(isLive && query.lookback !== 'custom' ? response?.live : undefined, first.reload);
  return {
    traces:
      response && (furtherPages ? [...response.traces, ...furtherPages.traces] : response.traces),
    total: response?.total ?? undefined,
    loading: first.loading,
    loadingMore,
    failure: failed ?? (first.loading ? undefined : first.failure),
    hasMore: next !== undefined,
    more,
    reload: first.reload,
  };
}

/**
 * Calls `reload` when traces have arrived or changed since `since`, but not while the page is
 * hidden.
 */
function useLive(since: string | undefined, reload: () => void): void {
  useEffect(() => {
    if (since === undefined) return undefined;
    const abort = new AbortController();
    const timer = setInterval(() => {
      if (document.hidden) return;
      fetchLive(since, abort.signal).then(
        (changes) => {
          if (!abort.signal.aborted && (changes.changed.length > 0 || changes.more)) reload();
        },
        // The collector may be unreachable for a moment; the next request will show.
        () => undefined,
      );
    }, LIVE_INTERVAL_MS);
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, [since, reload]);
}
