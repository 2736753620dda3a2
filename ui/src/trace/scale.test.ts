import { describe, expect, it } from 'vitest';
import { edgePath, fraction, ticks, WAIT_NOTE_WIDTH, waitNotePlace } from './scale';

describe('fraction', () => {
  it('is the place on the axis, held within it', () => {
    const range = { start: 100, duration: 200 };
    expect([50, 100, 200, 300, 400].map((time) => fraction(range, time))).toEqual([0, 0, 0.5, 1, 1]);
  });

  it('is 0 in a trace of no length', () => {
    expect(fraction({ start: 5, duration: 0 }, 5)).toBe(0);
  });
});

describe('ticks', () => {
  it('are round, start at 0 and stay within the trace', () => {
    expect(ticks(430_000, 5)).toEqual([0, 100_000, 200_000, 300_000, 400_000]);
    expect(ticks(1_000, 4)).toEqual([0, 250, 500, 750, 1_000]);
  });

  it('are never more than asked for, besides the one at 0', () => {
    for (const duration of [1, 3, 7, 99, 12_345, 8.64e10]) {
      expect(ticks(duration, 6).length).toBeLessThanOrEqual(7);
    }
  });

  it('are one for a trace of no length', () => {
    expect(ticks(0, 5)).toEqual([0]);
  });
});

describe('edgePath', () => {
  it('goes down and then along to the receiver', () => {
    expect(edgePath({ x: 10, y: 15 }, { x: 100, y: 45 })).toBe('M 10 15 V 39 Q 10 45 16 45 H 100');
  });

  it('goes up when the receiver stands above', () => {
    expect(edgePath({ x: 10, y: 45 }, { x: 100, y: 15 })).toContain('V 21');
  });

  it('is a curve where there is no room or time runs backwards', () => {
    expect(edgePath({ x: 10, y: 15 }, { x: 12, y: 45 })).toMatch(/^M 10 15 C /);
    expect(edgePath({ x: 50, y: 15 }, { x: 20, y: 45 })).toMatch(/ 20 45$/);
  });
});

describe('the note on a wait', () => {
  it('stands within the stretch, or before it, or nowhere', () => {
    expect(waitNotePlace(0, WAIT_NOTE_WIDTH)).toBe('within');
    expect(waitNotePlace(400, 420)).toBe('before');
    expect(waitNotePlace(20, 60)).toBeUndefined();
  });
});
