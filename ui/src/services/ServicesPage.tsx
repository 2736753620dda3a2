/** Rate, errors and latencies of services and operations, and the traffic of topics, over time. */

import { useEffect } from 'react';
import { DEFAULT_QUERY, LOOKBACKS, type Lookback, searchPath } from '../search/query';
import { Freshness } from '../shell/Freshness';
import { Link } from '../shell/Link';
import { EmptyNotice, ErrorNotice, LoadingNotice } from '../shell/Notice';
import { navigate } from '../shell/navigation';
import { useRequest } from '../shell/request';
import { formatCount, formatDuration, formatPercent, formatRate } from '../trace/format';
import { Sparkline } from './Sparkline';
import {
  type Figures,
  fetchFigures,
  greatest,
  latest,
  mean,
  type ServiceFigures,
  type TopicFigures,
  timeSteps,
} from './serviceSeries';

export default function ServicesPage({ query }: { readonly query: string }) {
  const params = new URLSearchParams(query);
  const wanted = params.get('lookback') ?? '';
  const lookback: Lookback = Object.hasOwn(LOOKBACKS, wanted) ? (wanted as Lookback) : '1h';
  const service = params.get('service') ?? undefined;
  const found = useRequest(`${lookback} ${service ?? ''}`, (signal) =>
    fetchFigures(timeSteps(LOOKBACKS[lookback].minutes, Date.now()), service, signal),
  );
  useEffect(() => {
    document.title = `${service ?? 'Services'} · Throughline`;
  }, [service]);
  return (
    <main className="page services-page">
      <div className="map-head">
        <h1>{service === undefined ? 'Services' : <bdi>{service}</bdi>}</h1>
        {service !== undefined && <Link to={servicesPath(lookback)}>All services</Link>}
        <label>
          <span className="visually-hidden">Time range</span>
          <select
            value={lookback}
            onChange={(event) => navigate(servicesPath(event.target.value, service))}
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
      </div>
      <Freshness isListLoading={found.loading} />
      {found.failure && !found.loading && (
        <ErrorNotice subject="the services" failure={found.failure} retry={found.reload} />
      )}
      {!found.value && found.loading && <LoadingNotice subject="the services" />}
      {found.value && <Tables figures={found.value} lookback={lookback} service={service} />}
    </main>
  );
}

function servicesPath(lookback: string, service?: string): string {
  const params = new URLSearchParams({ lookback, ...(service !== undefined && { service }) });
  return `services?${params}`;
}

interface TablesProps {
  readonly figures: Figures;
  readonly lookback: Lookback;
  readonly service: string | undefined;
}

function Tables({ figures: { services, topics }, lookback, service }: TablesProps) {
  if (services.length === 0 && topics.length === 0) {
    return (
      <EmptyNotice title="No traffic in this time range">
        <p>Choose a longer time range, or send some requests and reload.</p>
      </EmptyNotice>
    );
  }
  const subject = service === undefined ? 'Service' : 'Operation';
  return (
    <>
      <section className="edge-scroll" tabIndex={0} aria-label={`${subject}s`}>
        <table className="edge-table">
          <thead>
            <tr>
              <th scope="col">{subject}</th>
              <th scope="col">Rate</th>
              <th scope="col">Rate over time</th>
              <th scope="col">Errors</th>
              <th scope="col">Errors over time</th>
              <th scope="col">p50</th>
              <th scope="col">p95</th>
              <th scope="col">p99</th>
              <th scope="col">p95 over time</th>
            </tr>
          </thead>
          <tbody>
            {services.map((figures) => (
              <ServiceRow
                key={figures.name}
                figures={figures}
                lookback={lookback}
                service={service}
              />
            ))}
          </tbody>
        </table>
      </section>
      {topics.length > 0 && <TopicTable topics={topics} lookback={lookback} />}
    </>
  );
}

interface ServiceRowProps {
  readonly figures: ServiceFigures;
  readonly lookback: Lookback;
  readonly service: string | undefined;
}

function ServiceRow({ figures, lookback, service }: ServiceRowProps) {
  const { name, rate, errors, p50, p95, p99 } = figures;
  const calls = mean(rate);
  const failed = mean(errors);
  const query = { ...DEFAULT_QUERY, lookback, service: service ?? name };
  const operation = service === undefined ? '' : name;
  return (
    <tr>
      <td>
        {service === undefined ? (
          <Link to={servicesPath(lookback, name)}>
            <bdi>{name}</bdi>
          </Link>
        ) : (
          <Link to={searchPath({ ...query, operation })}>
            <bdi>{name}</bdi>
          </Link>
        )}
      </td>
      <td>{formatRate(calls)}/s</td>
      <td>
        <Sparkline label="Rate" line={rate} format={(value) => `${formatRate(value)}/s`} />
      </td>
      <td>
        {failed > 0 ? (
          <Link to={searchPath({ ...query, operation, errors: true })}>
            {formatPercent(failed / calls)}
          </Link>
        ) : (
          '0 %'
        )}
      </td>
      <td>
        {failed > 0 ? (
          <Sparkline
            label="Errors"
            line={errors}
            format={(value) => `${formatRate(value)}/s`}
            isFailure
          />
        ) : (
          <span className="quiet">none</span>
        )}
      </td>
      <td>{seconds(latest(p50))}</td>
      <td>{seconds(latest(p95))}</td>
      <td>{seconds(latest(p99))}</td>
      <td>
        <Sparkline label="p95" line={p95} format={seconds} />
      </td>
    </tr>
  );
}

interface TopicTableProps {
  readonly topics: readonly TopicFigures[];
  readonly lookback: Lookback;
}

function TopicTable({ topics, lookback }: TopicTableProps) {
  return (
    <section className="edge-scroll" tabIndex={0} aria-label="Topics">
      <table className="edge-table">
        <thead>
          <tr>
            <th scope="col">Topic</th>
            <th scope="col">Sent</th>
            <th scope="col">Received</th>
            <th scope="col">Received over time</th>
            <th scope="col">Queue p50</th>
            <th scope="col">Queue p95</th>
            <th scope="col">Queue p95 over time</th>
            <th scope="col">Max lag</th>
          </tr>
        </thead>
        <tbody>
          {topics.map(({ name, sent, received, queue50, queue95, lag }) => (
            <tr key={name}>
              <td>
                <Link to={searchPath({ ...DEFAULT_QUERY, lookback, topic: name })}>
                  <bdi>{name}</bdi>
                </Link>
              </td>
              <td>{formatRate(mean(sent))}/s</td>
              <td>{formatRate(mean(received))}/s</td>
              <td>
                <Sparkline
                  label="Received"
                  line={received}
                  format={(value) => `${formatRate(value)}/s`}
                />
              </td>
              <td>{seconds(latest(queue50))}</td>
              <td>{seconds(latest(queue95))}</td>
              <td>
                <Sparkline label="Queue p95" line={queue95} format={seconds} />
              </td>
              <td>{messages(greatest(lag))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function seconds(value: number | undefined): string {
  return value === undefined ? '' : formatDuration(value * 1e6);
}

function messages(lag: number | undefined): string {
  return lag === undefined ? '' : formatCount(Math.round(lag), 'message');
}
