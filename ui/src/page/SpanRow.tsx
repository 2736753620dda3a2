/** One span as a row: its place in the tree, its bar, and the wait before it if it receivedEdges a message. */
import { memo, type ReactNode } from 'react';
import type { TimeAxis, TimeWindow } from '../trace/axis';
import { at } from '../trace/column';
import type { CriticalPath } from '../trace/critical';
import { receivedEdges } from '../trace/edges';
import { formatDuration } from '../trace/format';
import {
  CYCLE,
  countFailuresBelow,
  hasChildren,
  INFERRED,
  isFailed,
  MISSING_PARENT,
  nameOf,
  OPEN,
  SKEWED,
  serviceOf,
  type Trace,
} from '../trace/model';
import { COLLAPSED, runLength, UNFOLDED_RUN } from '../trace/rows';
import { attributesOf, evidenceOf, linkCount, messageOf } from '../trace/spanDetails';
import { BarCell } from './BarCell';
import { ROW_HEIGHT_PX } from './rowWindow';

/** Pixels. */
const INDENT = 12;
/** Deeper spans are indented no further, so that their names stay readable. */
const DEEPEST_INDENT = 14;

export function rowId(index: number): string {
  return `span-${index}`;
}

export interface SpanRowProps {
  readonly trace: Trace;
  readonly index: number;
  readonly row: number;
  readonly colour: number;
  readonly axis: TimeAxis;
  readonly window: TimeWindow;
  readonly runs: Int32Array;
  readonly fold: number;
  readonly critical: CriticalPath | undefined;
  readonly laneWidth: number;
  readonly laneTitle: ReactNode;
  readonly isActive: boolean;
  readonly isOpen: boolean;
  /** Whether the search that led here matched it. */
  readonly isMatched: boolean;
  readonly isFound: boolean;
  readonly isFaded: boolean;
  readonly look: (index: number) => void;
  readonly toggle: (index: number) => void;
}

export const SpanRow = memo(function SpanRow(props: SpanRowProps) {
  const { trace, index, row, colour, fold, runs, look } = props;
  const isRun = at(runs, index) > 0 && (fold & UNFOLDED_RUN) === 0;
  const isFolded = isRun || (fold & COLLAPSED) !== 0;
  const branch = isRun || hasChildren(trace, index);
  const classes = ['row', `service-${colour}`];
  if (props.isActive) classes.push('active');
  if (props.isOpen) classes.push('open');
  if (props.isFound) classes.push('found');
  if (props.isFaded) classes.push('faded');
  if (props.laneTitle) classes.push('lane-start');
  return (
    <div
      id={rowId(index)}
      className={classes.join(' ')}
      role="row"
      aria-rowindex={row + 2}
      aria-level={at(trace.depth, index) + 1}
      aria-expanded={branch ? !isFolded : undefined}
      aria-selected={props.isOpen}
      style={{ top: row * ROW_HEIGHT_PX }}
      onClick={() => look(index)}
    >
      <NameCell {...props} isRun={isRun} isFolded={isFolded} branch={branch} />
      <BarCell {...props} isRun={isRun} />
    </div>
  );
});

interface NameCellProps extends SpanRowProps {
  readonly isRun: boolean;
  readonly isFolded: boolean;
  readonly branch: boolean;
}

