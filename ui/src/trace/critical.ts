/**
 * Critical paths: the spans that determine the duration, found by walking back from the end.
 *
 * *Blocking*: the time that the root span waited, without messages, as their senders do not wait.
 * *End to end*: from the first start of the trace to the end of its work. Each moment counts once:
 * for a span on the path, for the topic in which its message waited, or as idle. Where the path
 * ends at a root, it continues with the span that ran last before that.
 *
 * Commits and acknowledgements are on no path: nothing waits for them.
 */
import { at } from './column';
import { endOf, SETTLES, type Trace } from './model';
import { CONSUMER, PRODUCER } from './spanKind';
import { NONE } from './tree';

export type PathKind = 'blocking' | 'end-to-end';

/** Segments of the path, each within one span, in order of spans and then of time. */
export interface CriticalPath {
  readonly span: Int32Array;
  readonly from: Float64Array;
  readonly to: Float64Array;
  /** First segment of each span; one entry longer than the spans. */
  readonly first: Int32Array;
  /** Queue time on the path, by edge. */
  readonly queues: ReadonlyMap<number, number>;
  readonly length: number;
  readonly queued: number;
  /** Time in which nothing on the path ran; end to end only. */
  readonly idle: number;
}

interface PathSegment {
  readonly span: number;
  readonly from: number;
  readonly to: number;
}

export function criticalPath(trace: Trace, kind: PathKind): CriticalPath {
  const walk = new PathWalk(trace, kind);
  if (kind === 'end-to-end') walk.throughAll();
  else if (trace.root !== NONE) walk.back(trace.root, endOf(trace, trace.root));
  const segments = walk.segments.sort((a, b) => a.span - b.span || a.from - b.from);
  const first = new Int32Array(trace.count + 1);
  for (const { span } of segments) first[span + 1] = at(first, span + 1) + 1;
  for (let i = 0; i < trace.count; i++) first[i + 1] = at(first, i + 1) + at(first, i);
  return {
    span: Int32Array.from(segments, (segment) => segment.span),
    from: Float64Array.from(segments, (segment) => segment.from),
    to: Float64Array.from(segments, (segment) => segment.to),
    first,
    queues: walk.queues,
    length: segments.reduce((sum, { from, to }) => sum + to - from, 0),
    queued: walk.queued,
    idle: walk.idle,
  };
}

/** Finds the span that ran last before a time. */
class LastRunning {
  /** Spans in order of start. */
  private readonly order: Int32Array;
  /** For each place in the order, the span up to there that ends last. */
  private readonly latest: Int32Array;

  constructor(private readonly trace: Trace) {
    const spans = Int32Array.from(trace.begin.keys());
    const work = spans.filter((i) => (at(trace.flags, i) & SETTLES) === 0);
    this.order = work.length > 0 ? work : spans;
    this.order.sort((a, b) => at(trace.begin, a) - at(trace.begin, b));
    let latest = NONE;
    this.latest = this.order.map((span) => {
      if (latest === NONE || endOf(trace, span) > endOf(trace, latest)) latest = span;
      return latest;
    });
  }

  /** Of the spans that start before the time, returns the one that ends last. */
  before(time: number): number {
    let [low, high] = [0, this.order.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (at(this.trace.begin, at(this.order, middle)) < time) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? NONE : at(this.latest, low - 1);
  }
}

class PathWalk {
  readonly segments: PathSegment[] = [];
  readonly queues = new Map<number, number>();
  queued = 0;
  idle = 0;
  /** Children by parent, last end first; each is visited once, because the walk only goes back. */
  private readonly children: Int32Array;
  private readonly next: Int32Array;
  private readonly visited: Uint8Array;

