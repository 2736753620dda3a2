/**
 * An interactive graph: the wheel and buttons zoom, dragging pans, and selecting a node fades
 * everything but its neighbours. Nodes are buttons, so that the keyboard can reach each of them.
 */
import { type PointerEvent, type ReactNode, useEffect, useMemo, useRef, useState } from 'react';
import { layoutGraph } from './layout';

export interface CanvasNode {
  readonly id: string;
  readonly width: number;
  readonly height: number;
  /** Description in one line, for the tooltip. */
  readonly label: string;
  readonly className: string;
  readonly content: ReactNode;
}

export interface CanvasEdge {
  readonly id: string;
  readonly from: string;
  readonly to: string;
  readonly className: string;
  readonly label: string;
}

interface GraphCanvasProps {
  readonly label: string;
  readonly nodes: readonly CanvasNode[];
  readonly edges: readonly CanvasEdge[];
  readonly chosen: string | undefined;
  readonly choose: (id: string | undefined) => void;
}

interface Viewport {
  readonly x: number;
  readonly y: number;
  readonly scale: number;
}

const LABEL_CHARACTER_PX = 6.6;
/** Height in pixels of the row of buttons at the bottom. */
const BUTTONS_PX = 40;

export function GraphCanvas({ label, nodes, edges, chosen, choose }: GraphCanvasProps) {
  const placed = useMemo(
    () =>
      layoutGraph(
        nodes,
        edges.map((edge) => ({ ...edge, labelWidth: edge.label.length * LABEL_CHARACTER_PX })),
      ),
    [nodes, edges],
  );
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState<Viewport>({ x: 0, y: 0, scale: 1 });
  const fit = () => {
    const area = box.current?.getBoundingClientRect();
    if (area) setView(fitView(area.width, area.height - BUTTONS_PX, placed.width, placed.height));
  };
  useEffect(fit, [placed]);
  // Scrolls a node into view that receives the keyboard focus outside of it.
  const reveal = (x: number, y: number) => {
    const area = box.current?.getBoundingClientRect();
    if (!area) return;
    setView((before) => {
      const [px, py] = [before.x + x * before.scale, before.y + y * before.scale];
      const isIn = px > 0 && py > 0 && px < area.width && py < area.height;
      return isIn
        ? before
        : {
            ...before,
            x: area.width / 2 - x * before.scale,
            y: area.height / 2 - y * before.scale,
          };
    });
  };
  useWheelZoom(box, setView);
  const pan = usePan(setView);
  const highlighted = useMemo(() => neighbours(chosen, edges), [chosen, edges]);
  const zoom = (factor: number) =>
    setView((before) => ({ ...before, scale: clampScale(before.scale * factor) }));

  return (
    <figure className="graph" ref={box} aria-label={label} {...pan}>
      <div
        className="graph-plane"
        style={{
          transform: `translate(${view.x}px, ${view.y}px) scale(${view.scale})`,
          width: placed.width,
          height: placed.height,
        }}
      >
        <svg width={placed.width} height={placed.height} aria-hidden="true">
          <defs>
            <marker
              id="graph-arrow"
              viewBox="0 0 10 10"
              refX="9"
              refY="5"
              markerWidth="8"
              markerHeight="8"
              orient="auto-start-reverse"
              markerUnits="userSpaceOnUse"
            >
              <path d="M0 0 L10 5 L0 10 z" />
            </marker>
          </defs>
          {edges.map((edge) => {
            const line = placed.edges.get(edge.id);
            const isHighlighted =
              chosen === undefined || edge.from === chosen || edge.to === chosen;
            return (
              <g
                key={edge.id}
                className={`graph-edge ${edge.className}${isHighlighted ? '' : ' faded'}`}
              >
                <path d={line?.path} markerEnd="url(#graph-arrow)" />
                {edge.label && (
                  <text x={line?.x} y={(line?.y ?? 0) + 4} textAnchor="middle">
                    {edge.label}
                  </text>
                )}
              </g>
            );
          })}
        </svg>
        {nodes.map((node) => {
          const { x, y } = placed.nodes.get(node.id) ?? { x: 0, y: 0 };
          const isHighlighted = chosen === undefined || highlighted.has(node.id);
          return (
            <button
              key={node.id}
              type="button"
              className={nodeClasses(node, node.id === chosen, isHighlighted)}
              title={node.label}
              onFocus={() => reveal(x, y)}
              aria-pressed={node.id === chosen}
              style={{
                left: x - node.width / 2,
                top: y - node.height / 2,
                width: node.width,
                height: node.height,
              }}
              onClick={() => choose(node.id === chosen ? undefined : node.id)}
            >
              {node.content}
            </button>
          );
        })}
      </div>
      <div className="graph-buttons">
        <button type="button" aria-label="Zoom in" onClick={() => zoom(1.25)}>
          +
        </button>
        <button type="button" aria-label="Zoom out" onClick={() => zoom(0.8)}>
          −
        </button>
        <button type="button" onClick={fit}>
          Fit
        </button>
      </div>
    </figure>
  );
}

