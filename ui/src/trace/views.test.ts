/** Tests of the computations behind the views. */
import { describe, expect, it } from 'vitest';
import { built, linkedCheckout, placed } from '../read/checkout.fixture';
import { compareTraces } from './compare';
import { findSpans, nextFailedSpan } from './find';
import { flameGraph } from './flame';
import { traceGraph } from './graph';
import { selfTimes } from './self';
import { attributesOf, messageOf, readSpanDetails } from './spanDetails';
import { attributeKeys, groupStatistics, quantile } from './stats';

const { trace, at } = placed(linkedCheckout);

describe('self time', () => {
  it('excludes time within the parent that children cover, overlaps once', () => {
    const { trace: odd } = built([
      { id: 'a', at: [0, 100] },
      { id: 'b', childOf: 'a', at: [10, 40] },
      { id: 'c', childOf: 'a', at: [30, 40] },
      { id: 'd', childOf: 'a', at: [90, 400] },
    ]);
    expect(selfTimes(odd)[0]).toBe(30);
  });
});

describe('span details', () => {
  it('reads attributes, message and events of one span', () => {
    const consumer = at('From_eshop-topic');
    expect(attributesOf(trace, consumer)).toEqual([
      { key: 'message_bus.destination', value: 'eshop-topic', kind: 's' },
    ]);
    expect(messageOf(trace, consumer)).toMatchObject({ topic: 'eshop-topic' });
    expect(messageOf(trace, 0)).toBeUndefined();
    expect(readSpanDetails(trace, consumer).links).toMatchObject([{ spanId: '00000000000000a4' }]);
  });
});

describe('find', () => {
  it('matches names, services, attributes and IDs; all words on one span, in any case', () => {
    expect([...findSpans(trace, 'BILLING payment')]).toEqual([at('GET /payment')]);
    expect([...findSpans(trace, 'destination=eshop')]).toEqual([
      at('To_eshop-topic'),
      at('From_eshop-topic'),
    ]);
    expect([...findSpans(trace, '00000000000000f0')]).toEqual([at('GET /sendEmail')]);
    expect([...findSpans(trace, '  ')]).toEqual([]);
    expect(findSpans(trace, 'service:eshop')).toHaveLength(5);
    expect([...findSpans(trace, 'service:"eshop" checkout')]).toEqual([at('GET /checkout')]);
    expect(findSpans(trace, 'service:esh')).toHaveLength(0);
  });

  it('steps through failed spans and wraps around', () => {
    const { trace: failing } = built([
      { id: 'a' },
      { id: 'b', tags: { error: true } },
      { id: 'c' },
      { id: 'd', tags: { error: true } },
    ]);
    expect([
      nextFailedSpan(failing, 0, 1),
      nextFailedSpan(failing, 1, 1),
      nextFailedSpan(failing, 3, 1),
      nextFailedSpan(failing, 1, -1),
    ]).toEqual([1, 3, 1, 3]);
    expect(nextFailedSpan(trace, 0, 1)).toBeUndefined();
  });
});

describe('flame graph', () => {
  it('merges equal call paths into frames as wide as their self time and their children', () => {
    const { frames, depth } = flameGraph(trace);
    const get = frames.find((frame) => frame.service === 'eshop' && frame.name === 'GET');
    expect(get).toMatchObject({ count: 3, total: 240_000, depth: 1 });
    expect(depth).toBe(5);
    for (const frame of frames) {
      const below = frames.filter((other) => frames[other.parent] === frame);
      expect(below.reduce((sum, other) => sum + other.width, frame.self)).toBeCloseTo(frame.width);
      for (const other of below) expect(other.left).toBeGreaterThanOrEqual(frame.left);
    }
  });
});

describe('trace graph', () => {
  it('puts the topic between sender and receiver, without a direct edge', () => {
    const { nodes, edges } = traceGraph(trace);
    expect(nodes.filter((node) => node.kind === 'topic')).toMatchObject([
      { name: 'eshop-topic', count: 1 },
    ]);
    const named = (id: string) => id.replace('\u0000', ' ');
    const messages = edges
      .filter((edge) => edge.message)
      .map((edge) => `${named(edge.from)} > ${named(edge.to)}`);
    expect(messages).toEqual([
      'eshop To_eshop-topic > topic eshop-topic',
      'topic eshop-topic > kafka-consumer From_eshop-topic',
    ]);
    expect(
      edges.some((edge) => named(edge.from).includes('To_') && named(edge.to).includes('From_')),
    ).toBe(false);
    expect(edges.find((edge) => edge.wait !== undefined)?.wait).toBe(50_000);
  });
});

describe('statistics', () => {
  it('are grouped by service, operation or attribute', () => {
    const byService = groupStatistics(trace, ['service']);
    expect(byService.find((group) => group.service === 'billing')).toMatchObject({
      count: 3,
      total: 215_000,
      max: 115_000,
      min: 40_000,
      median: 60_000,
    });
    expect(byService.reduce((sum, group) => sum + group.share, 0)).toBeCloseTo(1);
    expect(
      groupStatistics(trace, ['message_bus.destination']).map((group) => [
        group.names[0],
        group.count,
      ]),
    ).toEqual([
      ['(not set)', 11],
      ['eshop-topic', 2],
    ]);
    expect(attributeKeys(trace)).toContain('message_bus.destination');
  });

  it('have quantiles that are actual values', () => {
    expect([0.5, 0.95, 1].map((part) => quantile(Float64Array.of(1, 2, 3, 4), part))).toEqual([
      2, 4, 4,
    ]);
  });
});

describe('comparison', () => {
  it('reports call paths in one trace only, and differences in time', () => {
    const { trace: a } = built([
      { id: 'a', at: [0, 100] },
      { id: 'b', childOf: 'a', at: [0, 10] },
      { id: 'c', childOf: 'a', at: [20, 10] },
    ]);
    const { trace: b } = built([
      { id: 'a', at: [0, 150] },
      { id: 'b', childOf: 'a', at: [0, 10] },
      { id: 'f', name: 'b', childOf: 'a', at: [20, 30] },
      { id: 'd', childOf: 'a', at: [60, 5] },
    ]);
    expect(
      compareTraces(a, b).map(({ name, change, difference, depth }) => [
        name,
        change,
        difference,
        depth,
      ]),
    ).toEqual([
      ['a', 'same', 50, 0],
      ['b', 'more', 30, 1],
      ['c', 'only-a', -10, 1],
      ['d', 'only-b', 5, 1],
    ]);
  });
});
