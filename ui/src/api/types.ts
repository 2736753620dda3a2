/**
 * Answers of the collector's own query API (`/api/throughline/*`), as `docs/openapi.json` has them.
 *
 * Times are microseconds; `strings[0]` is empty and stands for "not said".
 */

export type Numbers = readonly number[];
export type MaybeNumbers = readonly (number | null)[];

export interface SpanColumns {
  /** Ids, 16 hexadecimal digits each, one behind the other. */
  readonly id: string;
  readonly parent: Numbers;
  readonly start: Numbers;
  readonly duration: Numbers;
  readonly name: Numbers;
  /** 0 not said, 1 internal, 2 server, 3 client, 4 producer, 5 consumer. */
  readonly kind: Numbers;
  /** 0 not said, 1 ok, 2 failed. */
  readonly status: Numbers;
  readonly resource: Numbers;
  readonly scope: Numbers;
  readonly pair: Numbers;
  readonly pair_end: Numbers;
}

export interface PairColumns {
  readonly key: Numbers;
  /** A letter per value: `s` text, `i` whole number, `d` number, `b` truth, `x` bytes, `a` list, `m` map, `n` none. */
  readonly kind: string;
  readonly value: readonly unknown[];
}

export interface EventColumns {
  readonly row: Numbers;
  readonly time: Numbers;
  readonly name: Numbers;
  readonly pair: Numbers;
  readonly pair_end: Numbers;
}

export interface LinkColumns {
  readonly row: Numbers;
  readonly trace: Numbers;
  readonly span: Numbers;
  readonly target: Numbers;
  readonly pair: Numbers;
  readonly pair_end: Numbers;
}

export interface MessageColumns {
  readonly row: Numbers;
  readonly topic: Numbers;
  readonly group: Numbers;
  readonly partition: MaybeNumbers;
  readonly offset: MaybeNumbers;
  readonly lag: MaybeNumbers;
  readonly queue: MaybeNumbers;
  readonly producer: Numbers;
}

export interface EvidenceColumns {
  readonly row: Numbers;
  readonly name: Numbers;
  readonly inferred: readonly boolean[];
  readonly confidence: MaybeNumbers;
}

export interface RowTexts {
  readonly row: Numbers;
  readonly text: Numbers;
}

export interface ResourceEntry {
  readonly service: number;
  readonly pair: Numbers;
}

export interface ScopeEntry {
  readonly name: number;
  readonly version: number;
  readonly pair: Numbers;
}

export interface TraceResponse {
  readonly trace_id: string;
  readonly origin: number;
  readonly duration: number;
  readonly omitted: number;
  readonly strings: readonly string[];
  readonly pairs: PairColumns;
  readonly resources: readonly ResourceEntry[];
  readonly scopes: readonly ScopeEntry[];
  readonly spans: SpanColumns;
  readonly events: EventColumns;
  readonly links: LinkColumns;
  readonly messages: MessageColumns;
  readonly evidence: EvidenceColumns;
  readonly status_messages: RowTexts;
  readonly trace_states: RowTexts;
  readonly missing_parents: { readonly row: Numbers; readonly id: readonly string[] };
  readonly dropped: { readonly row: Numbers; readonly count: Numbers };
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
  readonly rooted: boolean;
  readonly start: number;
  readonly duration: number;
  readonly spans: number;
  readonly errors: number;
  readonly open: number;
  readonly woven: number;
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

export interface LiveResponse {
  readonly cursor: string;
  readonly changed: readonly string[];
  readonly more: boolean;
  readonly spans: number;
  readonly traces: number;
}
