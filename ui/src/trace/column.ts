/** Access to columns: arrays with one element per span, row or edge. */

/** Returns an element whose index is known to be valid. */
export function at(column: ArrayLike<number>, index: number): number {
  return column[index] as number;
}

/** Returns a text, or the empty text for an invalid index. */
export function textAt(strings: readonly string[], index: number): string {
  return strings[index] ?? '';
}
