/** A colour for each service: the same service gets the same one wherever there is room for it. */

/** Number of `--service-N` colours in `styles.css`. */
export const COLOURS = 10;

/** Slot by service name. Each prefers the slot of its hash and takes the next free one if it must. */
export function serviceColours(names: Iterable<string>): Map<string, number> {
  const slots = new Map<string, number>();
  let taken = new Set<number>();
  for (const name of [...new Set(names)].sort()) {
    if (taken.size === COLOURS) taken = new Set();
    let slot = hash(name) % COLOURS;
    while (taken.has(slot)) slot = (slot + 1) % COLOURS;
    taken.add(slot);
    slots.set(name, slot);
  }
  return slots;
}

/** FNV-1a over UTF-16 units: spread is all that is asked of it. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    value = Math.imul(value ^ text.charCodeAt(i), 0x01000193) >>> 0;
  }
  return value;
}
