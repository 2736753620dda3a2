/** Traces that the reader opened from files: they live as long as the page. */
import type { TraceAnswer } from './types';

const opened = new Map<string, TraceAnswer>();

export function keepOpened(traces: readonly TraceAnswer[]): void {
  for (const trace of traces) opened.set(trace.trace_id, trace);
}

export function openedTrace(id: string): TraceAnswer | undefined {
  return opened.get(id.toLowerCase().padStart(32, '0'));
}

export function openedTraces(): TraceAnswer[] {
  return [...opened.values()];
}
