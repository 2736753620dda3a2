/** Which of some traces are joined by links, out and in, directly or over others. */
import type { TraceResponse } from '../api/types';
import { textAt } from './column';

export interface LinkedTraces {
  /** The trace one begins at first, then nearer ones before farther ones. */
  readonly lanes: TraceResponse[];
  /** Links between them. */
  readonly links: number;
  /** How many traces are linked to that are not there. */
  readonly missing: number;
}

export function findLinkedTraces(id: string, traces: readonly TraceResponse[]): LinkedTraces {
  const byId = new Map(traces.map((trace) => [trace.trace_id, trace]));
  const out = new Map(traces.map((trace) => [trace.trace_id, targetsOf(trace)]));
  const reached = new Set([id]);
  const missing = new Set<string>();
  // A set goes on while it grows, in the order in which it grew.
  for (const from of reached) {
    for (const to of out.get(from) ?? []) (byId.has(to) ? reached : missing).add(to);
    for (const [other, targets] of out) if (targets.includes(from)) reached.add(other);
  }
  const links = [...reached].flatMap((from) =>
    (out.get(from) ?? []).filter((to) => reached.has(to)),
  ).length;
  return {
    lanes: [...reached].flatMap((each) => byId.get(each) ?? []),
    links,
    missing: missing.size,
  };
}

/** The other traces that the links of a trace go to, one for each link. */
function targetsOf({ trace_id, links, strings }: TraceResponse): string[] {
  return links.trace.map((text) => textAt(strings, text)).filter((target) => target !== trace_id);
}
