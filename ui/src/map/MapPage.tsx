/** The service map: services, topics and their connections over a time range. */

import { useEffect, useMemo, useState } from 'react';
import { fetchMap } from '../api/client';
import type { MapEdge, MapResponse, MapService, MapTopic } from '../api/types';
import { type CanvasEdge, type CanvasNode, GraphCanvas } from '../graph/GraphCanvas';
import { DEFAULT_QUERY, LOOKBACKS, type Lookback, searchPath } from '../search/query';
import { Freshness } from '../shell/Freshness';
import { Link } from '../shell/Link';
import { EmptyNotice, ErrorNotice, LoadingNotice } from '../shell/Notice';
import { navigate } from '../shell/navigation';
import { useRequest } from '../shell/request';
import { serviceColours } from '../trace/colour';
import { formatDuration, formatPercent, formatRate } from '../trace/format';
import { EdgeTable } from './EdgeTable';

/** Maximum number of nodes in the layout. */
const MAX_NODES = 250;

export default function MapPage({ query }: { readonly query: string }) {
  const params = new URLSearchParams(query);
  const wanted = params.get('lookback') ?? '';
  const lookback: Lookback = Object.hasOwn(LOOKBACKS, wanted) ? (wanted as Lookback) : '1h';
  const found = useRequest(lookback, (signal) => {
    const end = Date.now() * 1e3;
    return fetchMap(
      new URLSearchParams({
        start: String(end - LOOKBACKS[lookback].minutes * 60e6),
        end: String(end),
      }),
      signal,
    );
  });
  useEffect(() => {
    document.title = 'Map · Throughline';
  }, []);
  return (
    <main className="page map-page">
      <div className="map-head">
        <h1>Service map</h1>
        <label>
          <span className="visually-hidden">Time range</span>
          <select
            value={lookback}
            onChange={(event) => navigate(`map?lookback=${event.target.value}`)}
          >
            {Object.entries(LOOKBACKS).map(([value, { label }]) => (
              <option key={value} value={value}>
                {label}
              </option>
            ))}
          </select>
        </label>
        <button type="button" onClick={found.reload}>
          Reload
        </button>
        {found.value && (
          <span className="quiet">{found.value.spans.toLocaleString('en')} spans</span>
        )}
      </div>
      <Freshness isListLoading={found.loading} />
      {found.failure && !found.loading && (
        <ErrorNotice subject="the map" failure={found.failure} retry={found.reload} />
      )}
      {!found.value && found.loading && <LoadingNotice subject="the map" />}
      {found.value && <ServiceMap response={found.value} lookback={lookback} />}
    </main>
  );
}

function ServiceMap({
  response,
  lookback,
}: {
  readonly response: MapResponse;
  readonly lookback: Lookback;
}) {
  const [chosen, setChosen] = useState<string>();
  const colours = useMemo(
    () => serviceColours(response.services.map((service) => service.name)),
    [response],
  );
  const nodes = useMemo(() => canvasNodes(response, colours), [response, colours]);
  const edges = useMemo(
    () => canvasEdges(response.edges, new Set(nodes.map((node) => node.id))),
    [response, nodes],
  );
  if (response.services.length === 0) {
    return (
      <EmptyNotice title="No traffic in this time range">
        <p>Choose a longer time range, or send some requests and reload.</p>
      </EmptyNotice>
    );
  }
  const [kind, name] = chosen?.split('\u0000') ?? [];
  const near = response.edges.filter(
    (edge) => chosen === undefined || idsOf(edge).includes(chosen),
  );
  const target = {
    ...DEFAULT_QUERY,
    lookback,
    ...(kind === 'topic' ? { topic: name ?? '' } : { service: name ?? '' }),
  };
  return (
    <>
      {(response.more || response.services.length + response.topics.length > nodes.length) && (
        <p className="remarks">Only the busiest services and topics are shown.</p>
      )}
      <GraphCanvas
        label="Map of services and topics"
        nodes={nodes}
        edges={edges}
        chosen={chosen}
        choose={setChosen}
      />
      <div className="map-foot">
        <h2>{chosen === undefined ? 'All connections' : `Connections of ${name}`}</h2>
        {chosen !== undefined && (
          <Link to={searchPath(target)}>
            Search traces {kind === 'topic' ? 'through topic' : 'of'} <bdi>{name}</bdi>
          </Link>
        )}
      </div>
      <EdgeTable edges={near} lookback={lookback} />
    </>
  );
}

function canvasNodes(response: MapResponse, colours: ReadonlyMap<string, number>): CanvasNode[] {
  const services = [...response.services]
    .sort((a, b) => b.spans - a.spans)
    .slice(0, MAX_NODES - Math.min(response.topics.length, 100));
  const topics = [...response.topics]
    .sort((a, b) => b.sent + b.received - a.sent - a.received)
    .slice(0, 100);
  return [
    ...services.map((service) => serviceNode(service, response.seconds, colours)),
    ...topics.map(topicNode),
  ];
}

function serviceNode(
  { name, spans, errors }: MapService,
  seconds: number,
  colours: ReadonlyMap<string, number>,
): CanvasNode {
  const rate = formatRate(spans / Math.max(seconds, 1));
  const share = errors > 0 ? `${formatPercent(errors / spans)} errors` : '';
  return {
    id: `service\u0000${name}`,
    width: Math.min(
      Math.max(name.length * 8.2 + 52, (rate.length + share.length) * 7 + 84, 140),
      260,
    ),
    height: 50,
    label: `Service ${name}: ${rate} spans a second${share && `, ${share}`}`,
    className: `operation service-${colours.get(name) ?? 0}${errors > 0 ? ' failed' : ''}`,
    content: (
      <>
        <span className="graph-name">
          <span className="swatch" aria-hidden="true" />
          <bdi>{name}</bdi>
        </span>
        <span className="graph-times">
          {rate} spans/s {share && <span className="failure-note">{share}</span>}
        </span>
      </>
    ),
  };
}

function topicNode({ name, sent, received }: MapTopic): CanvasNode {
  return {
    id: `topic\u0000${name}`,
    width: Math.min(Math.max(name.length * 8.2 + 44, 176), 260),
    height: 50,
    label: `Topic ${name}: ${sent} sent, ${received} received`,
    className: 'topic',
    content: (
      <>
        <span className="graph-name">
          <span className="visually-hidden">Topic </span>
          <bdi>{name}</bdi>
        </span>
        <span className="graph-times">
          {sent} sent · {received} received
        </span>
      </>
    ),
  };
}

/** Returns the node IDs of both ends of an edge. */
export function idsOf({ kind, from, to }: MapEdge): [string, string] {
  return [
    `${kind === 'receive' ? 'topic' : 'service'}\u0000${from}`,
    `${kind === 'send' ? 'topic' : 'service'}\u0000${to}`,
  ];
}

function canvasEdges(edges: readonly MapEdge[], known: ReadonlySet<string>): CanvasEdge[] {
  return edges.flatMap((edge) => {
    const [from, to] = idsOf(edge);
    if (!known.has(from) || !known.has(to)) return [];
    const kindClass = edge.kind === 'call' ? 'call' : 'message';
    const queueTime = edge.queue_p95 ?? undefined;
    const label =
      edge.kind === 'receive' && queueTime !== undefined
        ? `${formatDuration(queueTime)} in topic`
        : `${formatRate(edge.rate)}/s`;
    return [
      {
        id: `${from}\u0001${to}\u0001${edge.group}`,
        from,
        to,
        label,
        className: `${kindClass}${edge.errors > 0 ? ' failed' : ''}`,
      },
    ];
  });
}
