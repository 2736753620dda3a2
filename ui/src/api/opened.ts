/** Traces that the reader opened from files: they live as long as the page. */
import type { TraceAnswer } from './types';

export type Format = 'jaeger' | 'otlp';

export interface OpenedTrace {
  readonly answer: TraceAnswer;
  /** How the file had it. */
  readonly format: Format;
  /** The trace, alone, as a document of that format. */
  readonly document: () => unknown;
}

const opened = new Map<string, OpenedTrace>();

export function keepOpened(traces: readonly OpenedTrace[]): void {
  for (const trace of traces) opened.set(trace.answer.trace_id, trace);
}

export function openedTrace(id: string): OpenedTrace | undefined {
  return opened.get(id.toLowerCase().padStart(32, '0'));
}

export function openedTraces(): OpenedTrace[] {
  return [...opened.values()];
}
