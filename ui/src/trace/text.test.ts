import { describe, expect, it } from 'vitest';
import { formatRate } from './format';
import { linksFor, parseTemplates } from './links';
import { withUnit } from './units';

describe('units', () => {
  it.each([
    ['http.response.body.size', '20480', '20 KiB'],
    ['messaging.message.body.size', '100', undefined],
    ['db.duration_ms', '1500', '1.5 s'],
    ['job.timeout_seconds', '90', '1 m 30 s'],
    ['http.response.status_code', '200', undefined],
    ['x.size', 'large', undefined],
  ])('shows %s = %s as %s', (key, value, text) => {
    expect(withUnit(key, value)).toBe(text);
  });
});

describe('link templates', () => {
  const places = { key: 'service.name', value: 'a b&c', traceId: 't', spanId: 's', service: 'x' };
  const one = (text: string) => {
    const parsed = parseTemplates(text);
    return parsed.ok ? linksFor(parsed.templates, places) : parsed.message;
  };

  it('encode values as parts of a URL', () => {
    expect(one('service.name https://logs.example/?q={value}&t={traceId}')).toEqual([
      'https://logs.example/?q=a%20b%26c&t=t',
    ]);
    expect(one('other https://logs.example/')).toEqual([]);
  });

  it('reject everything but web addresses', () => {
    expect(one('service.name javascript:alert({value})')).toMatch(/Line 1/);
    expect(one('\nservice.name')).toMatch(/Line 2/);
    expect(one('service.name {value}')).toMatch(/Line 1/);
  });

  it('keep their host regardless of the value', () => {
    const parsed = parseTemplates('k https://{value}.example/');
    expect(
      parsed.ok &&
        linksFor(parsed.templates, { ...places, key: 'k', value: 'evil.com/' }).every((url) =>
          new URL(url).host.endsWith('.example'),
        ),
    ).toBe(true);
  });
});

it.each([
  [0, '0'],
  [0.001, '<0.01'],
  [0.0333, '0.033'],
  [4.26, '4.3'],
  [1234.4, '1,234'],
])('shows a rate of %d as %s', (rate, text) => {
  expect(formatRate(rate)).toBe(text);
});
