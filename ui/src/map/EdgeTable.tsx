/** The connections between services and topics as a table, with the same figures as the map. */

import type { MapEdge } from '../api/types';
import { DEFAULT_QUERY, type Lookback, searchPath } from '../search/query';
import { Link } from '../shell/Link';
import { formatDuration, formatRate } from '../trace/format';

/** Messages come first, because other service maps leave them out. */
const ORDER = ['receive', 'send', 'call'];
const KINDS = { call: 'calls', send: 'sends to', receive: 'is received by' } as const;

export function EdgeTable({
  edges,
  lookback,
}: {
  readonly edges: readonly MapEdge[];
  readonly lookback: Lookback;
}) {
  return (
    <section className="edge-scroll" tabIndex={0} aria-label="Connections">
      <table className="edge-table">
        <thead>
          <tr>
            <th scope="col">From</th>
            <th scope="col">
              <span className="visually-hidden">Relation</span>
            </th>
            <th scope="col">To</th>
            <th scope="col">Rate</th>
            <th scope="col">Count</th>
            <th scope="col">Errors</th>
            <th scope="col">p50</th>
            <th scope="col">p95</th>
            <th scope="col">Queue p50</th>
            <th scope="col">Queue p95</th>
            <th scope="col">Max lag</th>
          </tr>
        </thead>
        <tbody>
          {[...edges]
            .sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind))
            .map((edge) => (
              <Row
                key={`${edge.kind} ${edge.from} ${edge.to} ${edge.group}`}
                edge={edge}
                lookback={lookback}
              />
            ))}
        </tbody>
      </table>
    </section>
  );
}

function Row({ edge, lookback }: { readonly edge: MapEdge; readonly lookback: Lookback }) {
  const { kind, from, to, group } = edge;
  const isMessage = kind !== 'call';
  const target = {
    ...DEFAULT_QUERY,
    lookback,
    service: kind === 'receive' ? to : from,
    topic: kind === 'send' ? to : kind === 'receive' ? from : '',
    errors: edge.errors > 0,
  };
  const micros = (value: number | null | undefined) =>
    value === null || value === undefined ? '' : formatDuration(value);
  return (
    <tr>
      <td>
        <bdi>{from}</bdi>
      </td>
      <td className={isMessage ? 'queue-note' : 'quiet'}>{KINDS[kind]}</td>
      <td>
        <bdi>{to}</bdi>
        {group && (
          <span className="quiet">
            {' '}
            group <bdi>{group}</bdi>
          </span>
        )}
      </td>
      <td className="figure">{formatRate(edge.rate)}/s</td>
      <td className="figure">
        <Link
          to={searchPath({ ...target, errors: false })}
          aria-label={`${edge.count}: search traces from ${from} to ${to}`}
        >
          {edge.count}
        </Link>
      </td>
      <td className="figure">
        {edge.errors > 0 ? (
          <Link
            className="failure-note"
            to={searchPath(target)}
            aria-label={`${edge.errors} errors: search traces from ${from} to ${to} with errors`}
          >
            {edge.errors}
          </Link>
        ) : (
          0
        )}
      </td>
      <td className="figure">{micros(edge.p50)}</td>
      <td className="figure">{micros(edge.p95)}</td>
      <td className="figure queue-note">{micros(edge.queue_p50)}</td>
      <td className="figure queue-note">{micros(edge.queue_p95)}</td>
      <td className="figure">{edge.lag_max ?? ''}</td>
    </tr>
  );
}