function NameCell({
  trace,
  index,
  runs,
  isRun,
  isFolded,
  branch,
  laneTitle,
  isMatched,
  toggle,
}: NameCellProps) {
  const failed = isFailed(trace, index);
  const failedBelow = isFolded && !failed && countFailuresBelow(trace, index) > 0;
  return (
    <div className="name-cell" role="gridcell">
      <span
        className="indent"
        style={{ width: `${Math.min(at(trace.depth, index), DEEPEST_INDENT) * INDENT}px` }}
      />
      {branch ? (
        // The arrow keys do the same for keyboards; this is for the pointer only.
        <span
          className={isFolded ? 'twisty folded' : 'twisty'}
          aria-hidden="true"
          onClick={(event) => {
            event.stopPropagation();
            toggle(index);
          }}
        />
      ) : (
        <span className="twisty leaf" aria-hidden="true" />
      )}
      <span className="stripe" aria-hidden="true" />
      <span className="span-name" title={`${serviceOf(trace, index)} ${nameOf(trace, index)}`}>
        <bdi className="span-service">{serviceOf(trace, index)}</bdi>{' '}
        <bdi>{nameOf(trace, index)}</bdi>
      </span>
      {isRun && (
        <span
          className="mark batch"
          title="Consumers of the same kind, one after the other: open to see each"
        >
          × {runLength(trace, runs, index)}
        </span>
      )}
      {isMatched && (
        <span className="mark matched" title="The search matched this span">
          match
        </span>
      )}
      <Batch trace={trace} index={index} />
      <Topic trace={trace} index={index} />
      {(failed || failedBelow) && (
        <span
          className={failed ? 'failure-mark' : 'failure-mark below'}
          title={failed ? 'Error' : 'Error below'}
        >
          <span aria-hidden="true">!</span>
          <span className="unseen">{failed ? 'error' : 'error below'}</span>
        </span>
      )}
      {failed && <StatusCode trace={trace} index={index} />}
      <SpanWarning trace={trace} index={index} />
      {laneTitle}
      {receivedEdges(trace.edges, index).map((edge) => (
        <span key={edge} className="unseen">
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

function Batch({ trace, index }: MarkProps) {
  const links = linkCount(trace, index);
  if (links < 2) return null;
  return (
    <span
      className="mark batch"
      title={`Received ${links} messages at once: the detail lists them`}
    >
      batch of {links}
    </span>
  );
}

/** Where the message was: topic, partition and offset, as far as the span says. */
function Topic({ trace, index }: MarkProps) {
  const message = messageOf(trace, index);
  if (!message?.topic) return null;
  const { topic, partition, offset, lag, group } = message;
  const place = `${topic}${partition === undefined ? '' : `/${partition}`}${offset === undefined ? '' : `@${offset}`}`;
  const title = [
    `topic ${topic}`,
    partition !== undefined && `partition ${partition}`,
    offset !== undefined && `offset ${offset}`,
    group && `group ${group}`,
    lag !== undefined && `lag ${lag}`,
  ]
    .filter(Boolean)
    .join(', ');
  return (
    <span className="mark topic" title={title}>
      <bdi>{place}</bdi>
      {lag !== undefined && lag > 0 && <span className="lag"> lag {lag}</span>}
    </span>
  );
}

/** What the server answered, or what kind of error it was. */
function StatusCode({ trace, index }: MarkProps) {
  const attributes = attributesOf(trace, index);
  const told = STATUS_KEYS.map(
    (key) => attributes.find((attribute) => attribute.key === key)?.value,
  ).find((value) => value);
  if (!told) return null;
  return (
    <span className="failure-note status-code" title={told}>
      <bdi>{told}</bdi>
    </span>
  );
}

const STATUS_KEYS = [
  'http.response.status_code',
  'http.status_code',
  'rpc.grpc.status_code',
  'error.type',
];

function SpanWarning({ trace, index }: MarkProps) {
  const flags = at(trace.flags, index);
  if ((flags & CYCLE) !== 0) return <span className="mark">cycle</span>;
  if ((flags & OPEN) !== 0)
    return (
      <span className="mark inferred" title="Begins a fragment: what caused it is not known (yet)">
        open
      </span>
    );
  if ((flags & INFERRED) !== 0) {
    const evidence = evidenceOf(trace, index);
    const sure =
      evidence?.confidence === undefined ? '' : ` ${Math.round(100 * evidence.confidence)} %`;
    return (
      <span
        className="mark inferred"
        title={`The parent is inferred (${evidence?.name ?? 'no evidence said'})${sure}`}
      >
        {evidence?.name}
        {sure}
      </span>
    );
  }
  if ((flags & MISSING_PARENT) !== 0) return <span className="mark">no parent</span>;
  if ((flags & SKEWED) !== 0) {
    const early = at(trace.begin, at(trace.parent, index)) - at(trace.begin, index);
    return (
      <span
        className="mark"
        title={`Begins ${formatDuration(early)} before the span that caused it: the clocks of the two differ. Nothing is moved.`}
      >
        clock −{formatDuration(early)}
      </span>
    );
  }
  return null;
}
