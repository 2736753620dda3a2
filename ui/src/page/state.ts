/** The state of the trace page: one state for all views, mirrored in the address. */
import { useEffect, useMemo, useReducer, useRef } from 'react';
import { replaceLocation, tracePath } from '../shell/navigation';
import {
  clampWindow,
  compressedAxis,
  fullWindow,
  linearAxis,
  panWindow,
  type TimeAxis,
  type TimeScale,
  type TimeWindow,
  withSettling,
  zoomWindow,
} from '../trace/axis';
import { at } from '../trace/column';
import { type CriticalPath, criticalPath } from '../trace/critical';
import { findSpans } from '../trace/find';
import { findSpan, spanIdOf, type Trace } from '../trace/model';
import {
  COLLAPSED,
  collapseAll,
  collapseLevel,
  consumerRuns,
  expandLevel,
  type FoldFlags,
  moveCursor,
  noFolds,
  reveal,
  toggleFold,
  UNFOLDED_RUN,
  type VisibleRows,
  visibleRows,
  withAncestors,
} from '../trace/rows';
import type { PageAction, PageState } from './actions';
import { addressParams, parseAddress } from './address';
import { handleKey } from './shortcuts';

/** Outcome of a find in the trace. */
export interface FindMatches {
  /** Indexes of the spans that match, in reading order. */
  readonly spans: Int32Array;
  /** 1 for each span that matches. */
  readonly isMatch: Uint8Array;
  /** 1 for each span that is shown while only matches are; `undefined` while all spans are. */
  readonly shown: Uint8Array | undefined;
}

/** The trace, the reader's choices, and what follows from both: shared by all views. */
export interface PageModel {
  readonly trace: Trace;
  /** Whether the trace is shown as it was reported. */
  readonly raw: boolean;
  readonly state: PageState;
  readonly dispatch: (action: PageAction) => void;
  readonly runs: Int32Array;
  readonly rows: VisibleRows;
  readonly scale: TimeScale;
  readonly matches: FindMatches;
  readonly critical: CriticalPath | undefined;
  /** Handles a shortcut of the page; returns `false` for keys without a meaning here. */
  readonly press: (key: string, shift: boolean) => boolean;
}

/**
 * The journey within the trace page has its own state and writes the address (`isInner`); meanwhile
 * the outer page only reads it, so that both show the same span.
 */
export function usePageModel(trace: Trace, id: string, query: string, isInner = false): PageModel {
  const runs = useMemo(() => consumerRuns(trace), [trace]);
  const reduce = useMemo(() => reducer(trace, runs), [trace, runs]);
  const [state, dispatch] = useReducer(reduce, query, (initial) =>
    initialState(trace, runs, initial),
  );
  const { active, open, view, folds, find, match, only, path, cut } = state;

  const shown = useMemo(() => spansToShow(trace, find, only), [trace, find, only]);
  const rows = useMemo(() => visibleRows(trace, folds, runs, shown), [trace, folds, runs, shown]);
  const axis = useMemo(() => axisFor(trace, cut), [trace, cut]);
  const scale = useMemo(
    () => ({ axis, window: state.window ?? fullWindow(axis) }),
    [state.window, axis],
  );
  const matches = useMemo(() => {
    const spans = findSpans(trace, find);
    return { spans, isMatch: markSpans(trace.count, spans), shown };
  }, [trace, find, shown]);
  const critical = useMemo(
    () => (path === 'none' ? undefined : criticalPath(trace, path)),
    [trace, path],
  );

  const { raw } = parseAddress(query);
  const params = addressParams({
    view,
    raw,
    find,
    only,
    path,
    cut,
    match: match.map((index) => spanIdOf(trace, index)),
    ...(open && trace.count > 0 && { span: spanIdOf(trace, active) }),
    ...(state.window && { window: [state.window.from, state.window.to] as const }),
  });
  const address = tracePath(id, params);
  const mirrors = isInner || view !== 'journey';
  useEffect(() => {
    if (mirrors) replaceLocation(address);
  }, [address, mirrors]);
  // A link in the page, or the journey within it, may lead to another view or span of this trace.
  const requested = tracePath(id, addressParams(parseAddress(query)));
  const seen = useRef(requested);
  useEffect(() => {
    if (seen.current !== requested && requested !== address) dispatch({ type: 'address', query });
    seen.current = requested;
  }, [requested, address, query]);

  const press = (key: string, shift: boolean) => handleKey(key, shift, { trace, state, dispatch });
  return { trace, raw, state, dispatch, press, runs, rows, scale, matches, critical };
}

function initialState(trace: Trace, runs: Int32Array, query: string): PageState {
  const address = parseAddress(query);
  const wanted = address.span ? findSpan(trace, address.span) : -1;
  const axis = axisFor(trace, address.cut);
  return {
    view: address.view,
    active: Math.max(wanted, 0),
    open: wanted >= 0,
    folds: wanted >= 0 ? reveal(trace, noFolds(trace), runs, wanted) : noFolds(trace),
    find: address.find,
    match: address.match
      .map((id) => findSpan(trace, id))
      .filter((index) => index >= 0)
      .sort((a, b) => a - b),
    only: address.only,
    path: address.path,
    cut: address.cut,
    window: address.window
      ? clampWindow(axis, { from: address.window[0], to: address.window[1] })
      : undefined,
  };
}

