/** Metrics of services, operations and topics over time, from queries to the collector. */

import { fetchMetrics } from '../api/client';
import type { MetricSeries } from '../api/types';

/** Points of each line. */
const STEPS = 30;

/** Spans that stand for a request or a message at the side that handles it. */
const HANDLED = 'kind = server || kind = consumer';

/** Values at the ends of the steps; undefined where there were no spans. */
export type Line = readonly (number | undefined)[];

export interface ServiceFigures {
  readonly name: string;
  /** Requests and messages per second. */
  readonly rate: Line;
  /** Failed ones per second. */
  readonly errors: Line;
  /** Seconds. */
  readonly p50: Line;
  readonly p95: Line;
  readonly p99: Line;
}

export interface TopicFigures {
  readonly name: string;
  /** Messages per second. */
  readonly sent: Line;
  readonly received: Line;
  /** Seconds in the topic. */
  readonly queue50: Line;
  readonly queue95: Line;
  /** Messages behind the one that was received. */
  readonly lag: Line;
}

export interface Figures {
  readonly services: readonly ServiceFigures[];
  readonly topics: readonly TopicFigures[];
}

/** Times of the samples, in milliseconds since the epoch. */
export interface TimeSteps {
  readonly start: number;
  readonly step: number;
  readonly count: number;
}

/** Returns the steps of the last minutes; they end at multiples of the step, as the collector's. */
export function timeSteps(minutes: number, now: number): TimeSteps {
  const step = Math.max(1, Math.round((minutes * 60) / STEPS)) * 1000;
  const end = Math.ceil(now / step) * step;
  return { start: end - STEPS * step, step, count: STEPS };
}

/** Reads the figures of all services, or of the operations of one. */
export async function fetchFigures(
  steps: TimeSteps,
  service: string | undefined,
  signal: AbortSignal,
): Promise<Figures> {
  const within = service === undefined ? '' : ` && service = ${JSON.stringify(service)}`;
  const by = service === undefined ? 'service' : 'name';
  const handled = `{ (${HANDLED})${within} }`;
  const read = (query: string) => fetchMetrics(query, steps, signal);
  const [rate, errors, latency, sent, received, queue, lag] = await Promise.all([
    read(`${handled} | rate() by (${by})`),
    read(`{ (${HANDLED})${within} && status = error } | rate() by (${by})`),
    read(`${handled} | quantile_over_time(duration, 0.5, 0.95, 0.99) by (${by})`),
    read(`{ kind = producer && topic != nil${within} } | rate() by (topic)`),
    read(`{ kind = consumer && topic != nil${within} } | rate() by (topic)`),
    read(`{ queue_time != nil${within} } | quantile_over_time(queue_time, 0.5, 0.95) by (topic)`),
    read(`{ lag != nil${within} } | max_over_time(lag) by (topic)`),
  ]);
  return {
    services: names(rate).map((name) => ({
      name,
      rate: lineOf(rate, steps, name),
      errors: lineOf(errors, steps, name),
      p50: lineOf(latency, steps, name, 0.5),
      p95: lineOf(latency, steps, name, 0.95),
      p99: lineOf(latency, steps, name, 0.99),
    })),
    topics: names([...sent, ...received]).map((name) => ({
      name,
      sent: lineOf(sent, steps, name),
      received: lineOf(received, steps, name),
      queue50: lineOf(queue, steps, name, 0.5),
      queue95: lineOf(queue, steps, name, 0.95),
      lag: lineOf(lag, steps, name),
    })),
  };
}

/** The names of the first label, those with the highest sums first. */
export function names(series: readonly MetricSeries[]): string[] {
  const sums = new Map<string, number>();
  for (const one of series) {
    const name = labelOf(one);
    const sum = one.samples.reduce((total, { value }) => total + value, 0);
    sums.set(name, (sums.get(name) ?? 0) + sum);
  }
  return [...sums].sort((a, b) => b[1] - a[1]).map(([name]) => name);
}

/** The samples of the series with this name, and with this quantile if there are several. */
export function lineOf(
  series: readonly MetricSeries[],
  steps: TimeSteps,
  name: string,
  quantile?: number,
): Line {
  const found = series.find(
    (one) =>
      labelOf(one) === name &&
      (quantile === undefined || one.labels[1]?.value.doubleValue === quantile),
  );
  const line: (number | undefined)[] = new Array(steps.count).fill(undefined);
  for (const { timestampMs, value } of found?.samples ?? []) {
    const at = Math.round((Number(timestampMs) - steps.start) / steps.step) - 1;
    if (at >= 0 && at < steps.count) line[at] = value;
  }
  return line;
}

function labelOf({ labels }: MetricSeries): string {
  return labels[0]?.value.stringValue ?? '';
}

/** The mean over all steps; steps without spans count as zero. */
export function mean(line: Line): number {
  return line.reduce<number>((total, value) => total + (value ?? 0), 0) / Math.max(line.length, 1);
}

/** The last value, as the newest figure; undefined when there is none. */
export function latest(line: Line): number | undefined {
  return line.findLast((value) => value !== undefined);
}

export function greatest(line: Line): number | undefined {
  const values = line.filter((value) => value !== undefined);
  return values.length > 0 ? Math.max(...values) : undefined;
}
