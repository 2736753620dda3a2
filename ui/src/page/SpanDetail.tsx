/** The details of one span, beside the view. */
import { useMemo } from 'react';
import { CopyButton } from '../shell/CopyButton';
import { Link } from '../shell/Link';
import { loadTemplates } from '../shell/LinkSettings';
import { tracePath } from '../shell/navigation';
import { at } from '../trace/column';
import { destinationOf } from '../trace/destination';
import { evidenceMark, evidenceWords } from '../trace/evidence';
import { formatCount, formatDuration, formatPercent, formatTimestamp } from '../trace/format';
import {
  findSpan,
  isFailed,
  kindOf,
  NEGATIVE,
  nameOf,
  serviceOf,
  spanIdOf,
  type Trace,
} from '../trace/model';
import { selfTimes } from '../trace/self';
import { type ParentCandidate, readSpanDetails, type SpanDetails } from '../trace/spanDetails';
import { AttributeTable } from './AttributeTable';
import { Destination } from './Destination';
import { type Follow, LinkList, MessageList, SpanButton } from './DetailLinks';
import { Section } from './Section';
import type { PageModel } from './state';

interface SpanDetailProps {
  readonly page: PageModel;
  readonly index: number;
  readonly colours: ReadonlyMap<string, number>;
  readonly follow: Follow;
  readonly close: () => void;
}

export function SpanDetail({ page, index, colours, follow, close }: SpanDetailProps) {
  const { trace } = page;
  const detail = useMemo(() => readSpanDetails(trace, index), [trace, index]);
  const self = useMemo(() => selfTimes(trace), [trace]);
  const templates = loadTemplates();
  const service = serviceOf(trace, index);
  const kind = kindOf(trace, index);
  const destination = destinationOf(trace, index);
  const tableProps = {
    service,
    traceId: trace.responses[at(trace.lane, index)]?.trace_id ?? trace.id,
    spanId: spanIdOf(trace, index),
    templates,
  };
  return (
    <aside
      className={`detail service-${colours.get(service) ?? 0}`}
      aria-label="Span details"
      // The content scrolls, so the keyboard must be able to focus it.
      tabIndex={0}
      onKeyDown={(event) => {
        if (event.key === 'Escape') close();
      }}
    >
      <div className="detail-head">
        <p className="detail-service">
          <span className="swatch" aria-hidden="true" />
          <bdi>{service}</bdi>
          {kind && <span className="kind">{kind}</span>}
          {isFailed(trace, index) && <span className="failure-note">error</span>}
        </p>
        <button type="button" className="close" aria-label="Close details" onClick={close}>
          ×
        </button>
        <h2>
          <bdi>{nameOf(trace, index)}</bdi>
        </h2>
        {destination && (
          <p className="detail-destination">
            <Destination text={destination} />
          </p>
        )}
        {detail.statusMessage && <p className="status-message">{detail.statusMessage}</p>}
      </div>
      <Facts trace={trace} index={index} self={at(self, index)} />
      <Message detail={detail} />
      <MessageList trace={trace} index={index} follow={follow} />
      <LinkList trace={trace} index={index} links={detail.links} follow={follow} />
      <Parent detail={detail} />
      <Candidates detail={detail} trace={trace} follow={follow} />
      {detail.attributes.length > 0 && (
        <Section title="Attributes" count={detail.attributes.length}>
          <AttributeTable attributes={detail.attributes} {...tableProps} />
        </Section>
      )}
      <Events detail={detail} tableProps={tableProps} />
      {detail.resource.length > 0 && (
        <Section title="Resource" count={detail.resource.length}>
          <AttributeTable attributes={detail.resource} {...tableProps} />
        </Section>
      )}
      {detail.scope && (
        <Section title="Instrumentation">
          <bdi>{detail.scope}</bdi>
        </Section>
      )}
      {detail.dropped > 0 && (
        <p className="quiet detail-note">
          The sender dropped {detail.dropped} attributes, events or links.
        </p>
      )}
    </aside>
  );
}

interface FactsProps {
  readonly trace: Trace;
  readonly index: number;
  readonly self: number;
}

