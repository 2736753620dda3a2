/** A table that can be sorted by its columns; only the rows in view exist. */
import { type ReactNode, useMemo, useState } from 'react';
import { ROW_HEIGHT_PX, useRowWindow } from '../page/rowWindow';

export interface Column {
  readonly name: string;
  /** Width of the column, as in CSS grid. */
  readonly size: string;
  readonly isText?: boolean;
  /** Compares two rows in ascending order; absent for columns without an order. */
  readonly compare?: (a: number, b: number) => number;
  readonly cell: (row: number) => ReactNode;
}

interface SortTableProps {
  readonly label: string;
  readonly columns: readonly Column[];
  readonly count: number;
  readonly initial: { readonly column: number; readonly descending: boolean };
  readonly chosen?: number | undefined;
  readonly choose?: (row: number) => void;
}

export function SortTable({ label, columns, count, initial, chosen, choose }: SortTableProps) {
  const [sort, setSort] = useState(initial);
  const order = useMemo(() => {
    const rows = Int32Array.from({ length: count }, (_, i) => i);
    const compare = columns[sort.column]?.compare;
    return compare
      ? rows.sort((a, b) => (sort.descending ? compare(b, a) : compare(a, b)) || a - b)
      : rows;
  }, [count, columns, sort]);
  const view = useRowWindow(count, ROW_HEIGHT_PX);
  const template = { gridTemplateColumns: columns.map((column) => column.size).join(' ') };
  const inView = [...order.subarray(view.first, view.last)];
  return (
    <div className="sort-table" role="table" aria-label={label} aria-rowcount={count + 1}>
      <div className="sort-scroll" role="presentation" ref={view.scroller}>
        <div role="rowgroup" className="sort-head">
          <div role="row" aria-rowindex={1} style={template}>
            {columns.map((column, i) => (
              <span
                key={column.name}
                role="columnheader"
                className={column.isText ? 'text' : ''}
                aria-sort={
                  i !== sort.column ? 'none' : sort.descending ? 'descending' : 'ascending'
                }
              >
                {column.compare ? (
                  <button
                    type="button"
                    onClick={() =>
                      setSort({
                        column: i,
                        descending: i === sort.column ? !sort.descending : !column.isText,
                      })
                    }
                  >
                    {column.name}
                    <span aria-hidden="true">
                      {i !== sort.column ? '' : sort.descending ? ' ↓' : ' ↑'}
                    </span>
                  </button>
                ) : (
                  column.name
                )}
              </span>
            ))}
          </div>
        </div>
        <div role="rowgroup" className="sort-rows" style={{ height: count * ROW_HEIGHT_PX }}>
          {inView.map((row, i) => (
            <div
              key={row}
              role="row"
              aria-rowindex={view.first + i + 2}
              className={row === chosen ? 'sort-row open' : 'sort-row'}
              style={{ ...template, top: (view.first + i) * ROW_HEIGHT_PX }}
              onClick={() => choose?.(row)}
            >
              {columns.map((column) => (
                <span key={column.name} role="cell" className={column.isText ? 'text' : ''}>
                  {column.cell(row)}
                </span>
              ))}
            </div>
          ))}
        </div>
      </div>
    </div>
  );
}
