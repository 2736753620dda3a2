/**
 * Times in files, as nanoseconds since the epoch. A double holds them to 256 ns only, so they are
 * `bigint` until they are offsets from the start of a trace.
 */

/** Reads nanoseconds as OTLP writes them: a string, or a number. */
export function fromNanoseconds(value: unknown): bigint | undefined {
  if (typeof value === 'string' && /^\d{1,20}$/.test(value)) return positive(BigInt(value));
  const number = typeof value === 'string' && value.trim() === '' ? NaN : Number(value ?? NaN);
  return Number.isFinite(number) ? positive(BigInt(Math.trunc(number))) : undefined;
}

/** Reads microseconds as Jaeger and Zipkin write them, also with a fraction or as a string. */
export function fromMicroseconds(value: unknown): bigint | undefined {
  const number = microseconds(value);
  if (number === undefined) return undefined;
  const whole = Math.trunc(number);
  return positive(BigInt(whole) * 1000n + BigInt(Math.round((number - whole) * 1e3)));
}

/** Reads a duration in microseconds, which may be negative. */
export function microseconds(value: unknown): number | undefined {
  if (value === null || value === undefined || value === '') return undefined;
  const number = typeof value === 'number' || typeof value === 'string' ? Number(value) : NaN;
  return Number.isFinite(number) ? number : undefined;
}

/** Returns the time from one point to another in microseconds. */
export function microsecondsBetween(from: bigint, to: bigint): number {
  return Number(to - from) / 1e3;
}

/** Returns the earlier of two times, of which either may be absent. */
export function earlierOf(a: bigint | undefined, b: bigint | undefined): bigint | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  if (b < a) return b;
  return a;
}

/** Nothing that is traced started in 1970: zero and negative times stand for none. */
function positive(time: bigint): bigint | undefined {
  return time > 0n ? time : undefined;
}
