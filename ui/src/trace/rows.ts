/**
 * The visible rows of a trace, and keyboard navigation among them.
 *
 * Folding is one byte per span, so that folding a trace of 100,000 spans is one pass over small
 * arrays.
 */
import { at } from './column';
import { hasChildren, type Trace } from './model';
import { CONSUMER } from './spanKind';
import { NONE } from './tree';

const PAGE_ROWS = 10;

/** Bits per span. */
export const COLLAPSED = 1;
/** The run of similar consumers that starts here is unfolded. */
export const UNFOLDED_RUN = 2;

export type FoldFlags = Uint8Array;

export interface VisibleRows {
  /** Span index by row. */
  readonly spans: Int32Array;
  /** Row by span index; a hidden span has the row that hides it. */
  readonly rowOf: Int32Array;
}

/** Minimum number of similar consecutive consumers that are folded into one row. */
const MIN_RUN_LENGTH = 4;

/**
 * Returns, for the first span of each run of similar consumers, the end of the run (exclusive, with
 * descendants), and 0 for other spans. Such runs arise when each record of a batch is processed in
 * its own span.
 */
export function consumerRuns(trace: Trace): Int32Array {
  const ends = new Int32Array(trace.count);
  let covered = 0;
  for (let head = 0; head < trace.count; head++) {
    if (head < covered || trace.kind[head] !== CONSUMER) continue;
    let length = 0;
    let next = head;
    while (next < trace.count && isSimilar(trace, head, next)) {
      length += 1;
      next = at(trace.subtreeEnd, next);
    }
    if (length >= MIN_RUN_LENGTH) ends[head] = covered = next;
  }
  return ends;
}

function isSimilar(trace: Trace, a: number, b: number): boolean {
  return (
    trace.parent[a] === trace.parent[b] &&
    trace.kind[a] === trace.kind[b] &&
    trace.name[a] === trace.name[b] &&
    trace.service[a] === trace.service[b]
  );
}

/** Returns the number of spans in the run that starts at `head`. */
export function runLength(trace: Trace, runs: Int32Array, head: number): number {
  let length = 0;
  for (let next = head; next < at(runs, head); next = at(trace.subtreeEnd, next)) length += 1;
  return length;
}

/** Returns the visible rows; `shown` limits them to marked spans, which include their ancestors. */
export function visibleRows(
  trace: Trace,
  folds: FoldFlags,
  runs: Int32Array,
  shown?: Uint8Array,
): VisibleRows {
  const spans = new Int32Array(trace.count);
  const rowOf = new Int32Array(trace.count);
  let row = 0;
  for (let index = 0; index < trace.count; ) {
    if (shown && shown[index] !== 1) {
      const end = at(trace.subtreeEnd, index);
      rowOf.fill(Math.max(row - 1, 0), index, end);
      index = end;
      continue;
    }
    const next = isFoldedRun(folds, runs, index)
      ? at(runs, index)
      : (at(folds, index) & COLLAPSED) !== 0
        ? at(trace.subtreeEnd, index)
        : index + 1;
    spans[row] = index;
    rowOf.fill(row, index, next);
    row += 1;
    index = next;
  }
  return { spans: spans.subarray(0, row), rowOf };
}

/** Marks spans and all their ancestors. */
export function withAncestors(trace: Trace, found: Int32Array): Uint8Array {
  const shown = new Uint8Array(trace.count);
  for (const span of found) {
    for (let each = span; each !== NONE && shown[each] !== 1; each = at(trace.parent, each))
      shown[each] = 1;
  }
  return shown;
}

export function isFoldedRun(folds: FoldFlags, runs: Int32Array, index: number): boolean {
  return at(runs, index) > 0 && (at(folds, index) & UNFOLDED_RUN) === 0;
}

export function noFolds(trace: Trace): FoldFlags {
  return new Uint8Array(trace.count);
}

export function collapseAll(trace: Trace): FoldFlags {
  return Uint8Array.from(noFolds(trace), (_, index) => (hasChildren(trace, index) ? COLLAPSED : 0));
}

