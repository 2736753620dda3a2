/** The draggable divider between names and bars; its position is remembered in this browser. */
import {
  type CSSProperties,
  type KeyboardEvent,
  type PointerEvent,
  useEffect,
  useState,
} from 'react';

const STORAGE_KEY = 'throughline.names';
/** As fractions of the timeline's width. */
const MIN_FRACTION = 0.12;
const MAX_FRACTION = 0.75;
const KEY_STEP = 0.03;

/** Approximately the default of the styles. */
const DEFAULT_FRACTION = 0.36;

/**
 * Returns the fraction of the width that the names take, or `undefined` until the reader chooses.
 */
export function useNameColumnWidth(): readonly [
  number | undefined,
  (fraction: number | undefined) => void,
] {
  const [fraction, setFraction] = useState(loadFraction);
  useEffect(() => {
    try {
      if (fraction === undefined) localStorage.removeItem(STORAGE_KEY);
      else localStorage.setItem(STORAGE_KEY, fraction.toFixed(3));
    } catch {
      // Storage may be forbidden; the width then lasts as long as this page.
    }
  }, [fraction]);
  return [fraction, setFraction];
}

function loadFraction(): number | undefined {
  try {
    const fraction = Number(localStorage.getItem(STORAGE_KEY) ?? NaN);
    return fraction >= MIN_FRACTION && fraction <= MAX_FRACTION ? fraction : undefined;
  } catch {
    return undefined;
  }
}

export function nameColumnStyle(fraction: number | undefined): CSSProperties | undefined {
  return fraction === undefined
    ? undefined
    : ({ '--names': `${100 * fraction}%` } as CSSProperties);
}

interface NameColumnDividerProps {
  readonly fraction: number | undefined;
  readonly setFraction: (fraction: number | undefined) => void;
}

export function NameColumnDivider({ fraction, setFraction }: NameColumnDividerProps) {
  const set = (wanted: number) =>
    setFraction(Math.min(Math.max(wanted, MIN_FRACTION), MAX_FRACTION));
  const drag = (event: PointerEvent<HTMLElement>) => {
    const area = event.currentTarget.parentElement?.getBoundingClientRect();
    if (area && event.currentTarget.hasPointerCapture(event.pointerId))
      set((event.clientX - area.left) / area.width);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = event.key === 'ArrowRight' ? KEY_STEP : event.key === 'ArrowLeft' ? -KEY_STEP : 0;
    if (step === 0) return;
    event.preventDefault();
    set((fraction ?? DEFAULT_FRACTION) + step);
  };
  return (
    <hr
      className="names-border"
      aria-orientation="vertical"
      aria-label="Width of the name column"
      aria-valuenow={Math.round(100 * (fraction ?? DEFAULT_FRACTION))}
      aria-valuemin={100 * MIN_FRACTION}
      aria-valuemax={100 * MAX_FRACTION}
      tabIndex={0}
      title="Drag to resize; double-click to reset"
      onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
      onPointerMove={drag}
      onDoubleClick={() => setFraction(undefined)}
      onKeyDown={onKeyDown}
    />
  );
}
