/**
 * Scatter plot of duration over time: one dot per trace, sized by its number of spans. Dragging
 * selects a range, a click opens a trace. Absurd durations and starts are drawn at the edge.
 */
import { useEffect, useRef } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import type { TraceSummary } from '../api/types';
import { useElementWidth } from '../page/elementWidth';
import { navigate, tracePath } from '../shell/navigation';
import { resolvedColour, useThemeChanges } from '../shell/theme';
import { formatCount, formatDuration } from '../trace/format';
import type { Brush } from './brush';
import { usualMaximum } from './usualRange';

interface ScatterProps {
  readonly traces: readonly TraceSummary[];
  readonly onBrush: (brush: Brush | undefined) => void;
}

const HEIGHT_PX = 150;
/** Marks of the duration axis that fit into its height. */
const MAX_MARKS = 6;
/** Seconds between time labels; labels do not show fractions of a second. */
const TIME_STEPS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400,
  172_800, 604_800, 2_419_200,
];
/** Maximum distance in pixels between a click and the dot that it opens. */
const CLICK_RADIUS_PX = 12;

export default function Scatter({ traces, onBrush }: ScatterProps) {
  const [box, width] = useElementWidth<HTMLDivElement>();
  const place = useRef<HTMLDivElement>(null);
  const theme = useThemeChanges();
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new theme needs a redraw
  useEffect(() => {
    const element = place.current;
    if (!element || width === 0 || traces.length === 0) return undefined;
    const sorted = byTime(traces);
    const ranges = rangesOf(sorted);
    const plot = new uPlot(
      options(element, width, { sorted, ranges }, onBrush),
      columns(sorted, ranges),
      element,
    );
    return () => plot.destroy();
  }, [traces, width, theme, onBrush]);
  return (
    <div className="scatter" ref={box}>
      <div
        ref={place}
        role="img"
        aria-label={`Duration over time of ${formatCount(traces.length, 'trace')}, listed below`}
        style={{ minHeight: HEIGHT_PX }}
      />
    </div>
  );
}

/** Ranges of the plot: what is beyond them is drawn at their edges. */
interface PlotRanges {
  /** Seconds since the epoch. */
  readonly latest: number;
  /** Microseconds. */
  readonly longest: number;
}

function rangesOf(traces: readonly TraceSummary[]): PlotRanges {
  // Seen from the earliest start, one in another century is as absurd as such a duration.
  const starts = traces.map((trace) => trace.start);
  const earliest = starts.reduce((least, start) => Math.min(least, start), Infinity);
  return {
    latest: (earliest + usualMaximum(starts.map((start) => start - earliest))) / 1e6,
    longest: Math.max(usualMaximum(traces.map((trace) => trace.duration)), 1),
  };
}

function columns(sorted: readonly TraceSummary[], ranges: PlotRanges): uPlot.AlignedData {
  return [
    sorted.map((trace) => Math.min(trace.start / 1e6, ranges.latest)),
    sorted.map((trace) => Math.min(Math.max(trace.duration, 1), ranges.longest)),
  ];
}

function byTime(traces: readonly TraceSummary[]): TraceSummary[] {
  return [...traces].sort((a, b) => a.start - b.start);
}

function options(
  element: HTMLElement,
  width: number,
  { sorted, ranges }: { sorted: readonly TraceSummary[]; ranges: PlotRanges },
  onBrush: ScatterProps['onBrush'],
): uPlot.Options {
  const colour = (name: string) => resolvedColour(element, name);
  const [text, line, accent, failure] = [
    colour('--quiet'),
    colour('--line'),
    colour('--accent'),
    colour('--failure'),
  ];
  const axis = {
    stroke: text,
    grid: { stroke: line, width: 1 },
    ticks: { show: false },
    font: '12px Inter, system-ui, sans-serif',
  };
  return {
    width,
    height: HEIGHT_PX,
    legend: { show: false },
    cursor: { drag: { x: true, y: true, setScale: false, uni: 8 }, points: { show: false } },
    scales: {
      x: { time: true, range: (_, min, max) => padded(min, max) },
      y: { distr: 3, range: (_, min, max) => [min / 1.8, Math.max(max, 10) * 1.8] },
    },
    axes: [
      {
        ...axis,
        size: 26,
        space: 72,
        incrs: TIME_STEPS,
        values: (_, splits, __, ___, step) => splits.map((seconds) => formatTime(seconds, step)),
      },
      {
        ...axis,
        size: 62,
        splits: (_, __, min, max) => powersOfTen(min, max),
        filter: (_, splits) => splits,
        values: (_, splits) => splits.map(formatDuration),
      },
    ],
    series: [{}, { paths: () => null, points: { show: false } }],
    hooks: {
      draw: [(plot) => drawDots(plot, sorted, ranges, [accent, failure])],
      setSelect: [(plot) => select(plot, ranges, onBrush)],
      ready: [(plot) => openOnClick(plot, sorted, ranges)],
    },
  };
}

