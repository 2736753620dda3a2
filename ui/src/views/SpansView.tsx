/** A table of all spans, or of the matches while a find is active. */
import { useMemo } from 'react';
import { Destination } from '../page/Destination';
import type { ViewProps } from '../page/viewProps';
import { at } from '../trace/column';
import { destinationOf } from '../trace/destination';
import { formatDuration } from '../trace/format';
import { isFailed, kindOf, nameOf, serviceOf } from '../trace/model';
import { selfTimes } from '../trace/self';
import { messageOf } from '../trace/spanDetails';
import { type Column, SortTable } from './SortTable';

export function SpansView({ page, colours }: ViewProps) {
  const { trace, state, dispatch } = page;
  const found = page.matches.spans;
  const isFinding = state.find !== '';
  const spans = useMemo(
    () => (!isFinding ? Int32Array.from({ length: trace.count }, (_, i) => i) : found),
    [trace, found, isFinding],
  );
  const columns = useMemo((): Column[] => {
    const self = selfTimes(trace);
    const of = (row: number) => at(spans, row);
    const number = (
      name: string,
      value: (index: number) => number,
      show: (value: number) => string,
    ): Column => ({
      name,
      size: 'minmax(76px, 0.6fr)',
      compare: (a, b) => value(of(a)) - value(of(b)),
      cell: (row) => show(value(of(row))),
    });
    return [
      {
        name: 'Service',
        size: 'minmax(120px, 1fr)',
        isText: true,
        compare: (a, b) => serviceOf(trace, of(a)).localeCompare(serviceOf(trace, of(b))),
        cell: (row) => (
          <>
            <span
              className={`swatch service-${colours.get(serviceOf(trace, of(row))) ?? 0}`}
              aria-hidden="true"
            />
            <bdi>{serviceOf(trace, of(row))}</bdi>
          </>
        ),
      },
      {
        name: 'Span',
        size: 'minmax(160px, 2fr)',
        isText: true,
        compare: (a, b) => nameOf(trace, of(a)).localeCompare(nameOf(trace, of(b))),
        cell: (row) => (
          <button
            type="button"
            className="span-link"
            onClick={() => dispatch({ type: 'select', index: of(row) })}
          >
            <bdi>{nameOf(trace, of(row))}</bdi>
            <Destination text={destinationOf(trace, of(row))} />
          </button>
        ),
      },
      {
        name: 'Kind',
        size: '84px',
        isText: true,
        compare: (a, b) => at(trace.kind, of(a)) - at(trace.kind, of(b)),
        cell: (row) => kindOf(trace, of(row)),
      },
      {
        name: 'Topic',
        size: 'minmax(90px, 0.8fr)',
        isText: true,
        cell: (row) => <bdi>{messageOf(trace, of(row))?.topic}</bdi>,
      },
      number('Start', (index) => at(trace.begin, index), formatDuration),
      number('Duration', (index) => at(trace.length, index), formatDuration),
      number('Self', (index) => at(self, index), formatDuration),
      {
        name: 'Error',
        size: '64px',
        compare: (a, b) => Number(isFailed(trace, of(a))) - Number(isFailed(trace, of(b))),
        cell: (row) =>
          isFailed(trace, of(row)) ? <span className="failure-note">error</span> : '',
      },
    ];
  }, [trace, spans, colours, dispatch]);
  const chosen = state.open ? spans.indexOf(state.active) : undefined;
  return (
    <section className="panel" aria-label="Spans">
      <SortTable
        label="Spans"
        columns={columns}
        count={spans.length}
        initial={{ column: 4, descending: false }}
        chosen={chosen}
        choose={(row) => dispatch({ type: 'select', index: at(spans, row) })}
      />
    </section>
  );
}
