/**
 * The time axis: from microseconds to places, with long idle stretches cut out when wanted.
 *
 * Two steps. First, *axis time*: time without the cuts, each of which keeps a short stretch for its
 * mark. Then the window of it that is looked at, as a fraction from 0 to 1.
 */
import { at } from './column';

export interface AxisCut {
  readonly from: number;
  readonly to: number;
  /** Where the mark begins, in axis time. */
  readonly axisFrom: number;
  /** How much axis time the mark takes. */
  readonly axisLength: number;
}

export interface TimeAxis {
  readonly cuts: readonly AxisCut[];
  /** TimeAxis time of the whole. */
  readonly length: number;
}

export interface TimeWindow {
  /** TimeAxis time. */
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
  readonly duration: number;
  readonly begin: Float64Array;
  readonly length: Float64Array;
}

/** A gap is cut when it is longer than this part of the time in which something happened. */
const WORTH_CUTTING = 0.25;
/** Part of the axis that one mark takes, and that all marks take together at most. */
const MARK = 0.05;
const MARKS = 0.3;

export function linearAxis(duration: number): TimeAxis {
  return { cuts: [], length: Math.max(duration, 0) };
}

/** An axis without the stretches in which no span runs. */
export function compressedAxis(spans: SpanTimes): TimeAxis {
  const gaps = idleGaps(spans);
  const idle = gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0);
  const busy = spans.duration - idle;
  const threshold = busy * WORTH_CUTTING;
  const long = gaps.filter((gap) => gap.to - gap.from > threshold);
  if (long.length === 0) return linearAxis(spans.duration);
  const kept = spans.duration - long.reduce((sum, gap) => sum + gap.to - gap.from, 0);
  const part = Math.min(MARK, MARKS / long.length);
  const axisLength = (kept * part) / (1 - part * long.length);
  let removed = 0;
  const cuts = long.map(({ from, to }) => {
    const cut = { from, to, axisFrom: from - removed, axisLength };
    removed += to - from - axisLength;
    return cut;
  });
  return { cuts, length: spans.duration - removed };
}

/** Stretches in which no span runs, in order. */
export function idleGaps({ count, begin, length }: SpanTimes): { from: number; to: number }[] {
  const order = Int32Array.from({ length: count }, (_, i) => i).sort(
    (a, b) => at(begin, a) - at(begin, b),
  );
  const gaps: { from: number; to: number }[] = [];
  let reached = count > 0 ? at(begin, order[0] ?? 0) : 0;
  for (const span of order) {
    if (at(begin, span) > reached) gaps.push({ from: reached, to: at(begin, span) });
    reached = Math.max(reached, at(begin, span) + at(length, span));
  }
  return gaps;
}

/** TimeAxis time of a moment. */
export function toAxisTime({ cuts }: TimeAxis, time: number): number {
  let removed = 0;
  for (const { from, to, axisLength } of cuts) {
    if (time <= from) break;
    if (time < to) return from - removed + ((time - from) / (to - from)) * axisLength;
    removed += to - from - axisLength;
  }
  return time - removed;
}

/** The moment at a place of axis time. */
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

/** Where a moment lies in the window: 0 to 1 within it, beyond outside. A window of no length puts all at 0. */
export function positionIn({ axis, window }: TimeScale, time: number): number {
  const width = window.to - window.from;
  return width <= 0 ? 0 : (toAxisTime(axis, time) - window.from) / width;
}

export function fullWindow(axis: TimeAxis): TimeWindow {
  return { from: 0, to: axis.length };
}

/** Keeps a window within the axis and not too narrow to be left again. */
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

/** Moves by a part of the window's width. */
export function panWindow(axis: TimeAxis, window: TimeWindow, part: number): TimeWindow {
  const by = (window.to - window.from) * part;
  const width = window.to - window.from;
  const from = Math.min(Math.max(window.from + by, 0), axis.length - width);
  return { from, to: from + width };
}

/** Moments of at most about `most` ticks in the window, a round number apart, none within a cut. */
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
