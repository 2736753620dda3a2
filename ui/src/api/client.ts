/** Calls to the collector's query API. */
import { absoluteUrl } from '../shell/navigation';
import type {
  CompletionResponse,
  FreshnessResponse,
  JourneyResponse,
  LiveResponse,
  MapResponse,
  MetricSeries,
  SearchResponse,
  TraceResponse,
} from './types';

const REQUEST_TIMEOUT_MS = 30_000;

export type ApiErrorKind = 'unreachable' | 'timeout' | 'not-found' | 'rejected' | 'malformed';

export class ApiError extends Error {
  constructor(
    readonly kind: ApiErrorKind,
    message: string,
    /** Position of a syntax error in the query, in characters. */
    readonly position?: number,
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

export function search(params: URLSearchParams, signal: AbortSignal): Promise<SearchResponse> {
  return requestJson(`api/throughline/search?${params}`, signal);
}

/** Returns a trace; with `raw` as it was reported, without the joins that were found later. */
export function fetchTrace(id: string, signal: AbortSignal, raw = false): Promise<TraceResponse> {
  const view = raw ? '?raw=true' : '';
  return requestJson(`api/throughline/traces/${encodeURIComponent(id)}${view}`, signal);
}

export function fetchJourney(id: string, signal: AbortSignal): Promise<JourneyResponse> {
  return requestJson(`api/throughline/journey/${encodeURIComponent(id)}`, signal);
}

export function fetchMap(params: URLSearchParams, signal: AbortSignal): Promise<MapResponse> {
  return requestJson(`api/throughline/map?${params}`, signal);
}

/** Evaluates a metrics query at the ends of steps. */
export async function fetchMetrics(
  query: string,
  { start, step, count }: { start: number; step: number; count: number },
  signal: AbortSignal,
): Promise<readonly MetricSeries[]> {
  const params = new URLSearchParams({
    q: query,
    start: String(start / 1000),
    end: String((start + count * step) / 1000),
    step: `${step}ms`,
  });
  const found = await requestJson<{ series?: readonly MetricSeries[] }>(
    `tempo/api/metrics/query_range?${params}`,
    signal,
  );
  return found.series ?? [];
}

export function fetchLive(since: string, signal: AbortSignal): Promise<LiveResponse> {
  return requestJson(`api/throughline/live?${new URLSearchParams({ since })}`, signal);
}

export function fetchFreshness(signal: AbortSignal): Promise<FreshnessResponse> {
  return requestJson('api/throughline/freshness', signal);
}

export type CompletionKind = 'keys' | 'values' | 'services' | 'operations' | 'topics';

export function complete(
  kind: CompletionKind,
  params: Record<string, string>,
  signal: AbortSignal,
): Promise<CompletionResponse> {
  return requestJson(
    `api/throughline/complete?${new URLSearchParams({ what: kind, ...params })}`,
    signal,
  );
}

/** Returns the completions as texts, most frequent first. */
export async function completeTexts(
  kind: CompletionKind,
  params: Record<string, string>,
  signal: AbortSignal,
): Promise<string[]> {
  const { items } = await complete(kind, { limit: '1000', ...params }, signal);
  return items.map((item) => item.text);
}

/** Returns a trace in Jaeger's JSON, as text. */
export async function fetchJaegerText(id: string, signal: AbortSignal): Promise<string> {
  const response = await get(`api/traces/${encodeURIComponent(id)}`, signal);
  if (!response.ok) throw await errorFrom(response);
  return response.text();
}

/** Returns a trace in OTLP's JSON (`resourceSpans`). */
export async function fetchOtlp(id: string, signal: AbortSignal): Promise<unknown> {
  const response = await get(`api/v3/traces/${encodeURIComponent(id)}`, signal);
  if (!response.ok) throw await errorFrom(response);
  const body = (await response.json()) as { result?: unknown };
  return body.result ?? body;
}

async function requestJson<T>(path: string, signal: AbortSignal): Promise<T> {
  const response = await get(path, signal);
  if (!response.ok) throw await errorFrom(response);
  const body: unknown = await response.json().catch(() => undefined);
  if (typeof body !== 'object' || body === null) {
    throw new ApiError('malformed', 'the response is not valid JSON of the query API');
  }
  return body as T;
}

async function errorFrom(response: Response): Promise<ApiError> {
  const body = (await response.json().catch(() => undefined)) as
    | { message?: unknown; position?: unknown }
    | undefined;
  const kind = response.status === 404 ? 'not-found' : 'rejected';
  const message =
    typeof body?.message === 'string'
      ? body.message
      : `the collector returned HTTP ${response.status}`;
  return new ApiError(
    kind,
    message,
    typeof body?.position === 'number' ? body.position : undefined,
  );
}

async function get(path: string, signal: AbortSignal): Promise<Response> {
  const timeout = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  try {
    return await fetch(absoluteUrl(path), {
      headers: { accept: 'application/json' },
      signal: AbortSignal.any([signal, timeout]),
    });
  } catch (error) {
    if (signal.aborted) throw error;
    if (timeout.aborted)
      throw new ApiError('timeout', `no response within ${REQUEST_TIMEOUT_MS / 1e3} seconds`);
    throw new ApiError('unreachable', 'the collector cannot be reached');
  }
}
