import { describe, expect, it } from 'vitest';
import { built, linkedCheckout, placed } from '../read/checkout.fixture';
import {
  collapseAll,
  collapseLevel,
  consumerRuns,
  expandLevel,
  type FoldFlags,
  type GridCursor,
  moveCursor,
  noFolds,
  reveal,
  runLength,
  toggleFold,
  visibleRows,
  withAncestors,
} from './rows';

const { trace, at } = placed(linkedCheckout);
const runs = consumerRuns(trace);
const rowsOf = (folds: FoldFlags) => [...visibleRows(trace, folds, runs).spans];
const start = (): GridCursor => ({ active: 0, folds: noFolds(trace) });

/** Presses keys one after another. */
function press(keys: string, from = start()): GridCursor {
  return keys
    .split(' ')
    .reduce(
      (cursor, key) =>
        moveCursor(trace, visibleRows(trace, cursor.folds, runs), runs, cursor, key) ?? cursor,
      from,
    );
}

describe('visible rows', () => {
  it('are all spans when nothing is folded', () => {
    expect(rowsOf(noFolds(trace))).toHaveLength(13);
  });

  it('are limited to shown spans; hidden spans map to the row before them', () => {
    const found = at('GET /sendEmail');
    const { spans, rowOf } = visibleRows(
      trace,
      noFolds(trace),
      runs,
      withAncestors(trace, Int32Array.of(found)),
    );
    expect([...spans]).toEqual([
      at('GET /checkout'),
      at('To_eshop-topic'),
      at('From_eshop-topic'),
      found - 1,
      found,
    ]);
    expect(spans[rowOf[at('GET /payment')] ?? -1]).toBe(at('GET /checkout'));
    expect(
      visibleRows(trace, noFolds(trace), runs, withAncestors(trace, Int32Array.of())).spans,
    ).toHaveLength(0);
  });

  it('exclude the descendants of a folded span, which map to its row', () => {
    const folded = at('To_eshop-topic');
    const { spans, rowOf } = visibleRows(trace, toggleFold(noFolds(trace), runs, folded), runs);
    expect([...spans]).not.toContain(at('From_eshop-topic'));
    expect(spans[rowOf[at('GET /sendEmail')] ?? -1]).toBe(folded);
  });

  it('are the root alone when everything is folded, and unfold level by level', () => {
    const all = collapseAll(trace);
    expect(rowsOf(all)).toEqual([0]);
    expect(rowsOf(expandLevel(trace, all))).toHaveLength(5);
    expect(rowsOf(collapseLevel(trace, noFolds(trace)))).toHaveLength(12);
  });

  it('are revealed down to a hidden span', () => {
    expect(rowsOf(reveal(trace, collapseAll(trace), runs, at('GET /sendEmail')))).toContain(
      at('GET /sendEmail'),
    );
  });
});

describe('runs of similar consumers', () => {
  const consumer = (id: string, name = 'process') => ({
    id,
    name,
    childOf: 'a0',
    tags: { 'span.kind': 'consumer' },
  });
  const batch = built([
    { id: 'a0' },
    consumer('a1'),
    consumer('a2'),
    { ...consumer('b2'), childOf: 'a2', name: 'below' },
    consumer('a3'),
    consumer('a4'),
    consumer('c1', 'other'),
  ]).trace;
  const batchRuns = consumerRuns(batch);

  it('are one row from four consumers on, regardless of their descendants', () => {
    expect(runLength(batch, batchRuns, 1)).toBe(4);
    expect([...visibleRows(batch, noFolds(batch), batchRuns).spans]).toEqual([0, 1, 6]);
  });

  it('unfold on the first toggle, and when one of their spans is revealed', () => {
    expect([
      ...visibleRows(batch, toggleFold(noFolds(batch), batchRuns, 1), batchRuns).spans,
    ]).toHaveLength(7);
    expect([
      ...visibleRows(batch, reveal(batch, noFolds(batch), batchRuns, 4), batchRuns).spans,
    ]).toContain(4);
  });
});

describe('keyboard', () => {
  it('moves by row and stops at the ends', () => {
    expect(press('ArrowDown ArrowDown').active).toBe(2);
    expect(press('f f b').active).toBe(1);
    expect(press('ArrowUp').active).toBe(0);
    expect(press('End ArrowDown').active).toBe(12);
    expect(press('PageDown').active).toBe(10);
    expect(press('End Home').active).toBe(0);
  });

  it('collapses or goes to the parent with left, expands or goes to the child with right', () => {
    const folded = press('ArrowLeft');
    expect(rowsOf(folded.folds)).toEqual([0]);
    expect(rowsOf(press('ArrowRight', folded).folds)).toHaveLength(13);
    expect(press('ArrowRight').active).toBe(1);
    expect(press('End ArrowLeft').active).toBe(11);
  });

  it('skips folded rows and ignores other keys', () => {
    expect(press('ArrowDown ArrowLeft ArrowDown').active).toBe(3);
    expect(
      moveCursor(trace, visibleRows(trace, noFolds(trace), runs), runs, start(), 'x'),
    ).toBeUndefined();
  });
});
