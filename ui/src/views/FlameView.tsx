/** The flame graph: spans with the same call path are merged; a click zooms into a frame. */
import { type KeyboardEvent, useEffect, useMemo, useRef, useState } from 'react';
import { percent } from '../page/Ruler';
import type { ViewProps } from '../page/viewProps';
import { parseFind } from '../trace/find';
import { type FlameFrame, flameGraph } from '../trace/flame';
import { formatCount, formatDuration, formatPercent } from '../trace/format';

/** Frames narrower than this fraction would be invisible and are not drawn. */
const MIN_FRAME_FRACTION = 0.0006;
const FRAME_HEIGHT_PX = 24;
/** Levels are drawn in steps of this many, so that not every pixel of scrolling draws. */
const LEVEL_STEP = 20;

export function FlameView({ page, colours }: ViewProps) {
  const graph = useMemo(() => flameGraph(page.trace), [page.trace]);
  const [focus, setFocus] = useState<number>();
  const [scroller, levels] = useVisibleLevels();
  const focused = focus === undefined ? undefined : graph.frames[focus];
  const left = focused?.left ?? 0;
  const width = focused?.width ?? graph.width;
  const wanted = parseFind(page.state.find);
  const isWanted = ({ service, name }: FlameFrame) =>
    (wanted.service === undefined || wanted.service === service) &&
    wanted.words.every((word) => `${service} ${name}`.toLowerCase().includes(word));
  const shown = graph.frames.flatMap((frame, i) => {
    const from = (frame.left - left) / width;
    const part = frame.width / width;
    const isAbove =
      focused !== undefined &&
      frame.left <= left &&
      frame.left + frame.width >= left + width &&
      frame.depth < focused.depth;
    const isIn =
      from + part > 1e-9 &&
      from < 1 - 1e-9 &&
      (focused === undefined || frame.depth >= focused.depth);
    return (isAbove || isIn) && (isAbove || part >= MIN_FRAME_FRACTION)
      ? [{ frame, i, from: Math.max(0, from), part: isAbove ? 1 : part, isAbove }]
      : [];
  });
  const choose = (i: number) => {
    setFocus(i === focus ? undefined : i);
    page.dispatch({ type: 'select', index: graph.frames[i]?.first ?? 0, open: page.state.open });
  };
  const deepest = shown.reduce((deep, { frame }) => Math.max(deep, frame.depth), 0);
  // A recursion may be tens of thousands of levels deep: only those in view are drawn.
  const drawn = shown.filter(
    ({ frame }) => frame.depth >= levels.first && frame.depth <= levels.last,
  );
  return (
    <section className="panel flame" aria-label="Flame graph">
      <p className="panel-note">
        Spans with the same call path are merged into a frame, as wide as their time. Click a frame
        to zoom in{focused && ', and again to zoom out'}.
        {focused && (
          <button type="button" onClick={() => setFocus(undefined)}>
            Show all
          </button>
        )}
      </p>
      <div className="flame-scroll" ref={scroller}>
        <fieldset
          className="flame-area"
          aria-label="Frames"
          onKeyDown={arrowKeys}
          style={{ height: (deepest + 1) * FRAME_HEIGHT_PX }}
        >
          {drawn.map(({ frame, i, from, part, isAbove }) => {
            const isFaded = page.state.find !== '' && !isWanted(frame);
            return (
              <button
                key={i}
                type="button"
                className={frameClasses(colours.get(frame.service) ?? 0, isAbove, isFaded)}
                style={{
                  left: percent(from),
                  width: percent(Math.min(part, 1 - from)),
                  top: frame.depth * FRAME_HEIGHT_PX,
                }}
                title={describe(frame, graph.width)}
                onClick={() => choose(i)}
              >
                {part > 0.02 && (
                  <>
                    <bdi className="span-service">{frame.service}</bdi> <bdi>{frame.name}</bdi>
                  </>
                )}
                <span className="visually-hidden">{describe(frame, graph.width)}</span>
                {frame.errors > 0 && (
                  <span className="failure-mark" aria-hidden="true">
                    !
                  </span>
                )}
              </button>
            );
          })}
        </fieldset>
      </div>
    </section>
  );
}

/** Returns the scrolled element's ref and the levels of the graph that are in view. */
function useVisibleLevels() {
  const scroller = useRef<HTMLDivElement>(null);
  const [levels, setLevels] = useState({ first: 0, last: 2 * LEVEL_STEP });
  useEffect(() => {
    const box = scroller.current;
    if (!box) return undefined;
    const update = () => {
      const step = (pixels: number) =>
        Math.floor(pixels / FRAME_HEIGHT_PX / LEVEL_STEP) * LEVEL_STEP;
      const first = Math.max(0, step(box.scrollTop) - LEVEL_STEP);
      const last = step(box.scrollTop + box.clientHeight) + 2 * LEVEL_STEP;
      setLevels((before) =>
        before.first === first && before.last === last ? before : { first, last },
      );
    };
    update();
    box.addEventListener('scroll', update, { passive: true });
    const sizes = new ResizeObserver(update);
    sizes.observe(box);
    return () => {
      box.removeEventListener('scroll', update);
      sizes.disconnect();
    };
  }, []);
  return [scroller, levels] as const;
}

function frameClasses(colour: number, isAbove: boolean, isFaded: boolean): string {
  return `frame service-${colour}${isAbove ? ' above' : ''}${isFaded ? ' faded' : ''}`;
}

function describe(frame: FlameFrame, all: number): string {
  const errors = frame.errors > 0 ? `, ${formatCount(frame.errors, 'error')}` : '';
  return [
    `${frame.service} ${frame.name}: ${formatCount(frame.count, 'span')}${errors}`,
    `${formatDuration(frame.total)} total`,
    `${formatDuration(frame.self)} self`,
    `${formatPercent(all > 0 ? frame.width / all : 0)} of the graph`,
  ].join(', ');
}

/** Arrow keys move between frames; Tab would step through all of them. */
function arrowKeys(event: KeyboardEvent<HTMLElement>): void {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (step === undefined) return;
  const frames = [...event.currentTarget.querySelectorAll<HTMLElement>('.frame')];
  const next = frames[frames.indexOf(document.activeElement as HTMLElement) + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}
