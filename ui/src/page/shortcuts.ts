/** The keyboard shortcuts of the trace page, as actions. */
import { nextFailedSpan } from '../trace/find';
import type { Trace } from '../trace/model';
import type { PageAction, PageState } from './actions';

/** Zoom factor of one step. */
const ZOOM = 0.7;
/** Part of the window that one step moves. */
const PAN = 0.15;
/** Steps at once with the Shift key. */
const SHIFT_STEPS = 3;

interface KeyContext {
  readonly trace: Trace;
  readonly state: PageState;
  readonly dispatch: (action: PageAction) => void;
}

/** Runs the shortcut for a key; returns `false` for keys without a meaning here. */
export function handleKey(
  key: string,
  shift: boolean,
  { trace, state, dispatch }: KeyContext,
): boolean {
  const strength = shift ? SHIFT_STEPS : 1;
  const act = (action: PageAction) => {
    dispatch(action);
    return true;
  };
  switch (key) {
    case 'Enter':
    case ' ':
      return act({ type: 'set', part: { open: true } });
    case 'Escape':
      return state.open && act({ type: 'set', part: { open: false } });
    case 'a':
    case 'A':
      return act({ type: 'pan', part: -PAN * strength });
    case 'd':
    case 'D':
      return act({ type: 'pan', part: PAN * strength });
    case '+':
    case '=':
    case '*':
      return act({ type: 'zoom', factor: ZOOM ** strength });
    case '-':
    case '_':
      return act({ type: 'zoom', factor: 1 / ZOOM ** strength });
    case '0':
      return act({ type: 'set', part: { window: undefined } });
    case ']':
      return act({ type: 'folds', how: 'expand-all' });
    case '[':
      return act({ type: 'folds', how: 'collapse-all' });
    case 'p':
      return act({ type: 'folds', how: 'expand-level' });
    case 'o':
      return act({ type: 'folds', how: 'collapse-level' });
    case 'e':
    case 'E': {
      const next = nextFailedSpan(trace, state.active, shift ? -1 : 1);
      return next !== undefined && act({ type: 'select', index: next });
    }
    case 'ArrowUp':
    case 'ArrowDown':
      // As in Jaeger, where arrows zoom; without Shift they move between rows.
      return act(
        shift
          ? { type: 'zoom', factor: ZOOM ** (key === 'ArrowUp' ? strength : -strength) }
          : { type: 'key', key },
      );
    case 'ArrowLeft':
    case 'ArrowRight':
      return act(
        shift
          ? { type: 'pan', part: key === 'ArrowLeft' ? -PAN * strength : PAN * strength }
          : { type: 'key', key },
      );
    case 'PageDown':
    case 'PageUp':
    case 'Home':
    case 'End':
    case 'f':
    case 'b':
      return act({ type: 'key', key });
    default:
      return false;
  }
}