  constructor(
    private readonly trace: Trace,
    private readonly kind: PathKind,
  ) {
    const { count, parent } = trace;
    this.next = new Int32Array(count + 1);
    for (const above of parent)
      if (above !== NONE) this.next[above + 1] = at(this.next, above + 1) + 1;
    for (let i = 0; i < count; i++) this.next[i + 1] = at(this.next, i + 1) + at(this.next, i);
    this.children = Int32Array.from(parent.keys())
      .filter((i) => parent[i] !== NONE)
      .sort((a, b) => at(parent, a) - at(parent, b) || endOf(trace, b) - endOf(trace, a));
    this.visited = new Uint8Array(count);
    this.ends = this.next.slice(1);
  }

  private readonly ends: Int32Array;

  /** Walks from the end of the work to the first start. */
  throughAll(): void {
    const running = new LastRunning(this.trace);
    let time = this.trace.duration;
    // A trace whose spans have no length is one moment.
    for (let span = running.before(time); span !== NONE && time > 0; span = running.before(time)) {
      const end = Math.min(endOf(this.trace, span), time);
      this.idle += time - end;
      time = this.back(span, end);
    }
  }

  /** Walks back from a time within a span, and returns the time at which the path ends. */
  back(start: number, from: number): number {
    let span = start;
    let time = from;
    this.visited[span] = 1;
    for (;;) {
      const child = this.lastChild(span, time, from);
      if (child !== NONE) {
        const end = Math.min(endOf(this.trace, child), time);
        this.add(span, end, time);
        this.visited[child] = 1;
        span = child;
        time = end;
        continue;
      }
      const begin = at(this.trace.begin, span);
      this.add(span, begin, time);
      time = Math.min(time, begin);
      const cause = this.cause(span, time, start);
      if (!cause) return time;
      ({ span, time } = cause);
    }
  }

  private add(span: number, from: number, to: number): void {
    if (to > from) this.segments.push({ span, from, to });
  }

  /**
   * Returns the last unvisited child that ended before `time`, or still ran at `from`, where the
   * walk began.
   */
  private lastChild(span: number, time: number, from: number): number {
    const limit = at(this.ends, span);
    const begin = at(this.trace.begin, span);
    for (let place = at(this.next, span); place < limit; place++) {
      const child = at(this.children, place);
      const effectiveEnd = Math.min(endOf(this.trace, child), endOf(this.trace, span), from);
      if (
        this.visited[child] === 1 ||
        this.isMessage(span, child) ||
        (at(this.trace.flags, child) & SETTLES) !== 0 ||
        // By a clock that differs, it ended before its parent began.
        endOf(this.trace, child) < begin ||
        at(this.trace.begin, child) >= time ||
        effectiveEnd > time
      )
        continue;
      this.next[span] = place + 1;
      return child;
    }
    this.next[span] = limit;
    return NONE;
  }

  /** The sender of a message does not wait for its receiver. */
  private isMessage(parent: number, child: number): boolean {
    return this.trace.kind[parent] === PRODUCER && this.trace.kind[child] === CONSUMER;
  }

  /** Returns the span that caused this one to start. */
  private cause(
    span: number,
    time: number,
    start: number,
  ): { span: number; time: number } | undefined {
    const { trace } = this;
    if (this.kind === 'blocking') {
      if (span === start) return undefined;
      return { span: at(trace.parent, span), time };
    }
    const { edges } = trace;
    for (let edge = at(edges.receivedFrom, span); edge < at(edges.receivedFrom, span + 1); edge++) {
      const sender = at(edges.from, edge);
      if (this.visited[sender] === 1) continue;
      this.visited[sender] = 1;
      const sent = Math.min(endOf(trace, sender), time);
      if (Number.isNaN(at(edges.wait, edge))) {
        this.idle += time - sent;
      } else {
        this.queues.set(edge, time - sent);
        this.queued += time - sent;
      }
      return { span: sender, time: sent };
    }
    const parent = at(trace.parent, span);
    if (parent === NONE) return undefined;
    this.visited[parent] = 1;
    // Of a call that nobody waited for, the parent ended earlier.
    const reached = Math.min(time, endOf(trace, parent));
    this.idle += time - reached;
    return { span: parent, time: reached };
  }
}
