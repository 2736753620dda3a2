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
  const start = `M ${from.x} ${from.y}`;
  if (to.x - from.x < ELBOW_ROOM) {
    const controls = `${from.x + SWING} ${from.y}, ${to.x - SWING} ${to.y}`;
    return `${start} C ${controls}, ${to.x} ${to.y}`;
  }
  const bend = to.y >= from.y ? -BEND : BEND;
  const corner = `Q ${from.x} ${to.y} ${from.x + BEND} ${to.y}`;
  return `${start} V ${to.y + bend} ${corner} H ${to.x}`;
}
