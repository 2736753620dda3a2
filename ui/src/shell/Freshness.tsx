/** The line of a query node, which says how recent the spans are that it shows. */
import { useEffect, useEffectEvent } from 'react';
import { fetchFreshness } from '../api/client';
import type { QueryNodeFreshness } from '../api/types';
import { formatAge, formatTimestamp } from '../trace/format';
import { useNow } from './now';
import { useRequest } from './request';

/** Interval between requests to a query node. */
const INTERVAL_MS = 10_000;

/**
 * Returns how recent the spans of a query node are, requested again whenever the list beside it is
 * loading, and now and then; nothing for other collectors.
 */
export function useFreshness(isListLoading: boolean): QueryNodeFreshness | undefined {
  const found = useRequest('freshness', fetchFreshness);
  const refresh = useEffectEvent(() => {
    if (!found.loading) found.reload();
  });
  useEffect(() => {
    if (isListLoading) refresh();
  }, [isListLoading]);
  const queryNode = found.value?.query_node ?? undefined;
  const isQueryNode = queryNode !== undefined;
  // While no spans come, as when the object store is away, a live list is not loaded again.
  useEffect(() => {
    if (!isQueryNode) return undefined;
    const timer = setInterval(() => {
      if (!document.hidden) refresh();
    }, INTERVAL_MS);
    return () => clearInterval(timer);
  }, [isQueryNode]);
  return queryNode;
}

/** The line above what a page has loaded; nothing on other collectors. */
export function Freshness({ isListLoading }: { readonly isListLoading: boolean }) {
  const queryNode = useFreshness(isListLoading);
  return queryNode && <FreshnessLine queryNode={queryNode} />;
}

export function FreshnessLine({ queryNode }: { readonly queryNode: QueryNodeFreshness }) {
  const now = useNow();
  const { latest_start, refreshed, failing } = queryNode;
  if (failing) {
    return (
      <p className="remarks" role="alert">
        <span className="failure-note">Query node: the last look for new spans failed.</span> Spans
        that were sealed since {formatTimestamp(refreshed)} may be missing; its log has the cause.
      </p>
    );
  }
  const newest =
    latest_start === null
      ? 'there are none yet'
      : `the newest began ${formatTimestamp(latest_start)} (${formatAge(latest_start, now)})`;
  return (
    <p className="remarks">
      Query node: spans appear once their collector has sealed them (<code>--seal-interval</code>);
      {` ${newest}.`}
    </p>
  );
}
