/** Calls to the collector's query API. */
import { absolute } from '../shell/navigation';
import type {
  CompleteAnswer,
  JourneyAnswer,
  LiveAnswer,
  MapAnswer,
  SearchAnswer,
  TraceAnswer,
} from './types';

const PATIENCE_MS = 30_000;

export type FailureKind = 'unreachable' | 'slow' | 'not-found' | 'refused' | 'unreadable';

export class ApiFailure extends Error {
  constructor(
    readonly kind: FailureKind,
    message: string,
    /** In a query: the place of the mistake, in characters. */
    readonly position?: number,
  ) {
    super(message);
    this.name = 'ApiFailure';
  }
}

export function search(params: URLSearchParams, signal: AbortSignal): Promise<SearchAnswer> {
  return ask(`api/throughline/search?${params}`, signal);
}

export function fetchTrace(id: string, signal: AbortSignal): Promise<TraceAnswer> {
  return ask(`api/throughline/traces/${encodeURIComponent(id)}`, signal);
}

export function fetchJourney(id: string, signal: AbortSignal): Promise<JourneyAnswer> {
  return ask(`api/throughline/journey/${encodeURIComponent(id)}`, signal);
}

export function fetchMap(params: URLSearchParams, signal: AbortSignal): Promise<MapAnswer> {
  return ask(`api/throughline/map?${params}`, signal);
}

export function fetchLive(since: string, signal: AbortSignal): Promise<LiveAnswer> {
  return ask(`api/throughline/live?${new URLSearchParams({ since })}`, signal);
}

export type Wanted = 'keys' | 'values' | 'services' | 'operations' | 'topics';

export function complete(
  what: Wanted,
  params: Record<string, string>,
  signal: AbortSignal,
): Promise<CompleteAnswer> {
  return ask(`api/throughline/complete?${new URLSearchParams({ what, ...params })}`, signal);
}

/** The texts of a completion, most frequent first. */
export async function completeTexts(
  what: Wanted,
  params: Record<string, string>,
  signal: AbortSignal,
): Promise<string[]> {
  const { items } = await complete(what, { limit: '1000', ...params }, signal);
  return items.map((item) => item.text);
}

/** A trace in Jaeger's JSON, as text. */
export async function fetchJaegerText(id: string, signal: AbortSignal): Promise<string> {
  const answer = await get(`api/traces/${encodeURIComponent(id)}`, signal);
  if (!answer.ok) throw await failureOf(answer);
  return answer.text();
}

/** A trace in OTLP's JSON (`resourceSpans`). */
export async function fetchOtlp(id: string, signal: AbortSignal): Promise<unknown> {
  const answer = await get(`api/v3/traces/${encodeURIComponent(id)}`, signal);
  if (!answer.ok) throw await failureOf(answer);
  const body = (await answer.json()) as { result?: unknown };
  return body.result ?? body;
}

async function ask<T>(path: string, signal: AbortSignal): Promise<T> {
  const answer = await get(path, signal);
  if (!answer.ok) throw await failureOf(answer);
  const body: unknown = await answer.json().catch(() => undefined);
  if (typeof body !== 'object' || body === null) {
    throw new ApiFailure('unreadable', 'the answer is not the JSON of the query API');
  }
  return body as T;
}

async function failureOf(answer: Response): Promise<ApiFailure> {
  const body = (await answer.json().catch(() => undefined)) as
    | { message?: unknown; position?: unknown }
    | undefined;
  const kind = answer.status === 404 ? 'not-found' : 'refused';
  const message =
    typeof body?.message === 'string' ? body.message : `the collector answered ${answer.status}`;
  return new ApiFailure(
    kind,
    message,
    typeof body?.position === 'number' ? body.position : undefined,
  );
}

async function get(path: string, signal: AbortSignal): Promise<Response> {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  try {
    return await fetch(absolute(path), {
      headers: { accept: 'application/json' },
      signal: AbortSignal.any([signal, patience]),
    });
  } catch (error) {
    if (signal.aborted) throw error;
    if (patience.aborted)
      throw new ApiFailure('slow', `no answer within ${PATIENCE_MS / 1e3} seconds`);
    throw new ApiFailure('unreachable', 'the collector cannot be reached');
  }
}