function Facts({ trace, index, self }: FactsProps) {
  const begin = at(trace.begin, index);
  return (
    <dl className="facts">
      <div>
        <dt>Start</dt>
        <dd title={formatTimestamp(trace.start + begin)}>{formatDuration(begin)}</dd>
      </div>
      <div>
        <dt>Duration</dt>
        <dd>
          {formatDuration(at(trace.length, index))}
          {(at(trace.flags, index) & NEGATIVE) !== 0 && ' (sent with an end before the start)'}
        </dd>
      </div>
      <div>
        <dt>Self time</dt>
        <dd title="Time not covered by child spans">{formatDuration(self)}</dd>
      </div>
      <div>
        <dt>Span ID</dt>
        <dd>
          <code>{spanIdOf(trace, index)}</code>{' '}
          <CopyButton text={spanIdOf(trace, index)} subject="span ID" />
        </dd>
      </div>
    </dl>
  );
}

function Message({ detail: { message } }: { readonly detail: SpanDetails }) {
  if (!message) return null;
  const facts: readonly (readonly [string, string | number | undefined])[] = [
    ['Topic', message.topic],
    ['Partition', message.partition],
    ['Offset', message.offset],
    ['Group', message.group],
    ['Time in topic', message.queue === undefined ? undefined : formatDuration(message.queue)],
    ['Lag', message.lag === undefined ? undefined : formatCount(message.lag, 'message')],
  ];
  return (
    <dl className="facts message-facts">
      {facts.map(
        ([name, value]) =>
          value !== undefined &&
          value !== '' && (
            <div key={name}>
              <dt>{name}</dt>
              <dd>
                <bdi>{value}</bdi>
              </dd>
            </div>
          ),
      )}
    </dl>
  );
}

/** The evidence for the parent, unless the parent needs no explanation. */
function Parent({ detail: { evidence, missingParent } }: { readonly detail: SpanDetails }) {
  if (!evidence && !missingParent) return null;
  return (
    <Section title="Parent">
      {evidence && (
        <p>
          <span className={evidence.inferred ? 'mark inferred' : 'mark'}>
            <bdi>{evidenceMark(evidence)}</bdi>
          </span>{' '}
          <bdi>{evidenceWords(evidence)}</bdi>
        </p>
      )}
      {missingParent && (
        <p>
          <code>{missingParent}</code> <span className="quiet">(not in this trace)</span>
        </p>
      )}
    </Section>
  );
}

/** The parents that were considered, and how likely each is. */
function Candidates({
  detail: { candidates },
  trace,
  follow,
}: {
  readonly detail: SpanDetails;
  readonly trace: Trace;
  readonly follow: Follow;
}) {
  const others = candidates.filter(({ chosen }) => !chosen);
  if (others.length === 0) return null;
  return (
    <details className="candidates">
      <summary>{formatCount(others.length, 'alternative parent')}</summary>
      <ul className="candidate-list">
        {others.map((candidate) => (
          <li key={`${candidate.traceId}/${candidate.spanId}`}>
            <span className="mark inferred">{formatPercent(candidate.confidence)}</span>{' '}
            <Candidate candidate={candidate} trace={trace} follow={follow} />
          </li>
        ))}
      </ul>
    </details>
  );
}

function Candidate({
  candidate: { traceId, spanId, service, name },
  trace,
  follow,
}: {
  readonly candidate: ParentCandidate;
  readonly trace: Trace;
  readonly follow: Follow;
}) {
  if (traceId === '') return <span>none: the service called on its own</span>;
  const label = <bdi>{name ? `${service} ${name}` : spanId}</bdi>;
  const here = findSpan(trace, spanId);
  return here >= 0 ? (
    <SpanButton trace={trace} index={here} follow={follow} />
  ) : (
    <Link to={tracePath(traceId, { span: spanId })}>{label}</Link>
  );
}

function Events({
  detail,
  tableProps,
}: {
  readonly detail: SpanDetails;
  readonly tableProps: Parameters<typeof AttributeTable>[0] extends infer P
    ? Omit<P, 'attributes'>
    : never;
}) {
  if (detail.events.length === 0) return null;
  return (
    <Section title="Events" count={detail.events.length}>
      <ol className="event-list">
        {detail.events.map((event, i) => (
          <li key={i}>
            <span className="quiet">{formatDuration(event.time)}</span> <bdi>{event.name}</bdi>
            {event.attributes.length > 0 && (
              <AttributeTable attributes={event.attributes} {...tableProps} />
            )}
          </li>
        ))}
      </ol>
    </Section>
  );
}
