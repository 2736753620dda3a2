/** Access to columns: arrays as long as what they describe. */

/** An element that is known to be there. */
export function at(column: ArrayLike<number>, index: number): number {
  return column[index] as number;
}

/** A text that is known to be there. */
export function textAt(strings: readonly string[], index: number): string {
  return strings[index] ?? '';
}