/** Adds room on both sides, also if all traces start at the same time. */
function padded(min: number, max: number): [number, number] {
  const room = Math.max((max - min) * 0.03, 0.5);
  return [min - room, max + room];
}

/**
 * Returns the powers of ten in the range, not more than there is room for; if there are fewer than
 * two, also multiples of 2 and 5.
 */
function powersOfTen(min: number, max: number): number[] {
  const marks = (factors: readonly number[]) => {
    const found: number[] = [];
    for (let power = 1; power <= max; power *= 10)
      for (const factor of factors)
        if (factor * power >= min && factor * power <= max) found.push(factor * power);
    return found;
  };
  const powers = marks([1]);
  if (powers.length < 2) return marks([1, 2, 5]);
  const every = Math.ceil(powers.length / MAX_MARKS);
  return powers.filter((_, i) => i % every === 0);
}

/** Formats a local time with the precision that the step of the axis needs. */
function formatTime(seconds: number, step: number): string {
  const date = new Date(seconds * 1e3);
  const two = (value: number) => String(value).padStart(2, '0');
  if (step >= 86_400) return `${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return step < 60 ? `${clock}:${two(date.getSeconds())}` : clock;
}

function drawDots(
  plot: uPlot,
  traces: readonly TraceSummary[],
  ranges: PlotRanges,
  [accent, failure]: readonly [string, string],
): void {
  const { ctx } = plot;
  ctx.save();
  for (const trace of traces) {
    const { x, y, radius, isBeyond } = dot(plot, trace, ranges, true);
    const size = radius * devicePixelRatio;
    ctx.beginPath();
    if (isBeyond) {
      // An arrow: the trace is further out than the plot.
      ctx.moveTo(x, y - 1.6 * size);
      ctx.lineTo(x + 1.3 * size, y + size);
      ctx.lineTo(x - 1.3 * size, y + size);
      ctx.closePath();
    } else {
      ctx.arc(x, y, size, 0, 2 * Math.PI);
    }
    const colour = trace.errors > 0 ? failure : accent;
    ctx.fillStyle = colour;
    ctx.globalAlpha = 0.4;
    ctx.fill();
    ctx.globalAlpha = 1;
    ctx.strokeStyle = colour;
    ctx.lineWidth = devicePixelRatio;
    ctx.stroke();
  }
  ctx.restore();
}

function dot(plot: uPlot, trace: TraceSummary, ranges: PlotRanges, isCanvas: boolean) {
  const [seconds, duration] = [trace.start / 1e6, Math.max(trace.duration, 1)];
  return {
    x: plot.valToPos(Math.min(seconds, ranges.latest), 'x', isCanvas),
    y: plot.valToPos(Math.min(duration, ranges.longest), 'y', isCanvas),
    isBeyond: seconds > ranges.latest || duration > ranges.longest,
    radius: Math.min(3 + Math.log2(1 + trace.spans) * 0.9, 14),
  };
}

function select(plot: uPlot, ranges: PlotRanges, onBrush: ScatterProps['onBrush']): void {
  const { left, top, width, height } = plot.select;
  if (width < 4 && height < 4) return;
  // A drag along one axis selects everything on the other.
  const isFlat = height < 4 || height >= plot.over.clientHeight - 1;
  const isSteep = width < 4 || width >= plot.over.clientWidth - 1;
  const [to, longest] = [plot.posToVal(left + width, 'x'), plot.posToVal(top, 'y')];
  onBrush({
    from: isSteep ? 0 : plot.posToVal(left, 'x') * 1e6,
    // The edge stands for everything beyond it.
    to: isSteep || to >= ranges.latest ? Infinity : to * 1e6,
    shortest: isFlat ? 0 : plot.posToVal(top + height, 'y'),
    longest: isFlat || longest >= ranges.longest ? Infinity : longest,
  });
}

function openOnClick(plot: uPlot, traces: readonly TraceSummary[], ranges: PlotRanges): void {
  const nearest = (event: MouseEvent) => {
    const area = plot.over.getBoundingClientRect();
    const [px, py] = [event.clientX - area.left, event.clientY - area.top];
    let best: { trace: TraceSummary; far: number } | undefined;
    for (const trace of traces) {
      const { x, y } = dot(plot, trace, ranges, false);
      const far = Math.hypot(x - px, y - py);
      if (far <= CLICK_RADIUS_PX && (!best || far < best.far)) best = { trace, far };
    }
    return best?.trace;
  };
  plot.over.addEventListener('mousemove', (event) => {
    const trace = nearest(event);
    plot.over.style.cursor = trace ? 'pointer' : 'crosshair';
    plot.over.title = trace ? describe(trace) : '';
  });
  plot.over.addEventListener('click', (event) => {
    const trace = plot.select.width < 4 && plot.select.height < 4 ? nearest(event) : undefined;
    if (trace) navigate(tracePath(trace.trace_id));
  });
}

function describe({ service, operation, duration, spans }: TraceSummary): string {
  return `${service} ${operation}: ${formatDuration(duration)}, ${formatCount(spans, 'span')}`;
}
