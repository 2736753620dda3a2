/** Statistics of the spans, grouped as the reader chooses. */
import { useMemo, useState } from 'react';
import type { ViewProps } from '../page/viewProps';
import { formatDuration } from '../trace/format';
import {
  attributeKeys,
  type GroupStatistics,
  groupStatistics,
  type Statistic,
} from '../trace/stats';
import { type Column, SortTable } from './SortTable';

const GROUPINGS: readonly (readonly [string, readonly string[]])[] = [
  ['Service and operation', ['service', 'operation']],
  ['Service', ['service']],
  ['Operation', ['operation']],
];

const TIMES: readonly (readonly [Statistic, string])[] = [
  ['total', 'Total'],
  ['self', 'Self'],
  ['average', 'Average'],
  ['min', 'Min'],
  ['median', 'Median'],
  ['p95', 'p95'],
  ['max', 'Max'],
];

export function StatisticsView({ page, colours }: ViewProps) {
  const { trace, dispatch } = page;
  const [by, setBy] = useState('0');
  const keys = useMemo(() => attributeKeys(trace), [trace]);
  const grouping = useMemo(() => GROUPINGS[Number(by)]?.[1] ?? [by.slice(1)], [by]);
  const groups = useMemo(() => groupStatistics(trace, grouping), [trace, grouping]);
  const columns = useMemo(() => columnsOf(groups, grouping, colours), [groups, grouping, colours]);
  return (
    <section className="panel" aria-label="Statistics">
      <p className="panel-note">
        <label>
          Group by{' '}
          <select value={by} onChange={(event) => setBy(event.target.value)}>
            {GROUPINGS.map(([name], i) => (
              <option key={name} value={i}>
                {name}
              </option>
            ))}
            <optgroup label="Attribute">
              {keys.map((key) => (
                <option key={key} value={`=${key}`}>
                  {key}
                </option>
              ))}
            </optgroup>
          </select>
        </label>
        <span className="quiet">
          Self is time not covered by child spans. Click a row to select the first span of the
          group.
        </span>
      </p>
      <SortTable
        key={by}
        label="Statistics"
        columns={columns}
        count={groups.length}
        initial={{
          column: columns.findIndex((column) => column.name === 'Self'),
          descending: true,
        }}
        choose={(row) => dispatch({ type: 'select', index: groups[row]?.first ?? 0 })}
      />
    </section>
  );
}

function columnsOf(
  groups: readonly GroupStatistics[],
  grouping: readonly string[],
  colours: ReadonlyMap<string, number>,
): Column[] {
  const group = (row: number) => groups[row] as GroupStatistics;
  const names: Column[] = grouping.map((by, i) => ({
    name: by === 'service' ? 'Service' : by === 'operation' ? 'Operation' : by,
    size: 'minmax(140px, 2fr)',
    isText: true,
    compare: (a, b) => (group(a).names[i] ?? '').localeCompare(group(b).names[i] ?? ''),
    cell: (row) => (
      <>
        {by === 'service' && (
          <span
            className={`swatch service-${colours.get(group(row).names[i] ?? '') ?? 0}`}
            aria-hidden="true"
          />
        )}
        <bdi>{group(row).names[i]}</bdi>
      </>
    ),
  }));
  const figure = (
    name: Statistic,
    title: string,
    cell: (row: number) => React.ReactNode,
  ): Column => ({
    name: title,
    size: 'minmax(62px, 0.7fr)',
    compare: (a, b) => group(a)[name] - group(b)[name],
    cell,
  });
  return [
    ...names,
    figure('count', 'Spans', (row) => group(row).count),
    figure('errors', 'Errors', (row) => (
      <span className={group(row).errors > 0 ? 'failure-note' : ''}>{group(row).errors}</span>
    )),
    ...TIMES.map(([name, title]) =>
      figure(name, title, (row) => (
        <>
          {name === 'self' && (
            <span
              className="share"
              style={{ width: `${100 * group(row).share}%` }}
              aria-hidden="true"
            />
          )}
          {formatDuration(group(row)[name])}
        </>
      )),
    ),
  ];
}