function nodeClasses(node: CanvasNode, isChosen: boolean, isHighlighted: boolean): string {
  return `graph-node ${node.className}${isChosen ? ' chosen' : ''}${isHighlighted ? '' : ' faded'}`;
}

function clampScale(scale: number): number {
  return Math.min(Math.max(scale, 0.05), 3);
}

function fitView(width: number, height: number, wanted: number, tall: number): Viewport {
  // A smaller scale would be unreadable; the reader pans instead.
  const scale = Math.max(
    0.3,
    Math.min(width / Math.max(wanted, 1), height / Math.max(tall, 1), 1.15),
  );
  return {
    scale,
    x: Math.max(0, (width - wanted * scale) / 2),
    y: Math.max(0, (height - tall * scale) / 2),
  };
}

function useWheelZoom(
  box: React.RefObject<HTMLDivElement | null>,
  setView: (change: (before: Viewport) => Viewport) => void,
): void {
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const onWheel = (event: WheelEvent) => {
      event.preventDefault();
      const area = element.getBoundingClientRect();
      const [px, py] = [event.clientX - area.left, event.clientY - area.top];
      setView((before) => {
        const scale = clampScale(before.scale * Math.exp(-event.deltaY * 0.0015));
        const ratio = scale / before.scale;
        return { scale, x: px - (px - before.x) * ratio, y: py - (py - before.y) * ratio };
      });
    };
    // React registers passive wheel listeners, which cannot prevent the page from scrolling.
    element.addEventListener('wheel', onWheel, { passive: false });
    return () => element.removeEventListener('wheel', onWheel);
  }, [box, setView]);
}

function usePan(setView: (change: (before: Viewport) => Viewport) => void) {
  const from = useRef<{ x: number; y: number }>(undefined);
  return {
    onPointerDown: (event: PointerEvent<HTMLDivElement>) => {
      if ((event.target as Element).closest('button')) return;
      from.current = { x: event.clientX, y: event.clientY };
      event.currentTarget.setPointerCapture(event.pointerId);
    },
    onPointerMove: (event: PointerEvent) => {
      const last = from.current;
      if (!last) return;
      from.current = { x: event.clientX, y: event.clientY };
      const [dx, dy] = [event.clientX - last.x, event.clientY - last.y];
      setView((before) => ({ ...before, x: before.x + dx, y: before.y + dy }));
    },
    onPointerUp: () => {
      from.current = undefined;
    },
  };
}

function neighbours(chosen: string | undefined, edges: readonly CanvasEdge[]): Set<string> {
  const highlighted = new Set<string>(chosen === undefined ? [] : [chosen]);
  for (const { from, to } of edges) {
    if (from === chosen) highlighted.add(to);
    if (to === chosen) highlighted.add(from);
  }
  return highlighted;
}
