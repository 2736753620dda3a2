/** Formatting of durations, times, counts and rates. */

/** Formats microseconds with three significant digits: `850 µs`, `12.3 ms`, `2 m 5 s`. */
export function formatDuration(microseconds: number): string {
  if (microseconds < 0) return `-${formatDuration(-microseconds)}`;
  if (microseconds < 1e3) return `${Number(microseconds.toFixed(1))} µs`;
  if (microseconds < 999_500) return `${threeDigits(microseconds / 1e3)} ms`;
  if (microseconds < 59.95e6) return `${threeDigits(microseconds / 1e6)} s`;
  const seconds = Math.round(microseconds / 1e6);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} m`;
}

/** Formats a time on an axis, with enough digits that labels `step` apart differ. */
export function formatTick(microseconds: number, step: number): string {
  const [unit, name] =
    microseconds < 1e3 ? [1, 'µs'] : microseconds < 1e6 ? [1e3, 'ms'] : [1e6, 's'];
  const decimals = Math.max(0, Math.min(6, Math.ceil(-Math.log10(step / unit) - 1e-9)));
  if (microseconds < 60e6) return `${Number((microseconds / unit).toFixed(decimals + 1))} ${name}`;
  const seconds = Number(((microseconds % 60e6) / 1e6).toFixed(decimals + 1));
  const minutes = Math.floor(microseconds / 60e6);
  if (step >= 60e6)
    return minutes < 60 ? `${minutes} m` : `${Math.floor(minutes / 60)} h ${minutes % 60} m`;
  return minutes < 60
    ? `${minutes} m ${seconds} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} m ${seconds} s`;
}

function threeDigits(value: number): string {
  return String(Number(value.toPrecision(3)));
}

/** Formats microseconds since the epoch as local date and time: `2026-03-01 09:05:07.042`. */
export function formatTimestamp(microseconds: number): string {
  const date = new Date(microseconds / 1e3);
  if (Number.isNaN(date.getTime())) return 'unknown time';
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const milliseconds = String(date.getMilliseconds()).padStart(3, '0');
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
  return `${day} ${time}.${milliseconds}`;
}

/** Formats an age in one unit: `just now`, `42 s ago`, `3 h ago`. */
export function formatAge(microseconds: number, nowMilliseconds: number): string {
  const seconds = Math.round(nowMilliseconds / 1e3 - microseconds / 1e6);
  if (seconds < -5) return 'in the future';
  if (seconds < 5) return 'just now';
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/** Formats a count with its noun: `1 span`, `12 spans`. */
export function formatCount(count: number, noun: string, plural = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : plural}`;
}

/** Formats a fraction as a whole percentage: `83%`. */
export function formatPercent(part: number): string {
  return `${Math.round(100 * part)}%`;
}

/** Formats a rate per second with two significant digits. */
export function formatRate(perSecond: number): string {
  if (perSecond === 0) return '0';
  if (perSecond < 0.01) return '<0.01';
  if (perSecond >= 100) return Math.round(perSecond).toLocaleString('en');
  return String(Number(perSecond.toPrecision(2)));
}
