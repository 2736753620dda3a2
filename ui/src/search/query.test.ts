import { describe, expect, it } from 'vitest';
import { isWithin, narrowQuery } from './brush';
import { applyCompletion, completionTargetAt } from './completion';
import {
  apiParams,
  DEFAULT_QUERY,
  fromLocalField,
  isDuration,
  parseQuery,
  parseTraceId,
  searchPath,
  toLocalField,
} from './query';

describe('address of a query', () => {
  const full = {
    ...DEFAULT_QUERY,
    q: '{ a = "b&c" }',
    service: 'a/b',
    operation: 'GET /x',
    topic: 'orders',
    minDuration: '100ms',
    maxDuration: '2s',
    errors: true,
    lookback: '1h',
    order: 'duration',
    limit: 200,
  } as const;

  it('round-trips', () => {
    expect(parseQuery(searchPath(full).replace(/^search/, ''))).toEqual(full);
    const custom = { ...DEFAULT_QUERY, lookback: 'custom', start: '5', end: '9' } as const;
    expect(parseQuery(searchPath(custom).replace(/^search/, ''))).toEqual(custom);
  });

  it('omits default values', () => {
    expect(searchPath(DEFAULT_QUERY)).toBe('search');
    expect(searchPath({ ...DEFAULT_QUERY, start: '5' })).toBe('search');
  });

  it("accepts Jaeger's links", () => {
    const jaeger =
      '?service=eshop&tags=%7B%22error%22%3A%22true%22%2C' +
      '%22http.route%22%3A%22%2Fa%20%5C%22b%22%7D&start=5&end=9&limit=20';
    expect(parseQuery(jaeger)).toEqual({
      ...DEFAULT_QUERY,
      service: 'eshop',
      q: 'error="true" http.route="/a \\"b"',
      lookback: 'custom',
      start: '5',
      end: '9',
    });
    expect([
      parseQuery('?tags=%7B').q,
      parseQuery('?tags=7').q,
      parseQuery('?lookback=1h&start=5').lookback,
    ]).toEqual(['', '', '1h']);
  });

  it('ignores invalid parameters', () => {
    expect(parseQuery('?limit=-3&lookback=toString&order=constructor&start=soon&errors=1')).toEqual(
      DEFAULT_QUERY,
    );
  });
});

describe('parameters of the API', () => {
  it('have times in microseconds and omit empty conditions', () => {
    const params = apiParams({ ...DEFAULT_QUERY, lookback: '1h', errors: true }, 7_200_000, 'next');
    expect(Object.fromEntries(params)).toEqual({
      start: '3600000000',
      errors: 'true',
      order: 'newest',
      limit: '20',
      cursor: 'next',
    });
  });

  it('contain a custom range unchanged', () => {
    expect(
      Object.fromEntries(
        apiParams({ ...DEFAULT_QUERY, lookback: 'custom', start: '1', end: '2' }, 0),
      ),
    ).toMatchObject({ start: '1', end: '2' });
  });
});

it.each([
  ['100ms', true],
  ['1.5s', true],
  ['250', true],
  ['', true],
  ['fast', false],
  ['-1s', false],
])("isDuration of '%s' is %s", (text, ok) => {
  expect(isDuration(text)).toBe(ok);
});

it.each([
  ['4bf92f3577b34da6a3ce929d0e0e4736', true],
  [' 00F067AA0BA902B7 ', true],
  ['0'.repeat(32), false],
  ['hello', false],
  ['', false],
])("'%s' as a trace ID: %s", (text, ok) => {
  expect(parseTraceId(text) !== undefined).toBe(ok);
});

it('local times of the fields round-trip', () => {
  const micros = String(new Date(2026, 2, 1, 9, 5, 7).getTime() * 1e3);
  expect(toLocalField(micros)).toBe('2026-03-01T09:05:07');
  expect(fromLocalField(toLocalField(micros))).toBe(micros);
  expect([toLocalField(''), fromLocalField('')]).toEqual(['', '']);
});

describe('completion', () => {
  const at = (line: string) => completionTargetAt(line, line.length);

  it('completes a key at the start of a word and a value after an operator', () => {
    expect(at('http.ro')).toMatchObject({ what: 'key', text: 'http.ro', from: 0 });
    expect(at('error=true http.route=/p')).toMatchObject({
      what: 'value',
      key: 'http.route',
      text: '/p',
      from: 22,
    });
    expect(at('{ span.http.route =~ "/p ')).toMatchObject({
      what: 'value',
      key: 'span.http.route',
      text: '/p ',
      isTraceQl: true,
    });
    expect(at('{ a = "b" && dur')).toMatchObject({ what: 'key', text: 'dur', isTraceQl: true });
    expect(at('{ a = 1 } ')).toBeUndefined();
  });

  it('inserts the text at the caret, quoted if necessary', () => {
    const take = (line: string, text: string) =>
      applyCompletion(line, completionTargetAt(line, line.length)!, text).line;
    expect(take('http.ro', 'http.route')).toBe('http.route=');
    expect(take('a=1 k=', 'two words')).toBe('a=1 k="two words" ');
    expect(take('{ span.ht', 'span.http.route')).toBe('{ span.http.route = ');
    expect(take('{ topic = or', 'orders')).toBe('{ topic = "orders" ');
    expect(take('{ topic = "or', 'orders')).toBe('{ topic = "orders" ');
    expect(take('{ status = ', 'error')).toBe('{ status = error ');
    expect(take('{ a = ', '500')).toBe('{ a = 500 ');
  });
});

it('a brush filters traces and narrows the query', () => {
  const brush = { from: 10.4, to: 20, shortest: 5, longest: 50.2 };
  const trace = (start: number, duration: number) =>
    ({ start, duration }) as Parameters<typeof isWithin>[1];
  expect([
    isWithin(brush, trace(15, 20)),
    isWithin(brush, trace(5, 20)),
    isWithin(brush, trace(15, 60)),
  ]).toEqual([true, false, false]);
  expect(narrowQuery({ ...DEFAULT_QUERY, service: 'x' }, brush)).toMatchObject({
    service: 'x',
    lookback: 'custom',
    start: '10',
    end: '20',
    minDuration: '5us',
    maxDuration: '51us',
  });
});
