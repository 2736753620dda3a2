/** The search query and its conversions from and to the address bar, the form and the API. */

const DURATION = /^\d+(?:\.\d+)?\s*(?:ns|us|µs|μs|ms|s|m|h)?$/;

export interface SearchQuery {
  /** TraceQL, logfmt, or an ID. */
  readonly q: string;
  /** Empty: all services. */
  readonly service: string;
  /** Empty: all operations. */
  readonly operation: string;
  readonly topic: string;
  readonly minDuration: string;
  readonly maxDuration: string;
  readonly errors: boolean;
  readonly lookback: Lookback | 'custom';
  /** With `custom`: microseconds since the epoch, as text; empty means unbounded. */
  readonly start: string;
  readonly end: string;
  readonly order: Order;
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
  '28d': { label: 'Last 4 weeks', minutes: 40_320 },
} as const;

export type Lookback = keyof typeof LOOKBACKS;

export const ORDERS = {
  newest: 'newest first',
  duration: 'longest first',
  spans: 'most spans first',
  errors: 'most errors first',
} as const;

export type Order = keyof typeof ORDERS;

export const LIMITS = [20, 50, 100, 200, 500, 1500] as const;

export const DEFAULT_QUERY: SearchQuery = {
  q: '',
  service: '',
  operation: '',
  topic: '',
  minDuration: '',
  maxDuration: '',
  errors: false,
  lookback: '2d',
  start: '',
  end: '',
  order: 'newest',
  limit: 20,
};

/** Parses the query of the address; invalid parameters are ignored. */
export function parseQuery(search: string): SearchQuery {
  const params = new URLSearchParams(search);
  const text = (name: string) => params.get(name) ?? '';
  // Links to Jaeger's search have tags as JSON, and times without a `lookback`.
  const lookback = text('lookback') || (digits(text('start')) ? 'custom' : '');
  const limit = Number(params.get('limit'));
  return {
    q: text('q') || logfmtOf(text('tags')),
    service: text('service'),
    operation: text('operation'),
    topic: text('topic'),
    minDuration: text('minDuration'),
    maxDuration: text('maxDuration'),
    errors: text('errors') === 'true',
    lookback:
      lookback === 'custom' || Object.hasOwn(LOOKBACKS, lookback)
        ? (lookback as Lookback)
        : DEFAULT_QUERY.lookback,
    start: digits(text('start')),
    end: digits(text('end')),
    order: Object.hasOwn(ORDERS, text('order')) ? (text('order') as Order) : DEFAULT_QUERY.order,
    limit: LIMITS.find((candidate) => candidate === limit) ?? DEFAULT_QUERY.limit,
  };
}

function logfmtOf(json: string): string {
  try {
    const tags = JSON.parse(json || '{}') as unknown;
    if (typeof tags !== 'object' || tags === null || Array.isArray(tags)) return '';
    return Object.entries(tags)
      .map(([key, value]) => `${key}="${String(value).replace(/["\\]/g, '\\$&')}"`)
      .join(' ');
  } catch {
    return '';
  }
}

function digits(text: string): string {
  return /^\d+$/.test(text) ? text : '';
}

/** Returns the address of a query, without parameters that have default values. */
export function searchPath(query: SearchQuery): string {
  const params = new URLSearchParams();
  for (const key of Object.keys(DEFAULT_QUERY) as (keyof SearchQuery)[]) {
    const isTime = key === 'start' || key === 'end';
    if (query[key] !== DEFAULT_QUERY[key] && (!isTime || query.lookback === 'custom'))
      params.set(key, String(query[key]));
  }
  const text = params.toString();
  return text ? `search?${text}` : 'search';
}

/** Returns the parameters of `/api/throughline/search`. */
export function apiParams(
  query: SearchQuery,
  nowMilliseconds: number,
  cursor?: string,
): URLSearchParams {
  const params = new URLSearchParams();
  const set = (name: string, value: string) => {
    if (value !== '') params.set(name, value);
  };
  set('q', query.q);
  set('service', query.service);
  set('operation', query.operation);
  set('topic', query.topic);
  set('min_duration', query.minDuration);
  set('max_duration', query.maxDuration);
  if (query.errors) params.set('errors', 'true');
  if (query.lookback === 'custom') {
    set('start', query.start);
    set('end', query.end);
  } else {
    params.set('start', String(nowMilliseconds * 1e3 - LOOKBACKS[query.lookback].minutes * 60e6));
  }
  params.set('order', query.order);
  params.set('limit', String(query.limit));
  if (cursor) params.set('cursor', cursor);
  return params;
}

/** Returns whether a text is a valid duration: `100ms`, `1.5s`, or microseconds. */
export function isDuration(text: string): boolean {
  return text === '' || DURATION.test(text.trim());
}

/** Returns a trace ID in the form of the API, or `undefined` if the text is not an ID. */
export function parseTraceId(text: string): string | undefined {
  const id = text.trim().toLowerCase();
  return /^(?:[0-9a-f]{16}|[0-9a-f]{32})$/.test(id) && !/^0+$/.test(id) ? id : undefined;
}

/**
 * Converts microseconds since the epoch to the value of a date and time field:
 * `2026-03-01T09:05:07`.
 */
export function toLocalField(micros: string): string {
  if (micros === '') return '';
  const date = new Date(Number(micros) / 1e3);
  if (Number.isNaN(date.getTime())) return '';
  return new Date(date.getTime() - date.getTimezoneOffset() * 60e3).toISOString().slice(0, 19);
}

export function fromLocalField(text: string): string {
  const date = new Date(text);
  return text === '' || Number.isNaN(date.getTime()) ? '' : String(date.getTime() * 1e3);
}
