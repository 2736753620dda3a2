/** What of the trace page stands in the address: enough to send someone exactly what one sees. */
import type { PathKind } from '../trace/critical';

export const VIEWS = [
  'timeline',
  'journey',
  'graph',
  'flame',
  'statistics',
  'spans',
  'json',
] as const;
export type View = (typeof VIEWS)[number];

export type ShownPath = PathKind | 'none';

export interface PageAddress {
  readonly view: View;
  /** Id of the span whose detail is open. */
  readonly span?: string;
  readonly find: string;
  /** Ids of the spans that the search matched. */
  readonly match: readonly string[];
  /** Whether only what is found is shown, with what is above it. */
  readonly only: boolean;
  readonly path: ShownPath;
  /** Whether idle gaps are cut out of the axis. */
  readonly cut: boolean;
  /** Window of the axis in microseconds of axis time. */
  readonly window?: readonly [number, number];
}

export function parseAddress(query: string): PageAddress {
  const params = new URLSearchParams(query);
  const view = VIEWS.find((name) => name === params.get('view')) ?? 'timeline';
  const span = params.get('span') ?? params.get('uiFind');
  const path = params.get('path');
  const [from, to] = (params.get('window') ?? '').split('-').map(Number);
  const hasWindow = from !== undefined && to !== undefined && to > from && from >= 0;
  return {
    view,
    ...(span && { span }),
    find: params.get('find') ?? '',
    match: (params.get('match') ?? '').split(',').filter((id) => /^[0-9a-f]{16}$/.test(id)),
    only: params.get('only') === '1',
    path: path === 'blocking' || path === 'end-to-end' ? path : 'none',
    cut: params.get('gaps') !== 'all',
    ...(hasWindow && { window: [from, to] }),
  };
}

/** Parameters of the address, without what is at its default. */
export function addressParams(address: PageAddress): Record<string, string | undefined> {
  return {
    view: address.view === 'timeline' ? undefined : address.view,
    span: address.span,
    find: address.find || undefined,
    match: address.match.join(',') || undefined,
    only: address.only ? '1' : undefined,
    path: address.path === 'none' ? undefined : address.path,
    gaps: address.cut ? undefined : 'all',
    window: address.window
      ? address.window.map((edge) => Number(edge.toPrecision(9))).join('-')
      : undefined,
  };
}
