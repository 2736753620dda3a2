/**
 * The time axis: converts microseconds to positions, with long idle gaps hidden on request.
 *
 * There are two steps: from time to *axis time*, in which a hidden gap keeps only a short stretch
 * for its mark, and from axis time to a position in the visible window, from 0 to 1.
 */
import { at } from './column';

export interface AxisCut {
  readonly from: number;
  readonly to: number;
  /** Start of the mark in axis time. */
  readonly axisFrom: number;
  /** Length of the mark in axis time. */
  readonly axisLength: number;
  /** Whether it holds the commits after the work, rather than hiding a gap. */
  readonly settles: boolean;
}

export interface TimeAxis {
  readonly cuts: readonly AxisCut[];
  /** Length in axis time. */
  readonly length: number;
}

export interface TimeWindow {
  /** In axis time. */
  readonly from: number;
  readonly to: number;
}

/** The axis together with the part of it that is visible. */
export interface TimeScale {
  readonly axis: TimeAxis;
  readonly window: TimeWindow;
}

interface SpanTimes {
  readonly count: number;
  /** Of the work; spans that begin after it are commits. */
  readonly duration: number;
  readonly begin: Float64Array;
  readonly length: Float64Array;
}

/** A gap is hidden when it is longer than this fraction of the time in which spans run. */
const MIN_GAP_FRACTION = 0.25;
/** Fraction of the axis for one mark, and the maximum for all marks together. */
const MARK_FRACTION = 0.05;
const MAX_MARKS_FRACTION = 0.3;

/** Fraction of the axis for commits that end long after the work. */
const SETTLING_FRACTION = 0.07;

export function linearAxis(duration: number): TimeAxis {
  return { cuts: [], length: Math.max(duration, 0) };
}

/** Returns an axis on which long gaps without running spans are hidden. */
export function compressedAxis(spans: SpanTimes): TimeAxis {
  const gaps = idleGaps(spans);
  const idle = gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0);
  const busy = spans.duration - idle;
  const threshold = busy * MIN_GAP_FRACTION;
  const long = gaps.filter((gap) => gap.to - gap.from > threshold);
  if (long.length === 0) return linearAxis(spans.duration);
  const kept = spans.duration - long.reduce((sum, gap) => sum + gap.to - gap.from, 0);
  const part = Math.min(MARK_FRACTION, MAX_MARKS_FRACTION / long.length);
  const axisLength = (kept * part) / (1 - part * long.length);
  let removed = 0;
  const cuts = long.map(({ from, to }) => {
    const cut = { from, to, axisFrom: from - removed, axisLength, settles: false };
    removed += to - from - axisLength;
    return cut;
  });
  return { cuts, length: spans.duration - removed };
}

/**
 * Adds the time from the end of the work to that of the last commit. If it is long, it gets a strip
 * of its own at the end: commits of a timer come seconds after the work and keep nobody waiting.
 */
export function withSettling(axis: TimeAxis, duration: number, extent: number): TimeAxis {
  const beyond = extent - duration;
  if (beyond <= 0) return axis;
  const axisLength = (axis.length * SETTLING_FRACTION) / (1 - SETTLING_FRACTION);
  if (beyond <= axisLength || axis.length === 0) return { ...axis, length: axis.length + beyond };
  const strip = { from: duration, to: extent, axisFrom: axis.length, axisLength, settles: true };
  return { cuts: [...axis.cuts, strip], length: axis.length + axisLength };
}

/** Returns the gaps in which no span runs, in order. */
export function idleGaps({
  count,
  duration,
  begin,
  length,
}: SpanTimes): { from: number; to: number }[] {
  const order = Int32Array.from({ length: count }, (_, i) => i).sort(
    (a, b) => at(begin, a) - at(begin, b),
  );
  const gaps: { from: number; to: number }[] = [];
  let reached = count > 0 ? at(begin, order[0] ?? 0) : 0;
  for (const span of order) {
    if (at(begin, span) > duration) break;
    if (at(begin, span) > reached) gaps.push({ from: reached, to: at(begin, span) });
    reached = Math.max(reached, at(begin, span) + at(length, span));
  }
  return gaps;
}

/** Converts a time to axis time. */
export function toAxisTime({ cuts }: TimeAxis, time: number): number {
  let removed = 0;
  for (const { from, to, axisLength } of cuts) {
    if (time <= from) break;
    if (time < to) return from - removed + ((time - from) / (to - from)) * axisLength;
    removed += to - from - axisLength;
  }
  return time - removed;
}

/** Converts axis time to a time. */
export function fromAxisTime({ cuts }: TimeAxis, place: number): number {
  let removed = 0;
  for (const { from, to, axisFrom, axisLength } of cuts) {
    if (place <= axisFrom) break;
    if (place < axisFrom + axisLength)
      return from + ((place - axisFrom) / axisLength) * (to - from);
    removed += to - from - axisLength;
  }
  return place + removed;
}

/**
 * Returns the position of a time in the window: 0 to 1 inside of it. In an empty window it is 0.
 */
export function positionIn({ axis, window }: TimeScale, time: number): number {
  const width = window.to - window.from;
  return width <= 0 ? 0 : (toAxisTime(axis, time) - window.from) / width;
}

export function fullWindow(axis: TimeAxis): TimeWindow {
  return { from: 0, to: axis.length };
}

/** Keeps a window within the axis and wide enough to zoom out of. */
export function clampWindow(axis: TimeAxis, window: TimeWindow): TimeWindow {
  const least = Math.max(axis.length / 1e6, Math.min(axis.length, 0.01));
  const width = Math.min(Math.max(window.to - window.from, least), axis.length);
  const from = Math.min(Math.max(window.from, 0), axis.length - width);
  return { from, to: from + width };
}

/** Zooms by `factor` around `centre` (0 to 1 of the window). */
export function zoomWindow(
  axis: TimeAxis,
  window: TimeWindow,
  factor: number,
  centre = 0.5,
): TimeWindow {
  const width = (window.to - window.from) * factor;
  const pivot = window.from + (window.to - window.from) * centre;
  return clampWindow(axis, { from: pivot - width * centre, to: pivot + width * (1 - centre) });
}

/** Moves a window by a fraction of its width. */
export function panWindow(axis: TimeAxis, window: TimeWindow, part: number): TimeWindow {
  const by = (window.to - window.from) * part;
  const width = window.to - window.from;
  const from = Math.min(Math.max(window.from + by, 0), axis.length - width);
  return { from, to: from + width };
}

/** Returns about `most` round times for the ticks of the window, none within a hidden gap. */
export function tickTimes({ axis, window }: TimeScale, most: number): number[] {
  const width = window.to - window.from;
  if (width <= 0 || most < 1) return [0];
  const step = roundStep(width / most);
  const found: number[] = [];
  const last = fromAxisTime(axis, window.to);
  let time = Math.max(0, Math.ceil(fromAxisTime(axis, window.from) / step - 1e-9)) * step;
  while (time <= last && found.length <= 2 * most) {
    const cut = axis.cuts.find(({ from, to }) => time > from && time < to);
    if (cut) {
      time = Math.ceil(cut.to / step) * step;
      continue;
    }
    found.push(time);
    time += step;
  }
  return found;
}

function roundStep(atLeast: number): number {
  const magnitude = 10 ** Math.floor(Math.log10(atLeast));
  for (const factor of [1, 2, 2.5, 5]) {
    if (magnitude * factor >= atLeast) return magnitude * factor;
  }
  return magnitude * 10;
}
