/**
 * Responses of the collector's own query API (`/api/throughline/*`), as in `docs/openapi.json`.
 *
 * Times are microseconds. The columns of a trace are defined in `columns.ts`.
 */
import type { TraceTables } from './columns';

export interface ResourceEntry {
  readonly service: number;
  readonly pair: readonly number[];
}

export interface ScopeEntry {
  readonly name: number;
  readonly version: number;
  readonly pair: readonly number[];
}

export interface TraceResponse extends Omit<TraceTables, 'spans' | 'pairs'> {
  readonly trace_id: string;
  /** Start of the trace in microseconds since the epoch; all times in the tables count from it. */
  readonly origin: number;
  readonly duration: number;
  /** Number of spans left out because the trace exceeds the limit of a response. */
  readonly omitted: number;
  /** Number of reported traces that the trace consists of; 1 unless it is woven. */
  readonly fragments: number;
  readonly strings: readonly string[];
  readonly resources: readonly ResourceEntry[];
  readonly scopes: readonly ScopeEntry[];
  /** `id`: span IDs of 16 hexadecimal digits each, concatenated. */
  readonly spans: TraceTables['spans'] & { readonly id: string };
  /**
   * `kind` has one letter per value: `s` string, `i` integer, `d` double, `b` boolean, `x` bytes,
   * `a` array, `m` map, `n` null.
   */
  readonly pairs: TraceTables['pairs'] & { readonly kind: string };
}

export interface ServiceShare {
  readonly name: string;
  readonly spans: number;
  readonly errors: number;
}

export interface TraceSummary {
  readonly trace_id: string;
  readonly service: string;
  readonly operation: string;
  /** Where the call of the root span went, if it is a client. */
  readonly destination?: string | null;
  readonly rooted: boolean;
  readonly start: number;
  /** Up to the end of the work; commits and acknowledgements of messages do not count. */
  readonly duration: number;
  /** Time from the end of the work to that of the last commit, if it is later. */
  readonly settled_after?: number | null;
  readonly spans: number;
  readonly errors: number;
  readonly open: number;
  readonly woven: number;
  readonly fragments: number;
  readonly services: readonly ServiceShare[];
  readonly topics: readonly string[];
  readonly matched: readonly string[];
}

export interface SearchResponse {
  readonly traces: readonly TraceSummary[];
  readonly next?: string | null;
  readonly total?: number | null;
  readonly live: string;
}

export interface CompletionResponse {
  readonly items: readonly { readonly text: string; readonly count: number }[];
  readonly more: boolean;
}

export interface JourneySpan {
  readonly trace_id: string;
  readonly span_id: string;
  readonly span?: {
    readonly service: string;
    readonly operation: string;
    readonly start: number;
    readonly duration: number;
    readonly failed: boolean;
  } | null;
}

export interface JourneyLink {
  readonly cause: JourneySpan;
  readonly effect: JourneySpan;
  readonly topic?: string | null;
  readonly partition?: number | null;
  readonly offset?: number | null;
  readonly group?: string | null;
  readonly lag?: number | null;
  readonly queue?: number | null;
}

export type JourneyTrace = TraceSummary & { readonly hop: number };

export interface JourneyResponse {
  readonly traces: readonly JourneyTrace[];
  readonly links: readonly JourneyLink[];
  readonly missing: readonly string[];
  readonly more: boolean;
}

export interface MapService {
  readonly name: string;
  readonly spans: number;
  readonly errors: number;
}

export interface MapTopic {
  readonly name: string;
  readonly sent: number;
  readonly received: number;
}

export interface MapEdge {
  readonly kind: 'call' | 'send' | 'receive';
  readonly from: string;
  readonly to: string;
  readonly group: string;
  readonly count: number;
  readonly errors: number;
  readonly rate: number;
  readonly p50: number;
  readonly p95: number;
  readonly queue_p50?: number | null;
  readonly queue_p95?: number | null;
  readonly lag_max?: number | null;
}

export interface MapResponse {
  readonly start: number;
  readonly end: number;
  readonly seconds: number;
  readonly spans: number;
  readonly services: readonly MapService[];
  readonly topics: readonly MapTopic[];
  readonly edges: readonly MapEdge[];
  readonly more: boolean;
}

/** How recent the spans of a query node are; times in microseconds since the epoch. */
export interface QueryNodeFreshness {
  /** Start of the latest span. */
  readonly latest_start: number | null;
  /** Time of the last look for spans that succeeded. */
  readonly refreshed: number;
  /** Whether a later look failed. */
  readonly failing: boolean;
}

export interface FreshnessResponse {
  /** Null for a collector that shows what it receives. */
  readonly query_node: QueryNodeFreshness | null;
}

export interface LiveResponse {
  readonly cursor: string;
  readonly changed: readonly string[];
  readonly more: boolean;
  readonly spans: number;
  readonly traces: number;
}

/** Samples with common labels, as Tempo's API has them. */
export interface MetricSeries {
  readonly labels: readonly {
    readonly key: string;
    readonly value: { readonly stringValue?: string; readonly doubleValue?: number };
  }[];
  readonly samples: readonly { readonly timestampMs: string; readonly value: number }[];
}
