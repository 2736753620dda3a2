/** Traces opened from files; they are kept until the page is closed or reloaded. */
import type { TraceResponse } from './types';

export type TraceFormat = 'jaeger' | 'otlp' | 'zipkin';

export interface OpenedTrace {
  readonly response: TraceResponse;
  /** Format of the file. */
  readonly format: TraceFormat;
  /** Returns the trace alone, as a document of that format. */
  readonly document: () => unknown;
  /** Parts that were skipped or assumed when the file was read. */
  readonly notes?: readonly string[];
}

const opened = new Map<string, OpenedTrace>();

export function addOpenedTraces(traces: readonly OpenedTrace[]): void {
  for (const trace of traces) opened.set(trace.response.trace_id, trace);
}

export function openedTrace(id: string): OpenedTrace | undefined {
  return opened.get(id.toLowerCase().padStart(32, '0'));
}

export function openedTraces(): OpenedTrace[] {
  return [...opened.values()];
}