function reducer(trace: Trace, runs: Int32Array) {
  return (state: PageState, action: PageAction): PageState => {
    switch (action.type) {
      case 'set': {
        const next = { ...state, ...action.part };
        // Matches may be hidden in folds and runs, and the active span may not be one of them.
        if (next.only && next.find !== '' && (next.find !== state.find || !state.only))
          return withFolds(trace, runs, next, unfoldAll(state.folds));
        // Positions differ on another axis, so the window is reset.
        return next.cut === state.cut ? next : { ...next, window: undefined };
      }
      case 'select':
        // Selecting a hidden span shows all spans again.
        if (spansToShow(trace, state.find, state.only)?.[action.index] === 0)
          state = { ...state, only: false };
        return {
          ...state,
          active: action.index,
          open: action.open ?? true,
          folds: reveal(trace, state.folds, runs, action.index),
        };
      case 'toggle':
        return withFolds(trace, runs, state, toggleFold(state.folds, runs, action.index));
      case 'folds':
        return withFolds(trace, runs, state, foldAll(trace, state.folds, action.how));
      case 'key': {
        const rows = visibleRows(
          trace,
          state.folds,
          runs,
          spansToShow(trace, state.find, state.only),
        );
        if (rows.spans.length === 0) return state;
        return { ...state, ...moveCursor(trace, rows, runs, state, action.key) };
      }
      case 'address': {
        const next = initialState(trace, runs, action.query);
        return {
          ...next,
          folds: next.open ? reveal(trace, state.folds, runs, next.active) : state.folds,
        };
      }
      case 'zoom':
        return withWindow(trace, state, (axis, window) =>
          zoomWindow(axis, window, action.factor, action.centre),
        );
      case 'pan':
        return withWindow(trace, state, (axis, window) => panWindow(axis, window, action.part));
    }
  };
}

function foldAll(
  trace: Trace,
  folds: FoldFlags,
  how: 'expand-all' | 'collapse-all' | 'expand-level' | 'collapse-level',
): FoldFlags {
  if (how === 'expand-all') return folds.map((fold) => fold & ~COLLAPSED);
  if (how === 'collapse-all') return collapseAll(trace);
  return how === 'expand-level' ? expandLevel(trace, folds) : collapseLevel(trace, folds);
}

/** Applies new folds; if the active span is then hidden, the row that hides it becomes active. */
function withFolds(trace: Trace, runs: Int32Array, state: PageState, folds: FoldFlags): PageState {
  const rows = visibleRows(trace, folds, runs, spansToShow(trace, state.find, state.only));
  if (rows.spans.length === 0) return { ...state, folds };
  return {
    ...state,
    folds,
    active: trace.count > 0 ? at(rows.spans, at(rows.rowOf, state.active)) : 0,
  };
}

/** Unfolds everything, including runs. */
function unfoldAll(folds: FoldFlags): FoldFlags {
  return folds.map(() => UNFOLDED_RUN);
}

const lastShown = new WeakMap<Trace, { readonly find: string; readonly kept: Uint8Array }>();

/**
 * Returns the spans to show while only matches are shown; cached, because every key asks for it.
 */
function spansToShow(trace: Trace, find: string, only: boolean): Uint8Array | undefined {
  if (!only || find === '') return undefined;
  const last = lastShown.get(trace);
  if (last?.find === find) return last.kept;
  const kept = withAncestors(trace, findSpans(trace, find));
  lastShown.set(trace, { find, kept });
  return kept;
}

function withWindow(
  trace: Trace,
  state: PageState,
  move: (axis: TimeAxis, window: TimeWindow) => TimeWindow,
): PageState {
  const axis = axisFor(trace, state.cut);
  const window = move(axis, state.window ?? fullWindow(axis));
  const isWhole = window.from <= 0 && window.to >= axis.length;
  return { ...state, window: isWhole ? undefined : window };
}

const axes = new WeakMap<Trace, TimeAxis>();

/** Returns the axis; the one with hidden gaps is cached, because every key asks for it. */
function axisFor(trace: Trace, cut: boolean): TimeAxis {
  const settled = (axis: TimeAxis) => withSettling(axis, trace.duration, trace.extent);
  if (!cut) return settled(linearAxis(trace.duration));
  const known = axes.get(trace) ?? settled(compressedAxis(trace));
  axes.set(trace, known);
  return known;
}

function markSpans(count: number, found: Int32Array): Uint8Array {
  const marked = new Uint8Array(count);
  for (const index of found) marked[index] = 1;
  return marked;
}

/** Returns the next or previous match after the active span, wrapping around. */
export function stepMatch(found: Int32Array, active: number, step: 1 | -1): number | undefined {
  if (found.length === 0) return undefined;
  if (step === 1) return found.find((index) => index > active) ?? found[0];
  return found.findLast((index) => index < active) ?? found[found.length - 1];
}
