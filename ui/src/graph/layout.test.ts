import { describe, expect, it } from 'vitest';
import { layoutInLayers } from './layers';
import { layoutGraph, smoothPath } from './layout';

const box = (id: string) => ({ id, width: 100, height: 50 });
const edge = (from: string, to: string) => ({ id: `${from}${to}`, from, to, labelWidth: 0 });

describe.each([
  ['layout by dagre', layoutGraph],
  ['layout in layers', layoutInLayers],
])('%s', (_, layout) => {
  it('places nodes from left to right without overlap', () => {
    const nodes = ['a', 'b', 'c', 'd'].map(box);
    const placed = layout(nodes, [edge('a', 'b'), edge('a', 'c'), edge('b', 'd'), edge('c', 'd')]);
    const at = (id: string) => placed.nodes.get(id)!;
    expect(at('a').x).toBeLessThan(at('b').x);
    expect(at('b').x).toBeLessThan(at('d').x);
    expect(Math.abs(at('b').y - at('c').y)).toBeGreaterThanOrEqual(50);
    for (const { x, y } of placed.nodes.values())
      expect(x > 0 && y > 0 && x < placed.width && y < placed.height).toBe(true);
  });

  it('accepts cycles and self-loops', () => {
    const placed = layout(['a', 'b', 'c'].map(box), [
      edge('a', 'b'),
      edge('b', 'c'),
      edge('c', 'a'),
      edge('b', 'b'),
    ]);
    expect(placed.nodes.size).toBe(3);
    for (const { path } of placed.edges.values()) expect(path).toMatch(/^M [\d.-]+/);
  });
});

it('nodes without edges form a block, not a single column', () => {
  const placed = layoutGraph(
    Array.from({ length: 60 }, (_, i) => box(`n${i}`)),
    [],
  );
  expect(placed.height).toBeLessThan(60 * 50 * 0.3);
  expect(new Set([...placed.nodes.values()].map(({ x, y }) => `${x} ${y}`)).size).toBe(60);
});

it('a large graph is laid out quickly', () => {
  const start = performance.now();
  const nodes = Array.from({ length: 150 }, (_, i) => box(`n${i}`));
  layoutGraph(
    nodes,
    Array.from({ length: 400 }, (_, i) => edge(`n${(i * 7) % 150}`, `n${(i * 31 + 1) % 150}`)).map(
      (each, i) => ({ ...each, id: String(i) }),
    ),
  );
  expect(performance.now() - start).toBeLessThan(500);
});

it('a curve goes from the first point to the last', () => {
  expect(
    smoothPath([
      { x: 0, y: 0 },
      { x: 10, y: 5 },
      { x: 20, y: 5 },
      { x: 30, y: 0 },
    ]),
  ).toMatch(/^M 0 0 Q .* 30 0$/);
  expect(smoothPath([])).toBe('');
});
