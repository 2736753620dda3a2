import { readFileSync } from 'node:fs';
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
  const [read] = readTraces(JSON.stringify(otlp)).traces;
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
      readTraces(`${half(0)}\n\n${half(1)}\n`).traces.map(
        ({ response }) => response.spans.start.length,
      ),
    ).toEqual([2]);
  });
});

describe('files', () => {
  it('return each of their traces alone, in the format of the file', () => {
    const [span] = otlp.resourceSpans[0]!.scopeSpans[0]!.spans;
    const other = { ...span, traceId: 'ab'.repeat(16) };
    const two = { resourceSpans: [...otlp.resourceSpans, { scopeSpans: [{ spans: [other] }] }] };
    const documents = readTraces(JSON.stringify(two)).traces.map((read) => [
      read.format,
      read.document(),
    ]);
    expect(documents).toEqual([
      ['otlp', otlp],
      ['otlp', { resourceSpans: [{ resource: {}, scopeSpans: [{ spans: [other] }] }] }],
    ]);
    const [jaeger] = readTraces(JSON.stringify(linkedCheckout)).traces;
    expect([jaeger!.format, jaeger!.document()]).toEqual(['jaeger', { data: [linkedCheckout] }]);
  });

  it('of Jaeger are read with and without the surrounding object', () => {
    for (const text of [{ data: [linkedCheckout] }, [linkedCheckout], linkedCheckout]) {
      expect(
        readTraces(JSON.stringify(text)).traces.map(({ response }) => response.spans.start.length),
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

describe('files of other programs', () => {
  const open = (name: string) => {
    const text = readFileSync(new URL(`../../fixtures/files/${name}`, import.meta.url), 'utf8');
    const { traces, notes } = readTraces(text);
    return { traces: traces.map(({ response }) => buildTrace([response])), notes };
  };
  const namesIn = (name: string) =>
    open(name).traces.map((trace) => Array.from(trace.name.keys(), (i) => nameOf(trace, i)));

  it.each([
    ['o-result.json', [['n']]],
    ['o-trace.json', [['n']]],
    ['o-array.json', [['n']]],
    ['tempo-batches.json', [['GET /stock', 'SELECT stock']]],
    ['j-dup.json', [['op1', 'op2', 'dup']]],
    ['spanelem-null.json', [['op1']]],
  ])('%s is read', (name, names) => {
    expect(namesIn(name)).toEqual(names);
  });

  it('the answer of API v3 is read, its markup as text', () => {
    const [trace] = open('v3-own-answer.json').traces;
    expect([nameOf(trace!, 0), serviceOf(trace!, 0)]).toEqual([
      '<img src=x onerror="window.__xss=1">',
      '"><script>window.__xss=2</script>',
    ]);
  });

  it('a torn last line costs that line, and is said', () => {
    const { traces, notes } = open('o-jsonl-trunc.jsonl');
    expect([traces.length, notes]).toEqual([
      1,
      ['line 2 is not valid JSON; the file seems to be cut off there'],
    ]);
  });

  it('a repeated span is one span, and an entry that is null is left out', () => {
    expect(open('o-array.json').notes).toEqual(['1 repeated span, left out']);
    expect(open('spanelem-null.json').notes).toEqual(['1 entry that is no object']);
  });

  it('times that are missing or negative do not stretch the trace back to 1970', () => {
    const nulls = open('j-nulls.json');
    expect(nulls.traces.map(({ count, duration }) => [count, duration])).toEqual([[2, 1000]]);
    const negative = open('j-neg.json');
    expect(negative.traces.map((trace) => [trace.duration, trace.negative])).toEqual([[1000, 1]]);
    expect(negative.notes).toEqual([
      '1 span without a start, placed at its parent’s',
      '1 span that ends before it starts',
    ]);
  });

  it('without spans are rejected with what they hold', () => {
    expect(() => open('rs-null.json')).toThrow(/no traces: its documents have no spans; supported/);
    expect(() => readTraces('{"hello":1,"b":2}')).toThrow(/an object with "hello", "b"/);
    expect(() => readTraces('{"resourceSpans":[{"scope')).toThrow(/cut off/);
    expect(() => readTraces('{\n "data": [\n  oops\n]}')).toThrow(
      /neither one JSON document nor one per line/,
    );
  });
});

describe('Zipkin JSON', () => {
  const span = (more: object) => ({
    traceId: 'aa'.repeat(8),
    id: '1',
    timestamp: 1_772_000_000_000_000,
    duration: 100,
    ...more,
  });
  const open = (spans: readonly unknown[]) => {
    const [read] = readTraces(JSON.stringify(spans)).traces;
    return { trace: buildTrace([read!.response]), read: read! };
  };

  it('has kinds, endpoints, annotations and failures', () => {
    const { trace, read } = open([
      span({
        kind: 'CLIENT',
        name: 'get',
        localEndpoint: { serviceName: 'shop' },
        remoteEndpoint: { serviceName: 'cart', ipv4: '10.0.0.1', port: 80 },
        annotations: [{ timestamp: 1_772_000_000_000_050, value: 'retry' }],
        tags: { error: 'refused', a: 'b' },
      }),
    ]);
    expect([nameOf(trace, 0), serviceOf(trace, 0), kindOf(trace, 0), trace.failures]).toEqual([
      'get',
      'shop',
      'client',
      1,
    ]);
    expect(readSpanDetails(trace, 0)).toMatchObject({
      statusMessage: 'refused',
      events: [{ name: 'retry', time: 50 }],
    });
    expect(attributesOf(trace, 0).find(({ key }) => key === 'peer.service')?.value).toBe('cart');
    expect(read.format).toBe('zipkin');
  });

  it('keeps both sides of a shared ID, and children under their own service', () => {
    const { trace } = open([
      span({ kind: 'CLIENT', name: 'out', localEndpoint: { serviceName: 'a' } }),
      span({ kind: 'SERVER', name: 'in', shared: true, localEndpoint: { serviceName: 'b' } }),
      span({ id: '2', parentId: '1', name: 'work', localEndpoint: { serviceName: 'b' } }),
    ]);
    expect(Array.from(trace.name.keys(), (i) => nameOf(trace, i))).toEqual(['out', 'in', 'work']);
    expect([...trace.parent]).toEqual([-1, 0, 1]);
  });

  it('merges start and finish that were sent apart', () => {
    const endpoint = { localEndpoint: { serviceName: 'a' } };
    const { trace } = open([
      {
        traceId: 'aa'.repeat(8),
        id: '1',
        kind: 'CLIENT',
        name: 'get',
        timestamp: 5_000,
        ...endpoint,
      },
      { traceId: 'aa'.repeat(8), id: '1', duration: 70, ...endpoint },
    ]);
    expect([trace.count, trace.length[0], nameOf(trace, 0)]).toEqual([1, 70, 'get']);
  });

  it('of version 1 has its sides in annotations', () => {
    const at = (value: string, timestamp: number, serviceName: string) => ({
      value,
      timestamp,
      endpoint: { serviceName },
    });
    const { trace } = open([
      {
        traceId: 'aa'.repeat(8),
        id: '1',
        name: 'get',
        annotations: [
          at('cs', 1_000, 'a'),
          at('sr', 1_020, 'b'),
          at('ss', 1_080, 'b'),
          at('cr', 1_100, 'a'),
        ],
        binaryAnnotations: [{ key: 'http.path', value: '/x', endpoint: { serviceName: 'a' } }],
      },
    ]);
    expect(Array.from(trace.name.keys(), (i) => [serviceOf(trace, i), kindOf(trace, i)])).toEqual([
      ['a', 'client'],
      ['b', 'server'],
    ]);
    expect([...trace.length]).toEqual([100, 60]);
    expect(attributesOf(trace, 0).map(({ key }) => key)).toEqual(['http.path']);
  });

  it('is read span by span and trace by trace as well', () => {
    const lines = [span({ name: 'a' }), span({ id: '2', parentId: '1', name: 'b' })];
    const perLine = lines.map((line) => JSON.stringify(line)).join('\n');
    for (const text of [perLine, JSON.stringify([lines])])
      expect(readTraces(text).traces.map(({ response }) => response.spans.start.length)).toEqual([
        2,
      ]);
  });
});
