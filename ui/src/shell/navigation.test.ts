import { expect, it } from 'vitest';
import { parseLocation, tracePath } from './navigation';

it.each([
  ['/', '/', { page: 'search', query: '' }],
  ['/search', '/', { page: 'search', query: '' }],
  ['/map', '/', { page: 'map', query: '' }],
  ['/services/', '/', { page: 'services', query: '' }],
  ['/trace/ab12', '/', { page: 'trace', id: 'ab12', query: '' }],
  ['/trace/a%3Cb/', '/', { page: 'trace', id: 'a<b', query: '' }],
  ['/trace/%zz', '/', { page: 'trace', id: '%zz', query: '' }],
  ['/compare/ab/cd', '/', { page: 'compare', a: 'ab', b: 'cd' }],
  ['/compare/ab', '/', { page: 'unknown', path: 'compare/ab' }],
  ['/obs/trace/ab12', '/obs/', { page: 'trace', id: 'ab12', query: '' }],
  ['/obs/', '/obs/', { page: 'search', query: '' }],
  ['/nowhere/x', '/', { page: 'unknown', path: 'nowhere/x' }],
])('reads %s below %s', (path, base, place) => {
  expect(parseLocation(path, '', base)).toEqual(place);
});

it('encodes an invalid ID as one path segment and omits empty parameters', () => {
  expect(tracePath('../x?y', { span: 'a&b', view: '', find: undefined })).toBe(
    'trace/..%2Fx%3Fy?span=a%26b',
  );
});
