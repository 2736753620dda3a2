/** Which spans are rows at the moment, and what the keyboard does to them. */
import type { Span } from './model';
import { NONE } from './tree';

export type Collapsed = ReadonlySet<number>;

/** Indices of the spans that are shown, in reading order. */
export function visibleRows(spans: readonly Span[], collapsed: Collapsed): number[] {
  const rows: number[] = [];
  for (let index = 0; index < spans.length; ) {
    const span = spans[index] as Span;
    rows.push(index);
    index = collapsed.has(index) ? span.subtreeEnd : index + 1;
  }
  return rows;
}

/** The span itself when it is shown, else its nearest shown ancestor. */
export function shownStandIn(spans: readonly Span[], shown: ReadonlyMap<number, number>, index: number): number {
  let current = index;
  while (current !== NONE && !shown.has(current)) current = spans[current]?.parent ?? NONE;
  return current;
}

export function hasChildren(span: Span): boolean {
  return span.subtreeEnd > span.index + 1;
}

export function collapsible(spans: readonly Span[]): Set<number> {
  return new Set(spans.filter(hasChildren).map((span) => span.index));
}

/** Whether a span below this one failed; a folded row shows it. */
export function failsBelow(spans: readonly Span[], span: Span): boolean {
  for (let index = span.index + 1; index < span.subtreeEnd; index++) {
    if (spans[index]?.failed) return true;
  }
  return false;
}

/** Opens whatever hides a span. */
export function reveal(spans: readonly Span[], collapsed: Collapsed, index: number): Collapsed {
  const opened = new Set(collapsed);
  for (let above = spans[index]?.parent ?? NONE; above !== NONE; above = spans[above]?.parent ?? NONE) {
    opened.delete(above);
  }
  return opened.size === collapsed.size ? collapsed : opened;
}

export function toggled(collapsed: Collapsed, index: number): Collapsed {
  const next = new Set(collapsed);
  if (!next.delete(index)) next.add(index);
  return next;
}

export interface Cursor {
  readonly active: number;
  readonly collapsed: Collapsed;
}

const PAGE = 10;

/**
 * The tree-grid keys of the ARIA authoring practices: up, down, page and ends move; right opens a
 * span or steps into it; left folds it or steps out. `undefined` for a key that means nothing here.
 */
export function pressKey(spans: readonly Span[], cursor: Cursor, key: string): Cursor | undefined {
  const rows = visibleRows(spans, cursor.collapsed);
  const row = Math.max(rows.indexOf(cursor.active), 0);
  const at = (wanted: number): Cursor => ({
    ...cursor,
    active: rows[Math.min(Math.max(wanted, 0), rows.length - 1)] ?? cursor.active,
  });
  switch (key) {
    case 'ArrowDown':
      return at(row + 1);
    case 'ArrowUp':
      return at(row - 1);
    case 'PageDown':
      return at(row + PAGE);
    case 'PageUp':
      return at(row - PAGE);
    case 'Home':
      return at(0);
    case 'End':
      return at(rows.length - 1);
    case 'ArrowRight':
      return stepIn(spans, cursor);
    case 'ArrowLeft':
      return stepOut(spans, cursor);
    default:
      return undefined;
  }
}

function stepIn(spans: readonly Span[], cursor: Cursor): Cursor {
  const span = spans[cursor.active];
  if (!span || !hasChildren(span)) return cursor;
  if (cursor.collapsed.has(span.index)) return { ...cursor, collapsed: toggled(cursor.collapsed, span.index) };
  return { ...cursor, active: span.index + 1 };
}

function stepOut(spans: readonly Span[], cursor: Cursor): Cursor {
  const span = spans[cursor.active];
  if (!span) return cursor;
  if (hasChildren(span) && !cursor.collapsed.has(span.index)) {
    return { ...cursor, collapsed: toggled(cursor.collapsed, span.index) };
  }
  return span.parent === NONE ? cursor : { ...cursor, active: span.parent };
}
