/** Colours of services: the same name gets the same colour unless it is taken. */

/** Number of `--service-N` colours in `styles/base.css`. */
export const COLOURS = 10;

/** Returns colour slots by service name: the slot of the name's hash, or the next free one. */
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

/** FNV-1a over UTF-16 units; it only has to spread names evenly. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    value = Math.imul(value ^ text.charCodeAt(i), 0x01000193) >>> 0;
  }
  return value;
}
