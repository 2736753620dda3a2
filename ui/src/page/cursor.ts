/** Where the reader is in a trace: the active span, what is folded, whether its detail is open. */
import { useEffect, useMemo, useState } from 'react';
import { amend, tracePath } from '../shell/navigation';
import type { Trace } from '../trace/model';
import { collapsible, pressKey, reveal, toggled, type Collapsed } from '../trace/rows';

export interface TraceCursor {
  /** Index of the active span. */
  readonly active: number;
  readonly collapsed: Collapsed;
  readonly open: boolean;
  /** Makes a span active, unfolds what hides it, and opens its detail. */
  readonly look: (index: number) => void;
  readonly close: () => void;
  readonly toggle: (index: number) => void;
  readonly collapseAll: () => void;
  readonly expandAll: () => void;
  /** Takes a key press; `false` if the key means nothing here. */
  readonly press: (key: string) => boolean;
}

interface CursorState {
  readonly active: number;
  readonly collapsed: Collapsed;
  readonly open: boolean;
}

/**
 * The address names the span whose detail is open, so that it can be sent to someone. `id` is the
 * trace's id as the address has it, which may be shorter than the collector's.
 */
export function useCursor(trace: Trace, id: string, address: string): TraceCursor {
  const [state, setState] = useState(() => initialState(trace, address));
  const { active, open } = state;
  useEffect(() => {
    amend(tracePath(id, open ? trace.spans[active]?.id : undefined));
  }, [trace, id, active, open]);

  const actions = useMemo(() => {
    const change = (part: Partial<CursorState>) => setState((previous) => ({ ...previous, ...part }));
    return {
      look: (index: number) =>
        setState(({ collapsed }) => ({ active: index, collapsed: reveal(trace.spans, collapsed, index), open: true })),
      close: () => change({ open: false }),
      toggle: (index: number) =>
        setState((previous) => {
          const collapsed = toggled(previous.collapsed, index);
          return { ...previous, collapsed, active: outOfFold(trace, collapsed, previous.active) };
        }),
      collapseAll: () => {
        const collapsed = collapsible(trace.spans);
        setState((previous) => ({ ...previous, collapsed, active: outOfFold(trace, collapsed, previous.active) }));
      },
      expandAll: () => change({ collapsed: new Set() }),
    };
  }, [trace]);

  function press(key: string): boolean {
    if (key === 'Enter' || key === ' ') {
      setState((previous) => ({ ...previous, open: true }));
      return true;
    }
    if (key === 'Escape') {
      actions.close();
      return open;
    }
    const next = pressKey(trace.spans, state, key);
    if (next) setState((previous) => ({ ...previous, ...next }));
    return next !== undefined;
  }
  return { ...state, ...actions, press };
}

function initialState(trace: Trace, address: string): CursorState {
  const wanted = new URLSearchParams(address).get('span');
  const found = wanted === null ? undefined : trace.spans.find((span) => span.id === wanted);
  return { active: found?.index ?? 0, collapsed: new Set(), open: found !== undefined };
}

/** The active span, or the outermost folded span that now hides it. */
function outOfFold(trace: Trace, collapsed: Collapsed, active: number): number {
  let shown = active;
  for (let above = trace.spans[active]?.parent ?? -1; above >= 0; above = trace.spans[above]?.parent ?? -1) {
    if (collapsed.has(above)) shown = above;
  }
  return shown;
}
