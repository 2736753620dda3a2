/**
 * Scatter plot of duration over time: one dot per trace, sized by its number of spans. Dragging
 * selects a range, a click opens a trace.
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

interface ScatterProps {
  readonly traces: readonly TraceSummary[];
  readonly onBrush: (brush: Brush | undefined) => void;
}

const HEIGHT_PX = 150;
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
    const plot = new uPlot(options(element, width, traces, onBrush), columns(traces), element);
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

function columns(traces: readonly TraceSummary[]): uPlot.AlignedData {
  const sorted = byTime(traces);
  return [
    sorted.map((trace) => trace.start / 1e6),
    sorted.map((trace) => Math.max(trace.duration, 1)),
  ];
}

function byTime(traces: readonly TraceSummary[]): TraceSummary[] {
  return [...traces].sort((a, b) => a.start - b.start);
}

function options(
  element: HTMLElement,
  width: number,
  traces: readonly TraceSummary[],
  onBrush: ScatterProps['onBrush'],
): uPlot.Options {
  const sorted = byTime(traces);
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
      draw: [(plot) => drawDots(plot, sorted, accent, failure)],
      setSelect: [(plot) => select(plot, onBrush)],
      ready: [(plot) => openOnClick(plot, sorted)],
    },
  };
}

/** Adds room on both sides, also if all traces start at the same time. */
function padded(min: number, max: number): [number, number] {
  const room = Math.max((max - min) * 0.03, 0.5);
  return [min - room, max + room];
}

/**
 * Returns the powers of ten in the range; if there are fewer than two, also multiples of 2 and 5.
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
  return powers.length >= 2 ? powers : marks([1, 2, 5]);
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
  accent: string,
  failure: string,
): void {
  const { ctx } = plot;
  ctx.save();
  for (const trace of traces) {
    const { x, y, radius } = dot(plot, trace, true);
    ctx.beginPath();
    ctx.arc(x, y, radius * devicePixelRatio, 0, 2 * Math.PI);
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

function dot(plot: uPlot, trace: TraceSummary, isCanvas: boolean) {
  return {
    x: plot.valToPos(trace.start / 1e6, 'x', isCanvas),
    y: plot.valToPos(Math.max(trace.duration, 1), 'y', isCanvas),
    radius: Math.min(3 + Math.log2(1 + trace.spans) * 0.9, 14),
  };
}

function select(plot: uPlot, onBrush: ScatterProps['onBrush']): void {
  const { left, top, width, height } = plot.select;
  if (width < 4 && height < 4) return;
  // A drag along one axis selects everything on the other.
  const isFlat = height < 4 || height >= plot.over.clientHeight - 1;
  const isSteep = width < 4 || width >= plot.over.clientWidth - 1;
  onBrush({
    from: isSteep ? 0 : plot.posToVal(left, 'x') * 1e6,
    to: isSteep ? Date.now() * 1e3 : plot.posToVal(left + width, 'x') * 1e6,
    shortest: isFlat ? 0 : plot.posToVal(top + height, 'y'),
    longest: isFlat ? 1e15 : plot.posToVal(top, 'y'),
  });
}

function openOnClick(plot: uPlot, traces: readonly TraceSummary[]): void {
  const nearest = (event: MouseEvent) => {
    const area = plot.over.getBoundingClientRect();
    const [px, py] = [event.clientX - area.left, event.clientY - area.top];
    let best: { trace: TraceSummary; far: number } | undefined;
    for (const trace of traces) {
      const { x, y } = dot(plot, trace, false);
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
