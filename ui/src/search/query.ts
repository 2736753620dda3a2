/**
 * The search query: what the address bar, the form and the API each make of it.
 */

export interface SearchQuery {
  /** Empty: all services. */
  readonly service: string;
  /** Empty: all operations. Asked for only together with a service. */
  readonly operation: string;
  /** Conditions that must all hold, as `key=value key2="two words"`. */
  readonly attributes: string;
  readonly lookback: Lookback;
  readonly limit: number;
}

export const LOOKBACKS = {
  '5m': { label: 'Last 5 minutes', minutes: 5 },
  '15m': { label: 'Last 15 minutes', minutes: 15 },
  '1h': { label: 'Last hour', minutes: 60 },
  '6h': { label: 'Last 6 hours', minutes: 360 },
  '24h': { label: 'Last 24 hours', minutes: 1440 },
  '2d': { label: 'Last 2 days', minutes: 2880 },
  '7d': { label: 'Last 7 days', minutes: 10_080 },
} as const;

export type Lookback = keyof typeof LOOKBACKS;

export const LIMITS = [20, 50, 100, 200] as const;

export const EVERYTHING: SearchQuery = { service: '', operation: '', attributes: '', lookback: '2d', limit: 20 };

/** Reads the address bar; what it does not understand is as if absent. */
export function parseQuery(search: string): SearchQuery {
  const params = new URLSearchParams(search);
  const lookback = params.get('lookback') ?? '';
  const limit = Number(params.get('limit'));
  const service = params.get('service') ?? '';
  return {
    service,
    operation: service ? (params.get('operation') ?? '') : '',
    attributes: params.get('attributes') ?? '',
    lookback: Object.hasOwn(LOOKBACKS, lookback) ? (lookback as Lookback) : EVERYTHING.lookback,
    limit: LIMITS.find((candidate) => candidate === limit) ?? EVERYTHING.limit,
  };
}

/** The address of a query, without what is at its default. */
export function searchPath(query: SearchQuery): string {
  const params = new URLSearchParams();
  for (const key of ['service', 'operation', 'attributes', 'lookback', 'limit'] as const) {
    if (query[key] !== EVERYTHING[key]) params.set(key, String(query[key]));
  }
  const text = params.toString();
  return text ? `search?${text}` : 'search';
}

/** The parameters of `/api/traces`; times in microseconds, `attributes` already parsed. */
export function apiParams(
  query: SearchQuery,
  attributes: Readonly<Record<string, string>>,
  nowMilliseconds: number,
): URLSearchParams {
  const params = new URLSearchParams();
  if (query.service) params.set('service', query.service);
  if (query.operation) params.set('operation', query.operation);
  if (Object.keys(attributes).length > 0) params.set('tags', JSON.stringify(attributes));
  const end = nowMilliseconds * 1e3;
  params.set('start', String(end - LOOKBACKS[query.lookback].minutes * 60e6));
  params.set('end', String(end));
  params.set('limit', String(query.limit));
  return params;
}

export type Conditions =
  | { readonly ok: true; readonly values: Readonly<Record<string, string>> }
  | { readonly ok: false; readonly message: string };

const CONDITION = /\s*([^\s="]+)=("(?:[^"\\]|\\.)*"|[^\s"]*)(?=\s|$)/y;

/** Parses `key=value` pairs; a value with spaces stands in double quotes. */
export function parseConditions(text: string): Conditions {
  const values: Record<string, string> = Object.create(null) as Record<string, string>;
  const source = text.trimEnd();
  CONDITION.lastIndex = 0;
  while (CONDITION.lastIndex < source.length) {
    const at = CONDITION.lastIndex;
    const [, key, raw] = CONDITION.exec(source) ?? [];
    if (key === undefined || raw === undefined) {
      const rest = source.slice(at).trim();
      return { ok: false, message: `Cannot read “${rest}”: write key=value, or key="a value with spaces"` };
    }
    values[key] = raw.startsWith('"') ? raw.slice(1, -1).replace(/\\(.)/g, '$1') : raw;
  }
  return { ok: true, values };
}

/** A trace id as the API wants it, or `undefined` if the text is none. */
export function parseTraceId(text: string): string | undefined {
  const id = text.trim().toLowerCase();
  return /^(?:[0-9a-f]{16}|[0-9a-f]{32})$/.test(id) && !/^0+$/.test(id) ? id : undefined;
}
