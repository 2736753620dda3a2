import { describe, expect, it } from 'vitest';
import { apiParams, EVERYTHING, parseConditions, parseQuery, parseTraceId, searchPath } from './query';

describe('the query in the address bar', () => {
  it('is everything when empty', () => {
    expect(parseQuery('')).toEqual(EVERYTHING);
    expect(searchPath(EVERYTHING)).toBe('search');
  });

  it('survives the way there and back', () => {
    const query = {
      service: 'e shop&co',
      operation: 'GET /a?b',
      attributes: 'http.route=/x y="a b"',
      lookback: '1h',
      limit: 100,
    } as const;
    expect(parseQuery(searchPath(query).replace('search', ''))).toEqual(query);
  });

  it('falls back where a value makes no sense', () => {
    expect(parseQuery('?lookback=toString&limit=1e9&operation=x')).toEqual(EVERYTHING);
  });
});

describe('the parameters of the API', () => {
  it('are microseconds, and leave out what is not asked for', () => {
    const params = apiParams({ ...EVERYTHING, lookback: '5m' }, {}, 1_000_000_000);
    expect(Object.fromEntries(params)).toEqual({ start: '999700000000', end: '1000000000000', limit: '20' });
  });

  it('carry the attributes as a JSON map', () => {
    const params = apiParams({ ...EVERYTHING, service: 's', operation: 'o' }, { a: '1' }, 0);
    expect(params.get('tags')).toBe('{"a":"1"}');
    expect(params.get('service')).toBe('s');
    expect(params.get('operation')).toBe('o');
  });
});

describe('conditions', () => {
  const values = (text: string) => {
    const parsed = parseConditions(text);
    return parsed.ok ? { ...parsed.values } : parsed.message;
  };

  it.each([
    ['', {}],
    ['  error=true ', { error: 'true' }],
    ['a=1  b="two words" c=', { a: '1', b: 'two words', c: '' }],
    ['q="say \\"hi\\""', { q: 'say "hi"' }],
    ['url=/x?y=z', { url: '/x?y=z' }],
    ['__proto__=1', Object.fromEntries([['__proto__', '1']])],
  ])('reads %s', (text, expected) => {
    expect(JSON.stringify(values(text))).toBe(JSON.stringify(expected));
  });

  it.each(['error', 'a=1 oops', 'a="open', '=1', 'a=b"c'])('says what it cannot read in %s', (text) => {
    expect(values(text)).toMatch(/^Cannot read/);
  });
});

describe('a trace id', () => {
  it('has 16 or 32 hexadecimal digits, in any case, with space around', () => {
    expect(parseTraceId(' 4BF92F3577B34DA6 ')).toBe('4bf92f3577b34da6');
    expect(parseTraceId('4bf92f3577b34da6a3ce929d0e0e4736')).toBe('4bf92f3577b34da6a3ce929d0e0e4736');
  });

  it.each(['', 'xyz', '4bf92f', '4bf92f3577b34da6a', '0000000000000000'])('is not %s', (text) => {
    expect(parseTraceId(text)).toBeUndefined();
  });
});
