/** Tests of components as static markup, without a browser. */
import { renderToStaticMarkup } from 'react-dom/server';
import { describe, expect, it } from 'vitest';
import { built, linkedCheckout, placed } from '../read/checkout.fixture';
import { fullWindow, linearAxis } from '../trace/axis';
import { criticalPath } from '../trace/critical';
import type { Trace } from '../trace/model';
import { consumerRuns } from '../trace/rows';
import { AttributeTable } from './AttributeTable';
import { placeLabels } from './Ruler';
import { SpanRow } from './SpanRow';
import type { TimelineModel } from './timelineModel';

function row(trace: Trace, index: number, changes: Partial<TimelineModel> = {}): string {
  const axis = linearAxis(trace.duration);
  const timeline: TimelineModel = {
    trace,
    scale: { axis, window: fullWindow(axis) },
    runs: consumerRuns(trace),
    critical: undefined,
    barAreaWidth: 600,
    colours: new Map(),
    dispatch: () => undefined,
    ...changes,
  };
  return renderToStaticMarkup(
    <SpanRow
      timeline={timeline}
      index={index}
      row={index}
      fold={0}
      laneTitle={undefined}
      selection="none"
      highlight="none"
      isSearchMatch={false}
    />,
  );
}

describe('SpanRow', () => {
  const { trace, at } = placed(linkedCheckout);

  it('shows the topic, the sender and the queue time of a consumer', () => {
    const text = row(trace, at('From_eshop-topic'));
    expect(text).toContain('follows from To_eshop-topic');
    expect(text).toContain('class="wait"');
    expect(text).toMatch(/in <bdi>eshop-topic<\/bdi><\/span> 50 ms/);
    expect(text).toContain('class="mark topic"');
  });

  it('marks failures, missing parents, and inferred parents with their confidence', () => {
    const { trace: odd } = built([
      { id: 'a', childOf: 'dead', tags: { error: true } },
      {
        id: 'b',
        tags: { 'throughline.parent.evidence': 'sole', 'throughline.parent.confidence': 0.83 },
        childOf: 'a',
      },
      { id: 'c', tags: { 'throughline.parent.evidence': 'open' } },
    ]);
    expect(row(odd, 0)).toMatch(/failure-mark.*missing parent/);
    expect(row(odd, 1)).toMatch(/only one request was in flight \(sole\).*inferred 83 %/);
    expect(row(odd, 1)).toContain('bar dashed');
    expect(row(odd, 2)).toMatch(/mark inferred.*open/);
  });

  it('shows where a client call went, muted, and marks a negative duration', () => {
    const { trace: calls } = built([
      {
        id: 'a',
        name: 'GET',
        at: [0, -5],
        tags: {
          'span.kind': 'client',
          'server.address': 'billing',
          'server.port': 8080,
          'url.path': '/payment',
        },
      },
    ]);
    expect(row(calls, 0)).toContain('class="destination"> → <bdi>billing:8080/payment</bdi>');
    expect(row(calls, 0)).toContain('negative duration');
  });

  it('marks the critical path', () => {
    const critical = criticalPath(trace, 'end-to-end');
    expect(row(trace, at('GET /checkout'), { critical }).match(/class="critical"/g)).toHaveLength(
      4,
    );
    expect(row(trace, at('From_eshop-topic'), { critical })).toContain('wait on-path');
  });

  it('points to bars outside of the window', () => {
    const axis = linearAxis(trace.duration);
    expect(
      row(trace, at('GET /createOrder'), {
        scale: { axis, window: { from: 200_000, to: 300_000 } },
      }),
    ).toContain('beyond left');
    expect(
      row(trace, at('GET /sendEmail'), { scale: { axis, window: { from: 200_000, to: 300_000 } } }),
    ).toContain('beyond right');
  });
});

it('attribute values stay text, and only templates turn them into links', () => {
  const attributes = [{ key: 'url', value: 'javascript:alert(1)<img src=x>', kind: 's' }];
  const places = { traceId: 't', spanId: 's', service: 'x' };
  const plain = renderToStaticMarkup(
    <AttributeTable attributes={attributes} templates={[]} {...places} />,
  );
  expect(plain).not.toMatch(/<img|<a /);
  const linked = renderToStaticMarkup(
    <AttributeTable
      attributes={attributes}
      templates={[{ key: 'url', url: 'https://x.example/{value}' }]}
      {...places}
    />,
  );
  expect(linked).toMatch(/href="https:\/\/x\.example\/javascript%3Aalert\(1\)%3Cimg%20src%3Dx%3E"/);
});

describe('labels of idle gaps', () => {
  const label = (centre: number, weight: number) => ({
    key: centre,
    text: `${weight} ms idle`,
    title: '',
    centre,
    weight,
  });

  it('stay within the ruler', () => {
    const placed = placeLabels([label(0, 1), label(0.999, 11.6)], 400);
    expect(placed).toHaveLength(2);
    for (const { left, right } of placed) expect(left >= 0 && right <= 400).toBe(true);
  });

  it('do not overlap: the longest gap keeps its label', () => {
    const placed = placeLabels([label(0.5, 10), label(0.52, 90), label(0.9, 20)], 400);
    expect(placed.map(({ weight }) => weight)).toEqual([90, 20]);
  });
});
