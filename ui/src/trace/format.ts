/** Formatting of durations, times, counts and rates. */

const MINUTE = 60e6;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const YEAR = 365 * DAY;

/** Formats microseconds with three significant digits: `850 µs`, `12.3 ms`, `3 d 4 h`. */
export function formatDuration(microseconds: number): string {
  if (microseconds < 0 && Math.round(microseconds * 1e3) < 0)
    return `-${formatDuration(-microseconds)}`;
  // Each bound is where rounding would reach the next unit: 999.96 µs is 1 ms.
  if (microseconds < 0.9995) {
    const nanoseconds = Math.abs(Math.round(microseconds * 1e3));
    return nanoseconds === 0 ? '0 µs' : `${nanoseconds} ns`;
  }
  if (microseconds < 999.95) return `${Number(microseconds.toFixed(1))} µs`;
  if (microseconds < 999_500) return `${threeDigits(microseconds / 1e3)} ms`;
  if (microseconds < 59.95e6) return `${threeDigits(microseconds / 1e6)} s`;
  const seconds = Math.round(microseconds / 1e6);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${seconds % 60} s`;
  const minutes = Math.floor(seconds / 60);
  if (microseconds < 2 * DAY) return `${Math.floor(minutes / 60)} h ${minutes % 60} m`;
  const hours = Math.floor(minutes / 60);
  if (microseconds < YEAR) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  return `${Number((microseconds / YEAR).toPrecision(3)).toLocaleString('en')} y`;
}

/** Formats a time on an axis, with enough digits that labels `step` apart differ. */
export function formatTick(microseconds: number, step: number): string {
  // Steps are added up in floating point: 999.9999999 is the tick at 1 ms.
  const time = Number(microseconds.toPrecision(12));
  if (time >= 2 * DAY) {
    const hours = Math.round(time / HOUR);
    return step >= YEAR || time >= 10 * YEAR
      ? `${Number((time / YEAR).toPrecision(4)).toLocaleString('en')} y`
      : step >= DAY
        ? `${Math.round(time / DAY)} d`
        : `${Math.floor(hours / 24)} d ${hours % 24} h`;
  }
  const [unit, name] = time < 1e3 ? [1, 'µs'] : time < 1e6 ? [1e3, 'ms'] : [1e6, 's'];
  const decimals = Math.max(0, Math.min(6, Math.ceil(-Math.log10(step / unit) - 1e-9)));
  if (time < MINUTE) return `${Number((time / unit).toFixed(decimals + 1))} ${name}`;
  const seconds = Number(((time % MINUTE) / 1e6).toFixed(decimals + 1));
  const minutes = Math.floor(time / MINUTE);
  if (step >= MINUTE)
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

/**
 * Formats a fraction as a percentage: `83 %`. Only certainty is shown as 100 %: 0.9994 is `99.9 %`.
 * Likewise only 0 is shown as 0 %.
 */
export function formatPercent(part: number): string {
  if (part <= 0) return '0 %';
  if (part >= 1) return '100 %';
  if (part < 0.001) return '<0.1 %';
  if (part < 0.01) return `${Number((100 * part).toFixed(1))} %`;
  // Above 99 % the digit is rounded down, so that only certainty is 100 %.
  if (part >= 0.99) return `${Math.floor(Number((1000 * part).toPrecision(12))) / 10} %`;
  return `${Math.round(100 * part)} %`;
}

/** Formats a rate per second with two significant digits. */
export function formatRate(perSecond: number): string {
  if (perSecond === 0) return '0';
  if (perSecond < 0.01) return '<0.01';
  if (perSecond >= 100) return Math.round(perSecond).toLocaleString('en');
  return String(Number(perSecond.toPrecision(2)));
}
