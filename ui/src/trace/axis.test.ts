import { describe, expect, it } from 'vitest';
import {
  clampWindow,
  compressedAxis,
  fromAxisTime,
  fullWindow,
  idleGaps,
  linearAxis,
  panWindow,
  positionIn,
  type TimeAxis,
  tickTimes,
  toAxisTime,
  withSettling,
  zoomWindow,
} from './axis';

const spans = (...pairs: readonly (readonly [number, number])[]) => ({
  count: pairs.length,
  duration: Math.max(...pairs.map(([begin, length]) => begin + length)),
  begin: Float64Array.from(pairs, ([begin]) => begin),
  length: Float64Array.from(pairs, ([, length]) => length),
});

const fullScale = (axis: TimeAxis) => ({ axis, window: fullWindow(axis) });

describe('compressedAxis', () => {
  it('finds gaps between spans in any order', () => {
    expect(idleGaps(spans([500, 10], [0, 100], [50, 100], [900, 1]))).toEqual([
      { from: 150, to: 500 },
      { from: 510, to: 900 },
    ]);
  });

  it('leaves an axis without long gaps linear', () => {
    expect(compressedAxis(spans([0, 100], [105, 100]))).toEqual({ cuts: [], length: 205 });
  });

  it('keeps a twentieth of the axis for the mark of a gap of an hour', () => {
    const axis = compressedAxis(spans([0, 100], [3_600_100, 90]));
    expect(axis.cuts).toHaveLength(1);
    expect(axis.length).toBeCloseTo(200);
    expect(axis.cuts[0]?.axisLength).toBeCloseTo(10);
  });

  it('converts times to axis time and back monotonically, also within gaps', () => {
    const axis = compressedAxis(spans([0, 100], [1000, 50], [5000, 80]));
    let before = -1;
    for (let time = 0; time <= 5080; time += 7) {
      const place = toAxisTime(axis, time);
      expect(fromAxisTime(axis, place)).toBeCloseTo(time, 6);
      expect(place).toBeGreaterThan(before);
      before = place;
    }
    expect(toAxisTime(axis, 5080)).toBeCloseTo(axis.length);
  });
});

describe('window', () => {
  const axis = linearAxis(1000);

  it('maps times to 0 to 1 inside and beyond outside', () => {
    expect(positionIn({ axis, window: { from: 200, to: 600 } }, 300)).toBe(0.25);
    expect(positionIn({ axis, window: { from: 200, to: 600 } }, 1000)).toBe(2);
    expect(positionIn({ axis: linearAxis(0), window: { from: 0, to: 0 } }, 5)).toBe(0);
  });

  it('zooms around a fixed position, out to the full range at most', () => {
    expect(zoomWindow(axis, fullWindow(axis), 0.5, 0.2)).toEqual({ from: 100, to: 600 });
    expect(zoomWindow(axis, { from: 100, to: 600 }, 10)).toEqual({ from: 0, to: 1000 });
  });

  it('pans up to the ends and keeps its width', () => {
    expect(panWindow(axis, { from: 800, to: 900 }, 5)).toEqual({ from: 900, to: 1000 });
    expect(panWindow(axis, { from: 10, to: 110 }, -1)).toEqual({ from: 0, to: 100 });
  });

  it('is never empty', () => {
    const { from, to } = clampWindow(axis, { from: 999.9999, to: 999.9999 });
    expect(to).toBeGreaterThan(from);
  });
});

describe('ticks', () => {
  it('are round numbers, at most the given number of them', () => {
    expect(tickTimes(fullScale(linearAxis(430)), 5)).toEqual([0, 100, 200, 300, 400]);
  });

  it('exclude hidden gaps', () => {
    const axis = compressedAxis(spans([0, 100], [1000, 100]));
    for (const tick of tickTimes(fullScale(axis), 8)) expect(tick > 100 && tick < 1000).toBe(false);
  });

  it('are a single one for an empty axis', () => {
    expect(tickTimes(fullScale(linearAxis(0)), 5)).toEqual([0]);
  });
});

describe('commits after the work', () => {
  it('get a strip of their own at the end, whatever the time until them', () => {
    const axis = withSettling(linearAxis(222), 222, 5_040);
    expect(axis.cuts).toMatchObject([{ from: 222, to: 5_040, settles: true }]);
    expect(toAxisTime(axis, 222) / axis.length).toBeCloseTo(0.93);
    expect(toAxisTime(axis, 5_040)).toBeCloseTo(axis.length);
    expect(tickTimes(fullScale(axis), 8).every((tick) => tick <= 222)).toBe(true);
  });

  it('that end soon after the work prolong the axis', () => {
    expect(withSettling(linearAxis(100), 100, 104)).toEqual({ cuts: [], length: 104 });
    expect(withSettling(linearAxis(100), 100, 100)).toEqual({ cuts: [], length: 100 });
  });

  it('are no idle gap', () => {
    expect(idleGaps({ ...spans([0, 100], [5_000, 1]), duration: 100 })).toEqual([]);
  });
});
