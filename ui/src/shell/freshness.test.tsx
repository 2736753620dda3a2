/** Tests of the line of a query node as static markup, without a browser. */
import { renderToStaticMarkup } from 'react-dom/server';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { QueryNodeFreshness } from '../api/types';
import { FreshnessLine } from './Freshness';

/** Local time, as the line shows it. */
const START = new Date(2026, 2, 1, 14, 3, 21, 42).getTime() * 1e3;
const SECOND = 1e6;

/** Returns the text of the line and its role. */
function line(changes: Partial<QueryNodeFreshness>): [string, string | undefined] {
  const queryNode = { latest_start: START, refreshed: START, failing: false, ...changes };
  const markup = renderToStaticMarkup(<FreshnessLine queryNode={queryNode} />);
  return [markup.replaceAll(/<[^>]*>/g, ''), /role="(\w+)"/.exec(markup)?.[1]];
}

describe('FreshnessLine', () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: START / 1e3 + 130_000 });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('says when the newest span began, and what newer ones wait for', () => {
    expect(line({ refreshed: START + 128 * SECOND })).toEqual([
      'Query node: spans appear once their collector has sealed them (--seal-interval); ' +
        'the newest began 2026-03-01 14:03:21.042 (2 min ago).',
      undefined,
    ]);
  });

  it('says that there are no spans', () => {
    const [text] = line({ latest_start: null });
    expect(text).toMatch(/sealed them \(--seal-interval\); there are none yet\.$/);
  });

  it('is an alert when the last look failed, with the time of the last success', () => {
    expect(line({ refreshed: START + 70 * SECOND, failing: true })).toEqual([
      'Query node: the last look for new spans failed. ' +
        'Spans that were sealed since 2026-03-01 14:04:31.042 may be missing; ' +
        'its log has the cause.',
      'alert',
    ]);
  });
});
