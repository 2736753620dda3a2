import { describe, expect, it } from 'vitest';
import { linkedCheckout, traceOf } from './checkout.fixture';
import { buildTrace } from './model';
import { collapsible, failsBelow, pressKey, reveal, shownStandIn, visibleRows, type Cursor } from './rows';

const { spans } = buildTrace(linkedCheckout);
const indexOf = (name: string) => spans.find((span) => span.name === name)!.index;
const none: ReadonlySet<number> = new Set();

/** Presses keys one after another. */
function press(keys: string, from: Cursor = { active: 0, collapsed: none }): Cursor {
  return keys.split(' ').reduce((cursor, key) => pressKey(spans, cursor, key) ?? cursor, from);
}

describe('visible rows', () => {
  it('are all spans when nothing is collapsed', () => {
    expect(visibleRows(spans, none)).toHaveLength(13);
  });

  it('leave out all that is below a collapsed span', () => {
    const rows = visibleRows(spans, new Set([indexOf('To_eshop-topic')]));
    expect(rows).not.toContain(indexOf('From_eshop-topic'));
    expect(rows).not.toContain(indexOf('GET /sendEmail'));
    expect(rows).toContain(indexOf('GET /arrangeDelivery'));
  });

  it('are the root alone when everything is collapsed', () => {
    expect(visibleRows(spans, collapsible(spans))).toEqual([0]);
  });

  it('let a hidden end of an edge be stood in for by its nearest shown ancestor', () => {
    const rows = visibleRows(spans, new Set([indexOf('From_eshop-topic')]));
    const shown = new Map(rows.map((index, row) => [index, row]));
    expect(shownStandIn(spans, shown, indexOf('GET /sendEmail'))).toBe(indexOf('From_eshop-topic'));
  });

  it('can be opened down to a hidden span', () => {
    const opened = reveal(spans, collapsible(spans), indexOf('GET /sendEmail'));
    expect(visibleRows(spans, opened)).toContain(indexOf('GET /sendEmail'));
  });

  it('tell a failure below a folded span', () => {
    const failing = buildTrace(traceOf([{ id: 'a' }, { id: 'b', childOf: 'a', tags: { error: true } }])).spans;
    expect(failing.map((span) => failsBelow(failing, span))).toEqual([true, false]);
  });
});

describe('keyboard', () => {
  it('moves by row and stops at the ends', () => {
    expect(press('ArrowDown ArrowDown').active).toBe(2);
    expect(press('ArrowUp').active).toBe(0);
    expect(press('End').active).toBe(12);
    expect(press('End ArrowDown').active).toBe(12);
    expect(press('PageDown').active).toBe(10);
    expect(press('End Home').active).toBe(0);
  });

  it('folds with left, opens and steps in with right, steps out with left', () => {
    const folded = press('ArrowLeft');
    expect([...folded.collapsed]).toEqual([0]);
    expect(press('ArrowRight', folded)).toMatchObject({ active: 0, collapsed: none });
    expect(press('ArrowRight').active).toBe(1);
    expect(press('End ArrowLeft').active).toBe(11);
  });

  it('skips rows that are folded away', () => {
    const folded = press('ArrowDown ArrowLeft ArrowDown');
    expect(folded.active).toBe(3);
  });

  it('leaves other keys alone', () => {
    expect(pressKey(spans, { active: 0, collapsed: none }, 'x')).toBeUndefined();
  });
});
