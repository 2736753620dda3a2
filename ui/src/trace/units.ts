/** Units of attribute values, derived from the attribute's name. */
import { formatDuration } from './format';

const BYTES = /(?:\.|_)(?:size|bytes|length|body\.size|content_length)$/;
const MILLISECONDS = /(?:_ms|\.ms|_millis)$/;
const SECONDS = /(?:_seconds|\.seconds)$/;

/** Returns the value with its unit, or `undefined` if the name does not imply one. */
export function withUnit(key: string, value: string): string | undefined {
  const number = Number(value);
  if (value.trim() === '' || !Number.isFinite(number)) return undefined;
  if (MILLISECONDS.test(key)) return formatDuration(number * 1e3);
  if (SECONDS.test(key)) return formatDuration(number * 1e6);
  if (BYTES.test(key) && Math.abs(number) >= 1024) return formatBytes(number);
  return undefined;
}

export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number(value.toPrecision(3))} ${units[unit]}`;
}
