/** Calls to the collector's query API (Jaeger's legacy JSON). */
import type { WireTrace } from '../trace/wire';
import { absolute } from './navigation';

const PATIENCE_MS = 20_000;

export type FailureKind = 'unreachable' | 'slow' | 'not-found' | 'refused' | 'unreadable';

export class ApiFailure extends Error {
  constructor(
    readonly kind: FailureKind,
    message: string,
  ) {
    super(message);
    this.name = 'ApiFailure';
  }
}

export function fetchServices(signal: AbortSignal): Promise<string[]> {
  return fetchList('api/services', signal);
}

export function fetchOperations(service: string, signal: AbortSignal): Promise<string[]> {
  return fetchList(`api/services/${encodeURIComponent(service)}/operations`, signal);
}

export function searchTraces(params: URLSearchParams, signal: AbortSignal): Promise<WireTrace[]> {
  return fetchList(`api/traces?${params}`, signal);
}

export async function fetchTrace(id: string, signal: AbortSignal): Promise<WireTrace> {
  const [trace] = await fetchList<WireTrace>(`api/traces/${encodeURIComponent(id)}`, signal);
  if (!trace) throw new ApiFailure('not-found', 'no trace with this id');
  return trace;
}

async function fetchList<T>(path: string, signal: AbortSignal): Promise<T[]> {
  const answer = await fetchAnswer(path, signal);
  const body = (await answer.json().catch(() => undefined)) as { data?: unknown; errors?: unknown } | undefined;
  if (!answer.ok) {
    const kind = answer.status === 404 ? 'not-found' : 'refused';
    throw new ApiFailure(kind, firstMessage(body?.errors) ?? `the collector answered ${answer.status}`);
  }
  // Jaeger answers `"data": null` where there is nothing.
  if (body && body.data === null) return [];
  if (!Array.isArray(body?.data)) throw new ApiFailure('unreadable', 'the answer is not the JSON of a query API');
  return body.data as T[];
}

async function fetchAnswer(path: string, signal: AbortSignal): Promise<Response> {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  try {
    return await fetch(absolute(path), {
      headers: { accept: 'application/json' },
      signal: AbortSignal.any([signal, patience]),
    });
  } catch (error) {
    if (signal.aborted) throw error;
    if (patience.aborted) throw new ApiFailure('slow', `no answer within ${PATIENCE_MS / 1e3} seconds`);
    throw new ApiFailure('unreachable', 'the collector cannot be reached');
  }
}

function firstMessage(errors: unknown): string | undefined {
  if (!Array.isArray(errors)) return undefined;
  const message = (errors[0] as { msg?: unknown } | undefined)?.msg;
  return typeof message === 'string' && message ? message : undefined;
}
