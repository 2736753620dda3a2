/** The shape of an edge from a sender's bar to a receiver's. */

export interface Point {
  readonly x: number;
  readonly y: number;
}

const BEND = 6;
/** With less horizontal room in pixels, an elbow and an arrow head do not fit. */
const ELBOW_ROOM = 22;
const SWING = 18;

/**
 * Returns the SVG path of an edge: down from the sender, then along the receiver's row. If the ends
 * are too close, or the receipt precedes the acknowledgement, the path is a curve instead.
 */
export function edgePath(from: Point, to: Point): string {
  if (to.x - from.x < ELBOW_ROOM) {
    return `M ${from.x} ${from.y} C ${from.x + SWING} ${from.y}, ${to.x - SWING} ${to.y}, ${to.x} ${to.y}`;
  }
  const bend = to.y >= from.y ? -BEND : BEND;
  return `M ${from.x} ${from.y} V ${to.y + bend} Q ${from.x} ${to.y} ${from.x + BEND} ${to.y} H ${to.x}`;
}
