/** The messages and links of a span, with their other ends. */
import { Link } from '../shell/Link';
import { tracePath } from '../shell/navigation';
import { at } from '../trace/column';
import { formatDuration } from '../trace/format';
import { findSpan, nameOf, serviceOf, type Trace } from '../trace/model';
import type { SpanLink } from '../trace/spanDetails';
import { Section } from './Section';

/** Selects the span with this index. */
export type Follow = (index: number) => void;

interface SpanLinkProps {
  readonly trace: Trace;
  readonly index: number;
  readonly follow: Follow;
}

/** Longer lists are cut here and end with a count. */
const MAX_LISTED = 100;

/** Lists the messages of a span in both directions: received ones, and receivers of sent ones. */
export function MessageList({ trace, index, follow }: SpanLinkProps) {
  const { edges } = trace;
  const mine: number[] = [];
  for (let edge = 0; edge < edges.count; edge++) {
    if (edges.from[edge] === index || edges.to[edge] === index) mine.push(edge);
  }
  if (mine.length === 0) return null;
  return (
    <Section title="Messages" count={mine.length}>
      <ul className="message-list">
        {mine.slice(0, MAX_LISTED).map((edge) => {
          const sent = edges.from[edge] === index;
          return (
            <li key={edge}>
              {sent ? 'Received by ' : 'Sent by '}
              <SpanButton
                trace={trace}
                index={at(sent ? edges.to : edges.from, edge)}
                follow={follow}
              />
              <span className="quiet">
                {' '}
                {waitText(at(edges.wait, edge), edges.topic[edge] ?? '')}
              </span>
            </li>
          );
        })}
      </ul>
      {mine.length > MAX_LISTED && <p className="quiet">and {mine.length - MAX_LISTED} more</p>}
    </Section>
  );
}

function waitText(wait: number, topic: string): string {
  if (Number.isNaN(wait)) return '';
  if (wait < 0) return `${formatDuration(-wait)} before the send was acknowledged`;
  return `after ${formatDuration(wait)} in ${topic || 'the topic'}`;
}

interface LinkListProps extends SpanLinkProps {
  readonly links: readonly SpanLink[];
}

export function LinkList({ trace, links, follow }: LinkListProps) {
  if (links.length === 0) return null;
  return (
    <Section title="Links" count={links.length}>
      <ul className="reference-list">
        {links.slice(0, MAX_LISTED).map((link, i) => (
          <li key={i}>
            <LinkType link={link} /> <LinkTarget trace={trace} link={link} follow={follow} />
            {link.attributes.length > 0 && (
              <dl className="link-attributes">
                {link.attributes.map(({ key, value }, j) => (
                  <div key={j}>
                    <dt>
                      <bdi>{key}</bdi>
                    </dt>
                    <dd>
                      <bdi>{value}</bdi>
                    </dd>
                  </div>
                ))}
              </dl>
            )}
          </li>
        ))}
      </ul>
      {links.length > MAX_LISTED && <p className="quiet">and {links.length - MAX_LISTED} more</p>}
    </Section>
  );
}

function LinkType({ link }: { readonly link: SpanLink }) {
  const type = link.attributes.find(({ key }) => key === 'opentracing.ref_type')?.value;
  return (
    <code className="reference-type follows">
      {type === 'child_of' ? 'CHILD_OF' : 'FOLLOWS_FROM'}
    </code>
  );
}

function LinkTarget({
  trace,
  link,
  follow,
}: {
  readonly trace: Trace;
  readonly link: SpanLink;
  readonly follow: Follow;
}) {
  const target = findSpan(trace, link.spanId, link.traceId);
  if (target >= 0) return <SpanButton trace={trace} index={target} follow={follow} />;
  if (link.traceId === trace.id) {
    return (
      <>
        <code>{link.spanId}</code> <span className="quiet">(not in this trace)</span>
      </>
    );
  }
  return (
    <>
      span <code>{link.spanId}</code> of{' '}
      <Link to={tracePath(link.traceId, { span: link.spanId })}>another trace</Link>
      {' · '}
      <Link to={tracePath(trace.id, { view: 'journey', span: link.spanId })}>
        show both as a journey
      </Link>
    </>
  );
}

export function SpanButton({ trace, index, follow }: SpanLinkProps) {
  return (
    <button type="button" className="span-link" onClick={() => follow(index)}>
      <bdi>{serviceOf(trace, index)}</bdi> <bdi>{nameOf(trace, index)}</bdi>
    </button>
  );
}
