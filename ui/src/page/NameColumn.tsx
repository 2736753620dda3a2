/** The draggable divider between names and bars; its position is remembered in this browser. */
import {
  type CSSProperties,
  type KeyboardEvent,
  type PointerEvent,
  useEffect,
  useState,
} from 'react';

const KEY = 'throughline.names';
/** As fractions of the timeline's width. */
const LEAST = 0.12;
const MOST = 0.75;
const STEP = 0.03;

/**
 * Returns the fraction of the width that the names take, or `undefined` until the reader chooses.
 */
export function useNameColumnWidth(): readonly [
  number | undefined,
  (part: number | undefined) => void,
] {
  const [part, setPart] = useState(remembered);
  useEffect(() => {
    try {
      if (part === undefined) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, part.toFixed(3));
    } catch {
      // Storage may be forbidden; the width then lasts as long as this page.
    }
  }, [part]);
  return [part, setPart];
}

function remembered(): number | undefined {
  try {
    const part = Number(localStorage.getItem(KEY) ?? NaN);
    return part >= LEAST && part <= MOST ? part : undefined;
  } catch {
    return undefined;
  }
}

export function nameColumnStyle(part: number | undefined): CSSProperties | undefined {
  return part === undefined ? undefined : ({ '--names': `${100 * part}%` } as CSSProperties);
}

interface NameColumnDividerProps {
  readonly part: number | undefined;
  readonly setPart: (part: number | undefined) => void;
}

export function NameColumnDivider({ part, setPart }: NameColumnDividerProps) {
  const set = (wanted: number) => setPart(Math.min(Math.max(wanted, LEAST), MOST));
  const drag = (event: PointerEvent<HTMLElement>) => {
    const area = event.currentTarget.parentElement?.getBoundingClientRect();
    if (area && event.currentTarget.hasPointerCapture(event.pointerId))
      set((event.clientX - area.left) / area.width);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = event.key === 'ArrowRight' ? STEP : event.key === 'ArrowLeft' ? -STEP : 0;
    if (step === 0) return;
    event.preventDefault();
    set((part ?? USUAL) + step);
  };
  return (
    <hr
      className="names-border"
      aria-orientation="vertical"
      aria-label="Width of the name column"
      aria-valuenow={Math.round(100 * (part ?? USUAL))}
      aria-valuemin={100 * LEAST}
      aria-valuemax={100 * MOST}
      tabIndex={0}
      title="Drag to resize; double-click to reset"
      onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
      onPointerMove={drag}
      onDoubleClick={() => setPart(undefined)}
      onKeyDown={onKeyDown}
    />
  );
}

/** Approximately the default of the styles. */
const USUAL = 0.36;
