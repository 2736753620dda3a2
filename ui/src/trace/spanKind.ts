/** Span kinds, by their number in the columns of a trace. */
export const KINDS = ['', 'internal', 'server', 'client', 'producer', 'consumer'] as const;
export type SpanKind = (typeof KINDS)[number];
export const CLIENT = 3;
export const PRODUCER = 4;
export const CONSUMER = 5;
