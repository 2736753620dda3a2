/** The state of the trace page in the address: enough to share exactly what the reader sees. */
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
  /** ID of the span whose details are open. */
  readonly span?: string;
  readonly find: string;
  /** IDs of the spans that the search matched. */
  readonly match: readonly string[];
  /** Whether spans are hidden that neither match the find nor have a descendant that does. */
  readonly only: boolean;
  readonly path: ShownPath;
  /** Whether idle gaps are hidden. */
  readonly cut: boolean;
  /** Whether the trace is shown as it was reported, without joins. */
  readonly raw: boolean;
  /** Visible range in microseconds of axis time. */
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
    raw: params.get('raw') === '1',
    ...(hasWindow && { window: [from, to] }),
  };
}

/** Returns the parameters of the address; those with default values are `undefined`. */
export function addressParams(address: PageAddress): Record<string, string | undefined> {
  return {
    view: address.view === 'timeline' ? undefined : address.view,
    span: address.span,
    find: address.find || undefined,
    match: address.match.join(',') || undefined,
    only: address.only ? '1' : undefined,
    path: address.path === 'none' ? undefined : address.path,
    gaps: address.cut ? undefined : 'all',
    raw: address.raw ? '1' : undefined,
    window: address.window
      ? address.window.map((edge) => Number(edge.toPrecision(9))).join('-')
      : undefined,
  };
}
