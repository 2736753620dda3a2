/** From time to place: the ruler's ticks, bars as fractions of the axis, the line of an edge. */

/** Height of a span's row in pixels; `--row` in `styles.css` is the same. */
export const ROW_HEIGHT = 30;
/** Height of the ruler above them; `--ruler` likewise. */
export const RULER_HEIGHT = 32;

export interface TimeRange {
  /** Microseconds since the epoch. */
  readonly start: number;
  /** Microseconds. */
  readonly duration: number;
}

/** Where a moment lies on the axis, 0 to 1. A trace of no length puts everything at 0. */
export function fraction(range: TimeRange, time: number): number {
  if (range.duration <= 0) return 0;
  return Math.min(Math.max((time - range.start) / range.duration, 0), 1);
}

/** Offsets in microseconds of at most `most` ticks, a round number apart, starting with 0. */
export function ticks(duration: number, most: number): number[] {
  if (duration <= 0 || most < 1) return [0];
  const step = roundStep(duration / most);
  const count = Math.floor(duration / step) + 1;
  return Array.from({ length: count }, (_, i) => i * step);
}

function roundStep(atLeast: number): number {
  const magnitude = 10 ** Math.floor(Math.log10(atLeast));
  for (const factor of [1, 2, 2.5, 5]) {
    if (magnitude * factor >= atLeast) return magnitude * factor;
  }
  return magnitude * 10;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

const BEND = 6;
/** Below this many pixels between the ends there is no room for an elbow and an arrow head. */
const ELBOW_ROOM = 22;
const SWING = 18;

/**
 * SVG path of an edge: down from the sender, then along the receiver's row to its bar, through the
 * stretch that stands for the wait. Where the two are too close, or the receipt lies before the
 * acknowledgement, a curve instead.
 */
export function edgePath(from: Point, to: Point): string {
  if (to.x - from.x < ELBOW_ROOM) {
    return `M ${from.x} ${from.y} C ${from.x + SWING} ${from.y}, ${to.x - SWING} ${to.y}, ${to.x} ${to.y}`;
  }
  const bend = to.y >= from.y ? -BEND : BEND;
  return `M ${from.x} ${from.y} V ${to.y + bend} Q ${from.x} ${to.y} ${from.x + BEND} ${to.y} H ${to.x}`;
}

/** Pixels that the note on a wait needs. */
export const WAIT_NOTE_WIDTH = 184;

/** Where the note on a wait between two places of the axis has room: within, else before, else nowhere. */
export function waitNotePlace(from: number, to: number): 'within' | 'before' | undefined {
  if (to - from >= WAIT_NOTE_WIDTH) return 'within';
  return from >= WAIT_NOTE_WIDTH ? 'before' : undefined;
}
