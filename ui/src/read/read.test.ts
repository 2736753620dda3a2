import { describe, expect, it } from 'vitest';
import { buildTrace, INFERRED, kindOf, nameOf, OPEN, serviceOf } from '../trace/model';
import { attributesOf, evidenceOf, readSpanDetails } from '../trace/spanDetails';
import { linkedCheckout } from './checkout.fixture';
import { readTraces } from './file';

const otlp = {
  resourceSpans: [
    {
      resource: { attributes: [{ key: 'service.name', value: { stringValue: 'shop' } }] },
      scopeSpans: [
        {
          scope: { name: 'lib' },
          spans: [
            {
              traceId: '0AF7651916CD43DD8448EB211C80319C',
              spanId: 'b7ad6b7169203331',
              name: 'send orders',
              kind: 4,
              startTimeUnixNano: '1772000000000001500',
              endTimeUnixNano: '1772000000000004000',
              attributes: [
                { key: 'messaging.destination.name', value: { stringValue: 'orders' } },
                { key: 'n', value: { intValue: '7' } },
                { key: 'list', value: { arrayValue: { values: [{ boolValue: true }] } } },
              ],
              status: { code: 'STATUS_CODE_ERROR', message: 'no leader' },
              events: [{ timeUnixNano: '1772000000000002500', name: 'retry' }],
            },
            {
              traceId: '0af7651916cd43dd8448eb211c80319c',
              spanId: 'b7ad6b7169203332',
              parentSpanId: 'b7ad6b7169203331',
              name: 'guessed',
              kind: 'SPAN_KIND_CLIENT',
              startTimeUnixNano: '1772000000000002000',
              endTimeUnixNano: '1772000000000003000',
              attributes: [
                { key: 'throughline.parent.evidence', value: { stringValue: 'sole' } },
                { key: 'throughline.parent.confidence', value: { doubleValue: 0.8 } },
              ],
              links: [
                {
                  traceId: 'ffffffffffffffffffffffffffffffff',
                  spanId: 'b7ad6b7169203339',
                  attributes: [{ key: 'topic', value: { stringValue: 'x' } }],
                },
              ],
            },
            {
              traceId: '0af7651916cd43dd8448eb211c80319c',
              spanId: 'b7ad6b7169203333',
              name: 'open',
              startTimeUnixNano: '1772000000000002000',
              endTimeUnixNano: '1772000000000002000',
              attributes: [{ key: 'throughline.parent.evidence', value: { stringValue: 'open' } }],
            },
          ],
        },
      ],
    },
  ],
};

describe('OTLP JSON', () => {
  const [read] = readTraces(JSON.stringify(otlp));
  const trace = buildTrace([read!.response]);

  it('keeps names, kinds, fractions of a microsecond, status and values of every type', () => {
    expect([
      nameOf(trace, 0),
      serviceOf(trace, 0),
      kindOf(trace, 0),
      trace.length[0],
      trace.failures,
    ]).toEqual(['send orders', 'shop', 'producer', 2.5, 1]);
    expect(attributesOf(trace, 0).map(({ key, value, kind }) => [key, value, kind])).toEqual([
      ['messaging.destination.name', 'orders', 's'],
      ['n', '7', 'i'],
      ['list', '[true]', 'a'],
    ]);
    expect(readSpanDetails(trace, 0)).toMatchObject({
      statusMessage: 'no leader',
      scope: 'lib',
      events: [{ name: 'retry', time: 1 }],
    });
  });

  it('keeps evidence, its confidence, and links with attributes', () => {
    expect(trace.flags[1]! & INFERRED).toBe(INFERRED);
    expect(evidenceOf(trace, 1)).toEqual({ name: 'sole', inferred: true, confidence: 0.8 });
    expect(trace.flags[2]! & OPEN).toBe(OPEN);
    expect(readSpanDetails(trace, 1).links).toMatchObject([
      { traceId: 'f'.repeat(32), attributes: [{ key: 'topic', value: 'x' }] },
    ]);
  });

  it('is read with one document per line, and a trace spread over several', () => {
    const half = (i: number) =>
      JSON.stringify({
        resourceSpans: [
          {
            ...otlp.resourceSpans[0],
            scopeSpans: [{ spans: [otlp.resourceSpans[0]!.scopeSpans[0]!.spans[i]] }],
          },
        ],
      });
    expect(
      readTraces(`${half(0)}\n\n${half(1)}\n`).map(({ response }) => response.spans.start.length),
    ).toEqual([2]);
  });
});

describe('files', () => {
  it('return each of their traces alone, in the format of the file', () => {
    const [span] = otlp.resourceSpans[0]!.scopeSpans[0]!.spans;
    const other = { ...span, traceId: 'ab'.repeat(16) };
    const two = { resourceSpans: [...otlp.resourceSpans, { scopeSpans: [{ spans: [other] }] }] };
    const documents = readTraces(JSON.stringify(two)).map((read) => [read.format, read.document()]);
    expect(documents).toEqual([
      ['otlp', otlp],
      ['otlp', { resourceSpans: [{ resource: {}, scopeSpans: [{ spans: [other] }] }] }],
    ]);
    const [jaeger] = readTraces(JSON.stringify(linkedCheckout));
    expect([jaeger!.format, jaeger!.document()]).toEqual(['jaeger', { data: [linkedCheckout] }]);
  });

  it('of Jaeger are read with and without the surrounding object', () => {
    for (const text of [{ data: [linkedCheckout] }, [linkedCheckout], linkedCheckout]) {
      expect(
        readTraces(JSON.stringify(text)).map(({ response }) => response.spans.start.length),
      ).toEqual([13]);
    }
  });

  it.each([
    ['{}', /no traces/],
    ['{"data":[]}', /no traces/],
    ['{"a":1}\nnot json', /line 2 is not valid JSON/],
    ['<html>', /line 1 is not valid JSON/],
  ])('without traces are rejected with the supported formats: %s', (text, message) => {
    expect(() => readTraces(text)).toThrow(message);
  });
});
