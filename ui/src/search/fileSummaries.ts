/** Summaries of traces from files, as search results. */
import type { TraceResponse, TraceSummary } from '../api/types';
import { at } from '../trace/column';
import { destinationOf } from '../trace/destination';
import { buildTrace, INFERRED, nameOf, OPEN, serviceOf } from '../trace/model';

export function summaryOf(response: TraceResponse): TraceSummary {
  const trace = buildTrace([response]);
  const topics = new Set(response.messages.topic.map((topic) => response.strings[topic] ?? ''));
  let [open, woven] = [0, 0];
  for (let i = 0; i < trace.count; i++) {
    if ((at(trace.flags, i) & OPEN) !== 0) open += 1;
    if ((at(trace.flags, i) & INFERRED) !== 0) woven += 1;
  }
  return {
    trace_id: response.trace_id,
    service: serviceOf(trace, trace.root),
    operation: nameOf(trace, trace.root),
    destination: destinationOf(trace, trace.root),
    rooted: trace.orphans < trace.count,
    start: trace.start,
    duration: trace.duration,
    settled_after: trace.extent > trace.duration ? trace.extent - trace.duration : null,
    spans: trace.count,
    errors: trace.failures,
    open,
    woven,
    fragments: 1,
    services: trace.services,
    topics: [...topics].filter((topic) => topic !== ''),
    matched: [],
  };
}
