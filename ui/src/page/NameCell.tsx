/** The left cell of a row: position in the tree, name, and marks for messages and problems. */
import type { ReactNode } from 'react';
import { at } from '../trace/column';
import { destinationOf } from '../trace/destination';
import { receivedEdges } from '../trace/edges';
import { evidenceMark, evidenceWords } from '../trace/evidence';
import { formatDuration } from '../trace/format';
import {
  CYCLE,
  countFailuresBelow,
  INFERRED,
  isFailed,
  MISSING_PARENT,
  NEGATIVE,
  nameOf,
  OPEN,
  SKEWED,
  serviceOf,
  type Trace,
} from '../trace/model';
import { runLength } from '../trace/rows';
import { attributesOf, evidenceOf, linkCount, messageOf } from '../trace/spanDetails';
import { Destination } from './Destination';
import type { TimelineModel } from './timelineModel';

const INDENT_PX = 12;
const MAX_TITLE = 500;
/** Deeper spans are not indented further, so that their names stay readable. */
const MAX_INDENT_DEPTH = 14;
/** The first of these that a failed span has is shown beside its name. */
const STATUS_KEYS = [
  'http.response.status_code',
  'http.status_code',
  'rpc.grpc.status_code',
  'error.type',
];

interface NameCellProps {
  readonly timeline: TimelineModel;
  readonly index: number;
  readonly folding: RowFolding;
  readonly laneTitle: ReactNode;
  readonly isSearchMatch: boolean;
}

interface RowFolding {
  readonly isExpandable: boolean;
  readonly isFolded: boolean;
  /** Whether the row represents a run of similar consumers. */
  readonly isRun: boolean;
}

export function NameCell({ timeline, index, folding, laneTitle, isSearchMatch }: NameCellProps) {
  const { trace, runs, dispatch } = timeline;
  const indent = Math.min(at(trace.depth, index), MAX_INDENT_DEPTH) * INDENT_PX;
  return (
    <div className="name-cell" role="gridcell">
      <span className="indent" style={{ width: `${indent}px` }} />
      {folding.isExpandable ? (
        // For the pointer only: the arrow keys of the grid do the same.
        <span
          className={folding.isFolded ? 'twisty folded' : 'twisty'}
          aria-hidden="true"
          onClick={(event) => {
            event.stopPropagation();
            dispatch({ type: 'toggle', index });
          }}
        />
      ) : (
        <span className="twisty leaf" aria-hidden="true" />
      )}
      <span className="stripe" aria-hidden="true" />
      <SpanName trace={trace} index={index} />
      {folding.isRun && (
        <span className="mark batch" title="Similar consumers in a row; expand to see each">
          × {runLength(trace, runs, index)}
        </span>
      )}
      {isSearchMatch && (
        <span className="mark matched" title="Matched by the search">
          match
        </span>
      )}
      <BatchMark trace={trace} index={index} />
      <TopicMark trace={trace} index={index} />
      <FailureMark trace={trace} index={index} isFolded={folding.isFolded} />
      <ParentMark trace={trace} index={index} />
      {(at(trace.flags, index) & NEGATIVE) !== 0 && (
        <span
          className="mark"
          title="The end that was sent is before the start; drawn as an instant"
        >
          negative duration
        </span>
      )}
      {laneTitle}
      {receivedEdges(trace.edges, index).map((edge) => (
        <span key={edge} className="visually-hidden">
          {trace.edges.linked[edge] === 1 ? 'follows from' : 'receives from'}{' '}
          {nameOf(trace, at(trace.edges.from, edge))}
        </span>
      ))}
    </div>
  );
}

interface MarkProps {
  readonly trace: Trace;
  readonly index: number;
}

function SpanName({ trace, index }: MarkProps) {
  const [service, name] = [serviceOf(trace, index), nameOf(trace, index)];
  const destination = destinationOf(trace, index);
  return (
    <span
      className="span-name"
      title={`${service} ${name}${destination && ` → ${destination}`}`.slice(0, MAX_TITLE)}
    >
      <bdi className="span-service">{service}</bdi> <bdi>{name}</bdi>
      <Destination text={destination} />
    </span>
  );
}

function BatchMark({ trace, index }: MarkProps) {
  const links = linkCount(trace, index);
  if (links < 2) return null;
  const title = `Received ${links} messages at once; the details list them`;
  return (
    <span className="mark batch" title={title}>
      batch of {links}
    </span>
  );
}

/** Topic, partition, offset and lag of the message, as far as the span has them. */
function TopicMark({ trace, index }: MarkProps) {
  const message = messageOf(trace, index);
  if (!message?.topic) return null;
  const { topic, partition, offset, lag, group } = message;
  const partitionText = partition === undefined ? '' : `/${partition}`;
  const offsetText = offset === undefined ? '' : `@${offset}`;
  const title = [
    `topic ${topic}`,
    partition !== undefined && `partition ${partition}`,
    offset !== undefined && `offset ${offset}`,
    group && `group ${group}`,
    lag !== undefined && `lag ${lag}`,
  ];
  return (
    <span className="mark topic" title={title.filter(Boolean).join(', ')}>
      <bdi>{`${topic}${partitionText}${offsetText}`}</bdi>
      {lag !== undefined && lag > 0 && <span className="lag"> lag {lag}</span>}
    </span>
  );
}

function FailureMark({ trace, index, isFolded }: MarkProps & { readonly isFolded: boolean }) {
  const failed = isFailed(trace, index);
  if (!failed && !(isFolded && countFailuresBelow(trace, index) > 0)) return null;
  return (
    <>
      <span
        className={failed ? 'failure-mark' : 'failure-mark below'}
        title={failed ? 'Error' : 'Error below'}
      >
        <span aria-hidden="true">!</span>
        <span className="visually-hidden">{failed ? 'error' : 'error below'}</span>
      </span>
      {failed && <StatusCode trace={trace} index={index} />}
    </>
  );
}

/** The response status or the kind of error. */
function StatusCode({ trace, index }: MarkProps) {
  const attributes = attributesOf(trace, index);
  const status = STATUS_KEYS.map(
    (key) => attributes.find((attribute) => attribute.key === key)?.value,
  ).find((value) => value);
  if (!status) return null;
  return (
    <span className="failure-note status-code" title={status}>
      <bdi>{status}</bdi>
    </span>
  );
}

/** Says when the parent of the span is not simply the one that it carried. */
function ParentMark({ trace, index }: MarkProps) {
  const flags = at(trace.flags, index);
  if ((flags & CYCLE) !== 0) return <span className="mark">parent cycle</span>;
  if ((flags & OPEN) !== 0)
    return (
      <span className="mark inferred" title="Start of a fragment whose cause is unknown">
        open
      </span>
    );
  if ((flags & INFERRED) !== 0) return <InferredMark trace={trace} index={index} />;
  if ((flags & MISSING_PARENT) !== 0) return <span className="mark">missing parent</span>;
  if ((flags & SKEWED) !== 0) {
    const early = formatDuration(at(trace.begin, at(trace.parent, index)) - at(trace.begin, index));
    const title =
      `Starts ${early} before the span that caused it: the clocks of the two services differ. ` +
      'Times are drawn as recorded.';
    return (
      <span className="mark" title={title}>
        clock −{early}
      </span>
    );
  }
  return null;
}

function InferredMark({ trace, index }: MarkProps) {
  const evidence = evidenceOf(trace, index);
  if (!evidence) return null;
  return (
    <span className="mark inferred" title={`Inferred parent: ${evidenceWords(evidence)}`}>
      <bdi>{evidenceMark(evidence)}</bdi>
    </span>
  );
}
