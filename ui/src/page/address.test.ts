import { expect, it } from 'vitest';
import { addressParams, parseAddress } from './address';

it('an address round-trips, and default values are omitted', () => {
  const address = {
    view: 'flame',
    span: 'ab12',
    find: 'a b',
    match: ['0123456789abcdef', 'fedcba9876543210'],
    only: true,
    path: 'end-to-end',
    cut: false,
    raw: true,
    window: [10, 250.5],
  } as const;
  const params = new URLSearchParams(addressParams(address) as Record<string, string>);
  expect(parseAddress(`?${params}`)).toEqual(address);
  expect(Object.values(addressParams(parseAddress(''))).every((value) => value === undefined)).toBe(
    true,
  );
});

it("reads Jaeger's deep link and ignores invalid parameters", () => {
  expect(parseAddress('?uiFind=ab12').span).toBe('ab12');
  expect(parseAddress('?view=nope&path=x&window=9-3&match=x,')).toEqual({
    view: 'timeline',
    find: '',
    match: [],
    only: false,
    path: 'none',
    cut: true,
    raw: false,
  });
});
