/** Comparison of two traces: call paths that only one of them has, and differences in time. */

import { useEffect, useMemo, useState } from 'react';
import { loadTrace } from '../page/TracePage';
import { Link } from '../shell/Link';
import { ErrorNotice, LoadingNotice } from '../shell/Notice';
import { comparePath, navigate, tracePath } from '../shell/navigation';
import { useRequest } from '../shell/request';
import { serviceColours } from '../trace/colour';
import { type ComparedRow, type ComparedSide, compareTraces } from '../trace/compare';
import { formatCount, formatDuration, formatTimestamp } from '../trace/format';
import { nameOf, serviceOf, type Trace } from '../trace/model';

const CHANGES: Record<ComparedRow['change'], string> = {
  'only-a': 'only in A',
  'only-b': 'only in B',
  more: 'more in B',
  fewer: 'fewer in B',
  same: '',
};

interface ComparePageProps {
  readonly a: string;
  readonly b: string;
}

export function ComparePage({ a, b }: ComparePageProps) {
  const found = useRequest(`${a} ${b}`, (signal) =>
    Promise.all([loadTrace(a, signal), loadTrace(b, signal)]),
  );
  useEffect(() => {
    document.title = 'Compare · Throughline';
  }, []);
  return (
    <main className="page">
      <h1 className="compare-title">Compare two traces</h1>
      {found.failure && !found.loading && (
        <ErrorNotice subject="the two traces" failure={found.failure} retry={found.reload} />
      )}
      {!found.value && found.loading && <LoadingNotice subject="the two traces" />}
      {found.value && <Comparison a={found.value[0]} b={found.value[1]} />}
    </main>
  );
}

function Comparison({ a, b }: { readonly a: Trace; readonly b: Trace }) {
  const rows = useMemo(() => compareTraces(a, b), [a, b]);
  const [isOnlyChanges, setOnlyChanges] = useState(false);
  const colours = useMemo(
    () => serviceColours([...a.services, ...b.services].map((service) => service.name)),
    [a, b],
  );
  const differing = rows.filter((row) => row.change !== 'same').length;
  const shown = isOnlyChanges ? rows.filter((row) => row.change !== 'same') : rows;
  const most = rows.reduce((largest, row) => Math.max(largest, Math.abs(row.difference)), 1);
  return (
    <>
      <div className="compare-heads">
        <Side name="A" trace={a} />
        <button type="button" onClick={() => navigate(comparePath(b.id, a.id))}>
          Swap
        </button>
        <Side name="B" trace={b} />
      </div>
      <p className="panel-note">
        <span>
          {durationText(b.duration - a.duration)};{' '}
          {differing === 0 ? 'both have the same call paths.' : differingText(differing)}
        </span>
        <label className="tick-box">
          <input
            type="checkbox"
            checked={isOnlyChanges}
            onChange={(event) => setOnlyChanges(event.target.checked)}
          />
          Differences only
        </label>
      </p>
      <section className="compare-scroll" tabIndex={0} aria-label="Differences">
        <table className="compare-table">
          <thead>
            <tr>
              <th scope="col">Service and span</th>
              <th scope="col">Difference</th>
              <th scope="col">Spans A</th>
              <th scope="col">Spans B</th>
              <th scope="col">Time A</th>
              <th scope="col">Time B</th>
              <th scope="col">B − A</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((row, i) => (
              <Row key={i} row={row} most={most} colour={colours.get(row.service) ?? 0} />
            ))}
          </tbody>
        </table>
      </section>
    </>
  );
}

/** Says which of the traces took longer; `difference` is B minus A in microseconds. */
function durationText(difference: number): string {
  if (difference === 0) return 'A and B took the same time';
  const time = formatDuration(Math.abs(difference));
  return `B was ${time} ${difference > 0 ? 'slower' : 'faster'} than A`;
}

function differingText(count: number): string {
  const verb = count === 1 ? 'differs' : 'differ';
  return `${formatCount(count, 'call path')} ${verb} in the number of spans.`;
}

function Side({ name, trace }: { readonly name: string; readonly trace: Trace }) {
  return (
    <div className="compare-side">
      <p>
        <strong>{name}</strong>{' '}
        <Link to={tracePath(trace.id)}>
          <bdi>{serviceOf(trace, trace.root)}</bdi> <bdi>{nameOf(trace, trace.root)}</bdi>
        </Link>
      </p>
      <p className="quiet">
        {formatTimestamp(trace.start)} · {formatDuration(trace.duration)} ·{' '}
        {formatCount(trace.count, 'span')} ·{' '}
        <span className={trace.failures > 0 ? 'failure-note' : ''}>
          {formatCount(trace.failures, 'error')}
        </span>
      </p>
    </div>
  );
}

interface RowProps {
  readonly row: ComparedRow;
  readonly most: number;
  readonly colour: number;
}

function Row({ row, most, colour }: RowProps) {
  const { a, b, difference } = row;
  return (
    <tr className={`change-${row.change}`}>
      <th scope="row">
        <span className="indent" style={{ width: Math.min(row.depth, 14) * 14 }} />
        <span className={`swatch service-${colour}`} aria-hidden="true" />
        <bdi className="span-service">{row.service}</bdi> <bdi>{row.name}</bdi>
      </th>
      <td className="change">{CHANGES[row.change]}</td>
      <Figures side={a} />
      <Figures side={b} />
      <td className="figure">{a && formatDuration(a.total)}</td>
      <td className="figure">{b && formatDuration(b.total)}</td>
      <td className="figure delta">
        <span
          className={difference > 0 ? 'delta-bar slower' : 'delta-bar faster'}
          style={{ width: `${(50 * Math.abs(difference)) / most}%` }}
          aria-hidden="true"
        />
        {difference > 0 ? '+' : ''}
        {formatDuration(difference)}
      </td>
    </tr>
  );
}

function Figures({ side }: { readonly side: ComparedSide | undefined }) {
  return (
    <td className="figure">
      {side?.count}
      {side && side.errors > 0 && (
        <span className="failure-note"> {formatCount(side.errors, 'error')}</span>
      )}
    </td>
  );
}
