/** Formats a rate per second with two significant digits. */
export function formatRate(perSecond: number): string {
  if (perSecond === 0) return '0';
  if (perSecond < 0.01) return '<0.01';
  if (perSecond >= 100) return Math.round(perSecond).toLocaleString('en');
  return String(Number(perSecond.toPrecision(2)));
}
