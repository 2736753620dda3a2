import { describe, expect, it } from 'vitest';
import { arrangeTree as arrangeColumns, NONE } from './tree';

const arrange = (parents: readonly number[], starts: readonly number[]) => {
  const shape = arrangeColumns(Int32Array.from(parents), Float64Array.from(starts));
  const { order, parent, depth, subtreeEnd, cut } = shape;
  return {
    order: [...order],
    parent: [...parent],
    depth: [...depth],
    subtreeEnd: [...subtreeEnd],
    cut,
  };
};

const zeros = (count: number) => new Array<number>(count).fill(0);

describe('arrangeTree', () => {
  it('puts each parent before its children and children in order of start', () => {
    const shape = arrange([2, 2, NONE, 0], [30, 20, 10, 35]);
    expect(shape.order).toEqual([2, 1, 0, 3]);
    expect(shape.parent).toEqual([NONE, 0, 0, 2]);
    expect(shape.depth).toEqual([0, 1, 1, 2]);
    expect(shape.subtreeEnd).toEqual([4, 2, 4, 4]);
  });

  it('keeps the input order of spans that start together', () => {
    expect(arrange([NONE, 0, 0, 0], zeros(4)).order).toEqual([0, 1, 2, 3]);
  });

  it('cuts a cycle at its earliest member and keeps every span', () => {
    const shape = arrange([1, 2, 0, 1], [5, 3, 4, 6]);
    expect([...shape.cut]).toEqual([1]);
    expect(shape.order[0]).toBe(1);
    expect([...shape.order].sort()).toEqual([0, 1, 2, 3]);
  });

  it('cuts a span off that is its own parent', () => {
    const shape = arrange([0, 0], [0, 1]);
    expect([...shape.cut]).toEqual([0]);
    expect(shape.order).toEqual([0, 1]);
  });

  it('cuts each of several cycles', () => {
    const shape = arrange([1, 0, 3, 2, NONE], zeros(5));
    expect([...shape.cut]).toEqual([0, 2]);
    expect(shape.order).toHaveLength(5);
  });

  it('arranges a chain of 200,000 spans without recursion', () => {
    const count = 200_000;
    const shape = arrange(
      Array.from({ length: count }, (_, i) => i - 1),
      zeros(count),
    );
    expect(shape.depth.at(-1)).toBe(count - 1);
    expect(shape.subtreeEnd[0]).toBe(count);
  });

  it('keeps lanes apart, regardless of their times', () => {
    const shape = arrangeColumns(
      Int32Array.of(NONE, NONE, 0),
      Float64Array.of(50, 10, 60),
      [0, 1, 0],
    );
    expect([...shape.order]).toEqual([0, 2, 1]);
  });

  it('returns an empty tree without spans', () => {
    expect(arrange([], []).order).toEqual([]);
  });

  it('places every node of any parent list exactly once, below its parent unless cut', () => {
    let seed = 7;
    const random = (below: number) => {
      seed = (seed * 48_271) % 0x7fffffff;
      return seed % below;
    };
    for (let round = 0; round < 300; round++) {
      const count = 1 + random(12);
      const parents = Array.from({ length: count }, () => random(count + 1) - 1);
      const shape = arrange(
        parents,
        Array.from({ length: count }, () => random(5)),
      );
      expect([...shape.order].sort((a, b) => a - b)).toEqual([...parents.keys()]);
      shape.order.forEach((node, place) => {
        const above = shape.parent[place] ?? NONE;
        const expected = shape.cut.has(node) ? NONE : (parents[node] ?? NONE);
        expect(above === NONE ? NONE : shape.order[above]).toBe(expected);
        if (above !== NONE) expect(place).toBeLessThan(shape.subtreeEnd[above] ?? 0);
      });
    }
  });
});
