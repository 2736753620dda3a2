/** The line of an edge from a sender's bar to a receiver's. */

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
