/**
 * Where the time of a trace went: its end-to-end critical path, summed up by service and by topic.
 */
import { at } from './column';
import { criticalPath } from './critical';
import type { Trace } from './model';

/** The parts of a trace's duration: together they are all of it. */
export interface BreakdownTotals {
  /** Microseconds on the path, by index into `Trace.services`. */
  readonly services: Float64Array;
  /** Time in which a message of the path waited, by topic. */
  readonly topics: ReadonlyMap<string, number>;
  /** Time in which nothing on the path ran. */
  readonly idle: number;
}

export function breakDownTime(trace: Trace): BreakdownTotals {
  const path = criticalPath(trace, 'end-to-end');
  const services = new Float64Array(trace.services.length);
  path.span.forEach((span, i) => {
    const service = at(trace.service, span);
    services[service] = at(services, service) + at(path.to, i) - at(path.from, i);
  });
  const topics = new Map<string, number>();
  for (const [edge, wait] of path.queues) {
    const topic = trace.edges.topic[edge] ?? '';
    topics.set(topic, (topics.get(topic) ?? 0) + wait);
  }
  return { services, topics, idle: path.idle };
}
