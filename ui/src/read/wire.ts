/**
 * The JSON of Jaeger's query service, as far as the UI reads it.
 *
 * Times and durations are whole microseconds. Fields that some back ends leave out or send as
 * `null` are optional here; `jaeger.ts` is the only reader and does not trust any of them.
 */

export interface WireTag {
  readonly key: string;
  readonly type?: string;
  readonly value: unknown;
}

export interface WireReference {
  readonly refType: string;
  readonly traceID: string;
  readonly spanID: string;
}

export interface WireLog {
  readonly timestamp: number;
  readonly fields?: readonly WireTag[] | null;
}

export interface WireSpan {
  readonly traceID: string;
  readonly spanID: string;
  readonly operationName: string;
  readonly references?: readonly WireReference[] | null;
  readonly startTime: number;
  readonly duration: number;
  readonly tags?: readonly WireTag[] | null;
  readonly logs?: readonly WireLog[] | null;
  readonly processID?: string;
  readonly warnings?: readonly string[] | null;
}

export interface WireProcess {
  readonly serviceName: string;
  readonly tags?: readonly WireTag[] | null;
}

export interface WireTrace {
  readonly traceID: string;
  readonly spans: readonly WireSpan[];
  readonly processes?: Readonly<Record<string, WireProcess>> | null;
  readonly warnings?: readonly string[] | null;
}
