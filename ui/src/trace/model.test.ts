import { describe, expect, it } from 'vitest';
import { linkedCheckout, TRACE_ID, traceOf } from './checkout.fixture';
import { longestWait } from './edges';
import { buildTrace } from './model';
import type { WireTrace } from './wire';

describe('buildTrace of the linked checkout', () => {
  const trace = buildTrace(linkedCheckout);
  const named = (name: string) => trace.spans.find((span) => span.name === name)!;

  it('sums up services, times and root', () => {
    expect(trace.root?.name).toBe('GET /checkout');
    expect(trace.services.map((service) => service.name)).toEqual([
      'eshop',
      'inventory',
      'billing',
      'delivery',
      'kafka-consumer',
      'notification',
    ]);
    expect(trace.duration).toBe(430_000);
    expect(trace.failures).toBe(0);
  });

  it('draws the consumer below the producer, joined by a FOLLOWS_FROM edge with its wait', () => {
    const [producer, consumer] = [named('To_eshop-topic'), named('From_eshop-topic')];
    expect(consumer.parent).toBe(producer.index);
    expect(trace.edges).toEqual([
      { from: producer.index, to: consumer.index, reference: 'FOLLOWS_FROM', wait: 50_000, topic: 'eshop-topic' },
    ]);
    expect(longestWait(trace.edges)).toBe(50_000);
  });

  it('keeps the notification below the consumer', () => {
    expect(named('GET /sendEmail').depth).toBe(4);
  });
});

describe('message edges', () => {
  const produce = { id: 'a', tags: { 'span.kind': 'producer' }, at: [0, 100] } as const;

  it('are the same for a consumer that is a plain child of the producer', () => {
    const trace = buildTrace(traceOf([produce, { id: 'b', childOf: 'a', tags: { 'span.kind': 'consumer' }, at: [150, 5] }]));
    expect(trace.edges).toMatchObject([{ from: 0, to: 1, reference: 'CHILD_OF', wait: 50 }]);
  });

  it('have a negative wait when the receipt came before the acknowledgement', () => {
    const trace = buildTrace(traceOf([produce, { id: 'b', followsFrom: 'a', tags: { 'span.kind': 'consumer' }, at: [80, 5] }]));
    expect(trace.edges[0]?.wait).toBe(-20);
    expect(longestWait(trace.edges)).toBeUndefined();
  });

  it('have no wait between spans that are no producer and consumer', () => {
    const trace = buildTrace(traceOf([{ id: 'a' }, { id: 'b', followsFrom: 'a' }]));
    expect(trace.edges[0]).toEqual({ from: 0, to: 1, reference: 'FOLLOWS_FROM' });
  });

  it('join a parent with a link to another span, and once only', () => {
    const trace = buildTrace(
      traceOf([produce, { id: 'r' }, { id: 'b', childOf: 'r', followsFrom: 'a' }, { id: 'c', childOf: 'a', followsFrom: 'a' }]),
    );
    expect(trace.edges).toHaveLength(2);
  });
});

describe('buildTrace of odd answers', () => {
  it('marks a span whose parent is missing and still draws it', () => {
    const trace = buildTrace(traceOf([{ id: 'b', childOf: 'gone', at: [0, 5] }, { id: 'c', childOf: 'b' }]));
    expect(trace.orphans).toBe(1);
    expect(trace.spans[0]).toMatchObject({ oddity: 'missing-parent', depth: 0 });
    expect(trace.spans[1]?.depth).toBe(1);
  });

  it('names the trace by its true root even when an orphan starts earlier', () => {
    const trace = buildTrace(traceOf([{ id: 'b', childOf: 'gone', at: [0, 5] }, { id: 'a', at: [10, 5] }]));
    expect(trace.root?.id).toBe('a');
  });

  it('draws a cycle', () => {
    const trace = buildTrace(traceOf([{ id: 'a', childOf: 'b' }, { id: 'b', childOf: 'a' }]));
    expect(trace.spans.map((span) => span.oddity)).toEqual(['cycle', undefined]);
  });

  it('compares ids without leading zeros and case', () => {
    const trace = buildTrace(traceOf([{ id: '00ab' }, { id: 'c', childOf: 'AB' }]));
    expect(trace.spans[1]?.parent).toBe(0);
  });

  it('takes a reference into another trace as no parent', () => {
    const wire = traceOf([{ id: 'a' }, { id: 'b' }]);
    const span = { ...wire.spans[1]!, references: [{ refType: 'FOLLOWS_FROM', traceID: 'ffff', spanID: 'a' }] };
    const trace = buildTrace({ ...wire, spans: [wire.spans[0]!, span] });
    expect(trace.spans[1]?.parent).toBe(-1);
    expect(trace.spans[1]?.oddity).toBeUndefined();
    expect(trace.spans[1]?.references[0]).toMatchObject({ elsewhere: true, traceId: 'ffff' });
    expect(trace.edges).toEqual([]);
  });

  it('survives nulls, absent processes and times that are no numbers', () => {
    const wire = {
      traceID: TRACE_ID,
      spans: [{ traceID: TRACE_ID, spanID: 'a', operationName: '', references: null, startTime: 'soon', duration: -4, tags: null, logs: null }],
      processes: null,
    } as unknown as WireTrace;
    const trace = buildTrace(wire);
    expect(trace.spans[0]).toMatchObject({ name: '(no name)', service: '(no service)', start: 0, duration: 0 });
  });

  it('gives a trace without spans no root', () => {
    expect(buildTrace({ traceID: TRACE_ID, spans: [] }).root).toBeUndefined();
  });

  it('counts a span as failed by its error tag or its status', () => {
    const trace = buildTrace(
      traceOf([
        { id: 'a', tags: { error: true } },
        { id: 'b', tags: { 'otel.status_code': 'ERROR' } },
        { id: 'c', tags: { error: false } },
      ]),
    );
    expect(trace.spans.map((span) => span.failed)).toEqual([true, true, false]);
    expect(trace.services[0]).toEqual({ name: 'eshop', spans: 3, failures: 2 });
  });
});