/** Folds the deepest unfolded level. */
export function collapseLevel(trace: Trace, folds: FoldFlags): FoldFlags {
  let deepest = -1;
  for (let i = 0; i < trace.count; ) {
    const open = (at(folds, i) & COLLAPSED) === 0;
    if (open && hasChildren(trace, i)) deepest = Math.max(deepest, at(trace.depth, i));
    i = open ? i + 1 : at(trace.subtreeEnd, i);
  }
  return Uint8Array.from(folds, (fold, i) =>
    trace.depth[i] === deepest && hasChildren(trace, i) ? fold | COLLAPSED : fold,
  );
}

/** Unfolds the topmost folded level. */
export function expandLevel(trace: Trace, folds: FoldFlags): FoldFlags {
  let topmost = Infinity;
  for (let i = 0; i < trace.count; i++) {
    if ((at(folds, i) & COLLAPSED) !== 0) topmost = Math.min(topmost, at(trace.depth, i));
  }
  return Uint8Array.from(folds, (fold, i) =>
    trace.depth[i] === topmost ? fold & ~COLLAPSED : fold,
  );
}

/** Unfolds everything that hides a span. */
export function reveal(trace: Trace, folds: FoldFlags, runs: Int32Array, index: number): FoldFlags {
  const opened = folds.slice();
  for (let above = trace.parent[index] ?? NONE; above !== NONE; above = at(trace.parent, above)) {
    opened[above] = at(opened, above) & ~COLLAPSED;
  }
  for (let head = index; head >= 0; head--) {
    if (at(runs, head) > index && head !== index) opened[head] = at(opened, head) | UNFOLDED_RUN;
  }
  return opened;
}

/** Toggles a row: a folded run is unfolded before its head is collapsed. */
export function toggleFold(folds: FoldFlags, runs: Int32Array, index: number): FoldFlags {
  const next = folds.slice();
  next[index] = isFoldedRun(folds, runs, index)
    ? at(next, index) | UNFOLDED_RUN
    : at(next, index) ^ COLLAPSED;
  return next;
}

export interface GridCursor {
  readonly active: number;
  readonly folds: FoldFlags;
}

/**
 * Handles the tree grid keys of the ARIA authoring practices: arrows, page keys, Home and End move;
 * right expands a span or moves to its child; left collapses it or moves to its parent. As in
 * Jaeger, `f` and `b` move to the next and the previous row. Returns `undefined` for other keys.
 */
export function moveCursor(
  trace: Trace,
  rows: VisibleRows,
  runs: Int32Array,
  cursor: GridCursor,
  key: string,
): GridCursor | undefined {
  const row = at(rows.rowOf, cursor.active);
  const to = (wanted: number): GridCursor => ({
    ...cursor,
    active: at(rows.spans, Math.min(Math.max(wanted, 0), rows.spans.length - 1)),
  });
  switch (key) {
    case 'ArrowDown':
    case 'f':
      return to(row + 1);
    case 'ArrowUp':
    case 'b':
      return to(row - 1);
    case 'PageDown':
      return to(row + PAGE_ROWS);
    case 'PageUp':
      return to(row - PAGE_ROWS);
    case 'Home':
      return to(0);
    case 'End':
      return to(rows.spans.length - 1);
    case 'ArrowRight':
      return stepIn(trace, runs, cursor);
    case 'ArrowLeft':
      return stepOut(trace, runs, cursor);
    default:
      return undefined;
  }
}

function stepIn(trace: Trace, runs: Int32Array, cursor: GridCursor): GridCursor {
  const { active, folds } = cursor;
  const folded = isFoldedRun(folds, runs, active) || (at(folds, active) & COLLAPSED) !== 0;
  if (folded) return { ...cursor, folds: toggleFold(folds, runs, active) };
  return hasChildren(trace, active) ? { ...cursor, active: active + 1 } : cursor;
}

function stepOut(trace: Trace, runs: Int32Array, cursor: GridCursor): GridCursor {
  const { active, folds } = cursor;
  const open =
    hasChildren(trace, active) &&
    (at(folds, active) & COLLAPSED) === 0 &&
    !isFoldedRun(folds, runs, active);
  if (open) return { ...cursor, folds: toggleFold(folds, runs, active) };
  const parent = at(trace.parent, active);
  return parent === NONE ? cursor : { ...cursor, active: parent };
}
