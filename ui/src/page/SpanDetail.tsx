/** All that is known of one span. */
import { Fragment, type ReactNode } from 'react';
import { CopyButton } from '../shell/CopyButton';
import { linkTo, tracePath } from '../shell/navigation';
import type { MessageEdge } from '../trace/edges';
import { formatDuration } from '../trace/format';
import type { Attribute, Reference, Span, SpanEvent, Trace } from '../trace/model';

interface SpanDetailProps {
  readonly trace: Trace;
  readonly span: Span;
  readonly colour: number;
  readonly follow: Follow;
  readonly leave: () => void;
}

/** Goes to the span with this index. */
type Follow = (index: number) => void;

export function SpanDetail({ trace, span, colour, follow, leave }: SpanDetailProps) {
  return (
    <aside
      className={`detail service-${colour}`}
      aria-label="Span detail"
      onKeyDown={(event) => {
        if (event.key === 'Escape') leave();
      }}
    >
      <div className="detail-head">
        <p className="detail-service">
          <span className="swatch" aria-hidden="true" />
          <bdi>{span.service}</bdi>
          {span.kind && <span className="kind">{span.kind}</span>}
          {span.failed && <span className="failure-note">error</span>}
        </p>
        <button type="button" className="close" aria-label="Close the detail" onClick={leave}>
          ×
        </button>
        <h2>
          <bdi>{span.name}</bdi>
        </h2>
      </div>
      <dl className="facts">
        <div>
          <dt>Starts at</dt>
          <dd>{formatDuration(span.start - trace.start)}</dd>
        </div>
        <div>
          <dt>Duration</dt>
          <dd>{formatDuration(span.duration)}</dd>
        </div>
        <div>
          <dt>Span id</dt>
          <dd>
            <code>{span.id}</code> <CopyButton text={span.id} what="span id" />
          </dd>
        </div>
      </dl>
      <Messages trace={trace} span={span} follow={follow} />
      <References trace={trace} span={span} follow={follow} />
      <Attributes title="Attributes" attributes={span.attributes} />
      <Attributes title="Resource" attributes={span.resource} />
      <Events events={span.events} start={trace.start} />
      <Warnings warnings={span.warnings} />
    </aside>
  );
}

type PartProps = Omit<SpanDetailProps, 'colour' | 'leave'>;

/** Both directions: what this span received, and where what it sent was received. */
function Messages({ trace, span, follow }: PartProps) {
  const edges = trace.edges.filter((edge) => edge.from === span.index || edge.to === span.index);
  if (edges.length === 0) return null;
  return (
    <Section title="Messages">
      <ul className="message-list">
        {edges.map((edge) => {
          const sent = edge.from === span.index;
          const other = trace.spans[sent ? edge.to : edge.from];
          return (
            <li key={`${edge.from}-${edge.to}`}>
              {sent ? 'Received by ' : 'Sent by '}
              {other && <SpanLink span={other} follow={follow} />}
              <span className="quiet"> {waitText(edge)}</span>
            </li>
          );
        })}
      </ul>
    </Section>
  );
}

function waitText({ wait, topic }: MessageEdge): string {
  if (wait === undefined) return '';
  if (wait < 0) return `${formatDuration(-wait)} before the send was acknowledged`;
  return `after ${formatDuration(wait)} in ${topic ?? 'the topic'}`;
}

function References({ trace, span, follow }: PartProps) {
  if (span.references.length === 0) return null;
  return (
    <Section title="References">
      <ul className="reference-list">
        {span.references.map((reference, i) => (
          <li key={i}>
            <code className={reference.type === 'FOLLOWS_FROM' ? 'reference-type follows' : 'reference-type'}>
              {reference.type}
            </code>{' '}
            <ReferenceTarget trace={trace} reference={reference} follow={follow} />
          </li>
        ))}
      </ul>
    </Section>
  );
}

interface ReferenceTargetProps {
  readonly trace: Trace;
  readonly reference: Reference;
  readonly follow: Follow;
}

function ReferenceTarget({ trace, reference, follow }: ReferenceTargetProps) {
  const target = reference.target === undefined ? undefined : trace.spans[reference.target];
  if (target) return <SpanLink span={target} follow={follow} />;
  if (!reference.elsewhere) {
    return (
      <>
        <code>{reference.spanId}</code> <span className="quiet">(not in this trace)</span>
      </>
    );
  }
  return (
    <>
      span <code>{reference.spanId}</code> of{' '}
      <a {...linkTo(tracePath(reference.traceId, reference.spanId))}>another trace</a>
    </>
  );
}

function SpanLink({ span, follow }: { readonly span: Span; readonly follow: Follow }) {
  return (
    <button type="button" className="span-link" onClick={() => follow(span.index)}>
      <bdi>{span.service}</bdi> <bdi>{span.name}</bdi>
    </button>
  );
}

function Attributes({ title, attributes }: { readonly title: string; readonly attributes: readonly Attribute[] }) {
  if (attributes.length === 0) return null;
  return (
    <Section title={title}>
      <AttributeTable attributes={attributes} />
    </Section>
  );
}

function AttributeTable({ attributes }: { readonly attributes: readonly Attribute[] }) {
  return (
    <table className="attributes">
      <tbody>
        {attributes.map(({ key, value }, i) => (
          <tr key={i}>
            <th scope="row">
              <bdi>{breakable(key)}</bdi>
            </th>
            <td>
              <bdi>{value}</bdi>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** A dotted name that breaks after its dots rather than within a word. */
function breakable(name: string): ReactNode {
  return name.split(/(?<=[._])/).map((part, i) => (
    <Fragment key={i}>
      {i > 0 && <wbr />}
      {part}
    </Fragment>
  ));
}

function Events({ events, start }: { readonly events: readonly SpanEvent[]; readonly start: number }) {
  if (events.length === 0) return null;
  return (
    <Section title="Events">
      <ol className="event-list">
        {events.map((event, i) => (
          <li key={i}>
            <span className="quiet">{formatDuration(event.time - start)}</span> <bdi>{event.name}</bdi>
            {event.attributes.length > 0 && <AttributeTable attributes={event.attributes} />}
          </li>
        ))}
      </ol>
    </Section>
  );
}

function Warnings({ warnings }: { readonly warnings: readonly string[] }) {
  if (warnings.length === 0) return null;
  return (
    <Section title="Warnings">
      <ul>
        {warnings.map((warning) => (
          <li key={warning}>{warning}</li>
        ))}
      </ul>
    </Section>
  );
}

function Section({ title, children }: { readonly title: string; readonly children: ReactNode }) {
  return (
    <section>
      <h3>{title}</h3>
      {children}
    </section>
  );
}
