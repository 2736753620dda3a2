import { describe, expect, it } from 'vitest';
import { built } from '../read/checkout.fixture';
import { destination, destinationOf } from './destination';
import { traceGraph } from './graph';

const of = (name: string, attributes: Readonly<Record<string, string>>) =>
  destination(name, (key) => attributes[key] ?? '');

describe('destination', () => {
  // The same cases as in the collector (`throughline-model`, `destination.rs`).
  it.each([
    ['GET', { 'server.address': 'b', 'server.port': '8080', 'url.path': '/pay' }, 'b:8080/pay'],
    ['GET /pay', { 'server.address': 'b', 'server.port': '8080', 'url.path': '/pay' }, 'b:8080'],
    ['GET billing/pay', { 'server.address': 'billing', 'url.path': '/pay' }, ''],
    ['GET', { 'url.full': 'http://user:secret@b:8080/pay?card=1#x' }, 'b:8080/pay'],
    ['HTTP GET', { 'http.url': 'https://api.example:443/' }, 'api.example'],
    [
      'call',
      { 'rpc.service': 'Cart', 'rpc.method': 'Add', 'server.address': '::1', 'server.port': '50' },
      '[::1]:50/Cart/Add',
    ],
    ['SELECT', { 'server.address': 'pg', 'db.namespace': 'orders' }, 'pg/orders'],
    ['publish', { 'messaging.destination.name': 'orders' }, 'orders'],
    ['send orders', { 'messaging.destination.name': 'orders' }, ''],
    ['GET', {}, ''],
  ])('%s with %o is %s', (name, attributes, text) => {
    expect(of(name, attributes)).toBe(text);
  });

  it('of a long path is cut', () => {
    expect([...of('GET', { 'url.path': 'é'.repeat(500) })]).toHaveLength(161);
  });

  it('separates the nodes of the graph, unless there are many', () => {
    const calls = (count: number) =>
      built(
        Array.from({ length: count }, (_, i) => ({
          id: (i + 1).toString(16),
          name: 'GET',
          tags: { 'span.kind': 'client', 'url.path': `/${i}` },
        })),
      ).trace;
    expect(destinationOf(calls(1), 0)).toBe('/0');
    expect(traceGraph(calls(3)).nodes.map((node) => node.destination)).toEqual(['/0', '/1', '/2']);
    expect(traceGraph(calls(30)).nodes.map((node) => [node.destination, node.count])).toEqual([
      ['', 30],
    ]);
  });
});
