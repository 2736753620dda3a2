import { expect, it } from 'vitest';
import { COLOURS, serviceColours } from './colour';

const SIX = ['eshop', 'inventory', 'billing', 'delivery', 'kafka-consumer', 'notification'];

it('gives services different colours, independent of their order', () => {
  const colours = serviceColours(SIX);
  expect(new Set(colours.values()).size).toBe(SIX.length);
  expect(serviceColours([...SIX].reverse())).toEqual(colours);
});

it('uses every colour once before using one twice', () => {
  const many = Array.from({ length: 2 * COLOURS }, (_, i) => `service-${i}`);
  const uses = new Map<number, number>();
  for (const slot of serviceColours(many).values()) uses.set(slot, (uses.get(slot) ?? 0) + 1);
  expect([...uses.values()]).toEqual(new Array(COLOURS).fill(2));
});
