/** Rows of equal height in a scrolling box: determines which of them are in view. */
import { type RefObject, useCallback, useEffect, useRef, useState } from 'react';

/** Height of a row in pixels; must equal `--row` in the styles. */
export const ROW_HEIGHT_PX = 28;

/** Extra rows beyond both ends of the view, so that quick scrolling shows no gaps. */
const OVERSCAN_ROWS = 8;
/** The range moves by this number of rows: fewer and larger updates leave most frames free. */
const ROW_STEP = 6;

export interface RowWindow {
  readonly scroller: RefObject<HTMLDivElement | null>;
  readonly first: number;
  /** One past the last. */
  readonly last: number;
  readonly scrollTo: (row: number) => void;
  readonly scrollBy: (pixels: number) => void;
}

/** `above` is the height of the sticky header of the box. */
export function useRowWindow(count: number, above: number): RowWindow {
  const scroller = useRef<HTMLDivElement>(null);
  const [range, setRange] = useState<readonly [number, number]>([0, 60]);

  useEffect(() => {
    const box = scroller.current;
    if (!box) return undefined;
    const update = () => {
      const first = Math.max(
        0,
        Math.floor(box.scrollTop / ROW_HEIGHT_PX / ROW_STEP) * ROW_STEP - OVERSCAN_ROWS,
      );
      const last =
        Math.ceil((box.scrollTop + box.clientHeight) / ROW_HEIGHT_PX / ROW_STEP) * ROW_STEP +
        OVERSCAN_ROWS;
      setRange((before) => (before[0] === first && before[1] === last ? before : [first, last]));
    };
    update();
    box.addEventListener('scroll', update, { passive: true });
    const sizes = new ResizeObserver(update);
    sizes.observe(box);
    return () => {
      box.removeEventListener('scroll', update);
      sizes.disconnect();
    };
  }, []);

  const scrollTo = useCallback(
    (row: number) => {
      const box = scroller.current;
      if (!box) return;
      const top = row * ROW_HEIGHT_PX;
      const view = box.clientHeight - above;
      if (top < box.scrollTop) box.scrollTop = top;
      else if (top + ROW_HEIGHT_PX > box.scrollTop + view)
        box.scrollTop = top + ROW_HEIGHT_PX - view;
    },
    [above],
  );
  const scrollBy = useCallback((pixels: number) => scroller.current?.scrollBy({ top: pixels }), []);
  return {
    scroller,
    first: Math.min(range[0], count),
    last: Math.min(range[1], count),
    scrollTo,
    scrollBy,
  };
}
