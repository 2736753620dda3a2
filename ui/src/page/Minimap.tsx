/** Overview of the whole trace: drag to zoom, double-click to show the full range. */
import { type PointerEvent, useEffect, useRef } from 'react';
import { resolvedColour, useThemeChanges } from '../shell/theme';
import { clampWindow, fullWindow, positionIn } from '../trace/axis';
import { at } from '../trace/column';
import { endOf, isFailed, type Trace } from '../trace/model';
import { useElementWidth } from './elementWidth';
import { percent } from './Ruler';
import type { PageModel } from './state';

const HEIGHT_PX = 52;
/** In pixels; a shorter drag is a click. */
const MIN_DRAG_PX = 4;

interface MinimapProps {
  readonly page: PageModel;
  readonly colours: ReadonlyMap<string, number>;
}

export function Minimap({ page, colours }: MinimapProps) {
  const { scale, state, dispatch } = page;
  const { axis, window } = scale;
  const [box, width] = useElementWidth<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const drag = useRef<number | undefined>(undefined);
  const selection = useRef<HTMLSpanElement>(null);
  useDrawing(canvas, page, colours, width);

  const parseLocation = (event: PointerEvent) => {
    const area = event.currentTarget.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - area.left) / area.width, 0), 1);
  };
  const begin = (event: PointerEvent<HTMLDivElement>) => {
    drag.current = parseLocation(event);
    event.currentTarget.setPointerCapture(event.pointerId);
  };
  const move = (event: PointerEvent) => {
    const element = selection.current;
    if (drag.current === undefined || !element) return;
    const [left, right] = [drag.current, parseLocation(event)].sort((a, b) => a - b) as [
      number,
      number,
    ];
    element.style.left = percent(left);
    element.style.width = percent(right - left);
  };
  const end = (event: PointerEvent) => {
    const from = drag.current;
    drag.current = undefined;
    if (selection.current) selection.current.style.width = '0';
    if (from === undefined) return;
    const [left, right] = [from, parseLocation(event)].sort((a, b) => a - b) as [number, number];
    if ((right - left) * width < MIN_DRAG_PX) return;
    dispatch({
      type: 'set',
      part: { window: clampWindow(axis, { from: left * axis.length, to: right * axis.length }) },
    });
  };
  const all = fullWindow(axis).to || 1;
  return (
    <div className="minimap">
      <div
        className="minimap-area"
        aria-hidden="true"
        ref={box}
        title="Drag to zoom in; double-click to show the full range"
        onPointerDown={begin}
        onPointerMove={move}
        onPointerUp={end}
        onDoubleClick={() => dispatch({ type: 'set', part: { window: undefined } })}
      >
        <canvas ref={canvas} style={{ height: HEIGHT_PX }} />
        {state.window && (
          <>
            <span className="minimap-out" style={{ left: 0, width: percent(window.from / all) }} />
            <span className="minimap-out" style={{ left: percent(window.to / all), right: 0 }} />
          </>
        )}
        <span className="minimap-ghost" ref={selection} />
      </div>
    </div>
  );
}

function useDrawing(
  canvas: React.RefObject<HTMLCanvasElement | null>,
  { trace, scale }: PageModel,
  colours: ReadonlyMap<string, number>,
  width: number,
): void {
  const { axis } = scale;
  const theme = useThemeChanges();
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new theme needs a redraw
  useEffect(() => {
    const element = canvas.current;
    if (!element || width === 0) return;
    const full = { axis, window: fullWindow(axis) };
    paint(element, trace, width, (time) => positionIn(full, time), colours);
  }, [canvas, trace, axis, colours, width, theme]);
}

function paint(
  canvas: HTMLCanvasElement,
  trace: Trace,
  width: number,
  place: (time: number) => number,
  colours: ReadonlyMap<string, number>,
): void {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = HEIGHT_PX * ratio;
  canvas.style.width = `${width}px`;
  const context = canvas.getContext('2d');
  if (!context) return;
  context.scale(ratio, ratio);
  const colourOf = trace.services.map(({ name }) =>
    resolvedColour(canvas, `--service-${colours.get(name) ?? 0}`),
  );
  const failure = resolvedColour(canvas, '--failure');
  const step = (HEIGHT_PX - 6) / trace.count;
  const height = Math.min(Math.max(step * 0.7, 1), 5);
  for (let i = 0; i < trace.count; i++) {
    const from = place(at(trace.begin, i)) * width;
    const length = Math.max(place(endOf(trace, i)) * width - from, 1);
    context.fillStyle = isFailed(trace, i) ? failure : (colourOf[at(trace.service, i)] ?? failure);
    context.fillRect(from, 3 + i * step, length, height);
  }
}
