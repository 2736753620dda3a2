/** Finds the traces that are linked to a trace, in both directions and transitively. */
import type { TraceResponse } from '../api/types';
import { textAt } from './column';

export interface LinkedTraces {
  /** The given trace first, then in order of distance. */
  readonly lanes: TraceResponse[];
  /** Number of links between the traces. */
  readonly links: number;
  /** Number of linked traces that are not available. */
  readonly missing: number;
}

export function findLinkedTraces(id: string, traces: readonly TraceResponse[]): LinkedTraces {
  const byId = new Map(traces.map((trace) => [trace.trace_id, trace]));
  const out = new Map(traces.map((trace) => [trace.trace_id, targetsOf(trace)]));
  const reached = new Set([id]);
  const missing = new Set<string>();
  // A set can grow during iteration and keeps the order of insertion.
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

/** Returns the target trace of each link that leaves the trace. */
function targetsOf({ trace_id, links, strings }: TraceResponse): string[] {
  return links.trace.map((text) => textAt(strings, text)).filter((target) => target !== trace_id);
}
