/** One span as a row: its place in the tree, its bar, and the wait before it if it received a message. */
import { memo } from 'react';
import type { MessageEdge } from '../trace/edges';
import { formatDuration } from '../trace/format';
import type { Span, Trace } from '../trace/model';
import { failsBelow, hasChildren } from '../trace/rows';
import { fraction, waitNotePlace } from '../trace/scale';

/** Pixels. */
const INDENT = 12;
/** Deeper spans are indented no further, so that their names stay readable. */
const DEEPEST_INDENT = 16;

export function rowId(index: number): string {
  return `span-${index}`;
}

interface SpanRowProps {
  readonly trace: Trace;
  readonly span: Span;
  readonly row: number;
  /** Pixels from the top of the rows. */
  readonly top: number;
  readonly colour: number;
  /** Edges that end at this span. */
  readonly received: readonly MessageEdge[];
  readonly laneWidth: number;
  readonly isActive: boolean;
  readonly isOpen: boolean;
  readonly isCollapsed: boolean;
  readonly look: (index: number) => void;
  readonly toggle: (index: number) => void;
}

export const SpanRow = memo(function SpanRow(props: SpanRowProps) {
  const { trace, span, row, top, colour, received, isActive, isOpen, isCollapsed, look } = props;
  const branch = hasChildren(span);
  return (
    <div
      id={rowId(span.index)}
      className={`row service-${colour}${isActive ? ' active' : ''}${isOpen ? ' open' : ''}`}
      role="row"
      aria-rowindex={row + 2}
      aria-level={span.depth + 1}
      aria-expanded={branch ? !isCollapsed : undefined}
      aria-selected={isOpen}
      style={{ top }}
      onClick={() => look(span.index)}
    >
      <NameCell {...props} />
      <div className="lane-cell" role="gridcell">
        <div className="lane">
          {received.map((edge) => (
            <Wait key={edge.from} trace={trace} edge={edge} laneWidth={props.laneWidth} />
          ))}
          <Bar trace={trace} span={span} />
        </div>
      </div>
    </div>
  );
});

function NameCell({ trace, span, received, isCollapsed, toggle }: SpanRowProps) {
  const failedBelow = isCollapsed && !span.failed && failsBelow(trace.spans, span);
  return (
    <div className="name-cell" role="gridcell">
      <span className="indent" style={{ width: `${Math.min(span.depth, DEEPEST_INDENT) * INDENT}px` }} />
      {hasChildren(span) ? (
        // The arrow keys do the same for keyboards; this is for the pointer only.
        <span
          className={isCollapsed ? 'twisty folded' : 'twisty'}
          aria-hidden="true"
          onClick={(event) => {
            event.stopPropagation();
            toggle(span.index);
          }}
        />
      ) : (
        <span className="twisty leaf" aria-hidden="true" />
      )}
      <span className="stripe" aria-hidden="true" />
      <span className="span-name" title={`${span.service} ${span.name}`}>
        <bdi className="span-service">{span.service}</bdi> <bdi>{span.name}</bdi>
      </span>
      {(span.failed || failedBelow) && (
        <span className={span.failed ? 'failure-mark' : 'failure-mark below'} title={span.failed ? 'Error' : 'Error below'}>
          <span aria-hidden="true">!</span>
          <span className="unseen">{span.failed ? 'error' : 'error below'}</span>
        </span>
      )}
      {span.oddity && <span className="oddity-mark">{span.oddity === 'cycle' ? 'cycle' : 'no parent'}</span>}
      {received.map((edge) => (
        <span key={edge.from} className="unseen">
          {edge.reference === 'FOLLOWS_FROM' ? 'follows from' : 'receives from'} {trace.spans[edge.from]?.name}
        </span>
      ))}
    </div>
  );
}

function Bar({ trace, span }: { readonly trace: Trace; readonly span: Span }) {
  const from = fraction(trace, span.start);
  const to = fraction(trace, span.end);
  return (
    <>
      <span
        className={`bar${span.failed ? ' failed' : ''}${span.duration === 0 ? ' instant' : ''}`}
        style={{ left: percent(from), width: percent(to - from) }}
      />
      <span className="bar-note" style={{ left: percent(to) }}>
        {formatDuration(span.duration)}
      </span>
      <span className="unseen">from {formatDuration(span.start - trace.start)}</span>
    </>
  );
}

interface WaitProps {
  readonly trace: Trace;
  readonly edge: MessageEdge;
  readonly laneWidth: number;
}

/** The time a message lay in its topic, as a stretch of its own. */
function Wait({ trace, edge, laneWidth }: WaitProps) {
  const sender = trace.spans[edge.from];
  if (!sender || edge.wait === undefined || edge.wait <= 0) return null;
  const from = fraction(trace, sender.end);
  const to = fraction(trace, sender.end + edge.wait);
  const side = waitNotePlace(from * laneWidth, to * laneWidth);
  const topic = edge.topic ?? 'the topic';
  const style = { left: percent(from), width: percent(to - from) };
  return (
    <span className="wait" style={style} title={`in ${topic} for ${formatDuration(edge.wait)}`}>
      <span className={side ? `wait-note ${side}` : 'unseen'}>
        <span className="wait-topic">
          in <bdi>{topic}</bdi>
        </span>{' '}
        {formatDuration(edge.wait)}
      </span>
    </span>
  );
}

function percent(part: number): string {
  return `${100 * part}%`;
}
