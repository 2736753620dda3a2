/**
 * Where the call of a client span went, for display beside its name: `billing:8080/payment`.
 *
 * The HTTP conventions name a client span after its method alone when the route is unknown, so a
 * list of calls would read `GET`, `GET`, `GET`. The collector and the command line have the same
 * rules (`throughline-model`, `destination.rs`).
 */
import { TOPIC_KEYS } from '../read/messageAttributes';
import { at, textAt } from './column';
import { nameOf, responseOf, type Trace } from './model';
import { CLIENT, PRODUCER } from './spanKind';

/** Of several names in a list, the first one that is set counts. */
const URLS = ['url.full', 'http.url'];
const ADDRESSES = [
  ['server.address', 'server.port'],
  ['net.peer.name', 'net.peer.port'],
  ['http.host', ''],
  ['peer.hostname', 'peer.port'],
  ['network.peer.address', 'network.peer.port'],
  ['net.sock.peer.addr', 'net.sock.peer.port'],
  ['net.peer.ip', 'net.peer.port'],
  ['peer.ipv4', 'peer.port'],
  ['peer.service', ''],
] as const;
const PATHS = ['url.path', 'http.target', 'url.template', 'http.route', 'db.namespace', 'db.name'];
const MAX_LENGTH = 160;

type Lookup = (key: string) => string;

/** Returns the destination of a span, or the empty text. */
export function destinationOf(trace: Trace, index: number): string {
  const kind = trace.kind[index];
  if (kind !== CLIENT && kind !== PRODUCER) return '';
  const { strings, pairs, spans } = responseOf(trace, index);
  const row = at(trace.row, index);
  const values = new Map<string, string>();
  for (let p = row === 0 ? 0 : at(spans.pair_end, row - 1); p < at(spans.pair_end, row); p++) {
    const pair = at(spans.pair, p);
    const value = pairs.value[pair];
    if (typeof value === 'string' || typeof value === 'number')
      values.set(textAt(strings, at(pairs.key, pair)), String(value));
  }
  return destination(nameOf(trace, index), (key) => values.get(key) ?? '');
}

/** Returns the destination without the parts that the name has already. */
export function destination(name: string, value: Lookup): string {
  const isNamed = (part: string) => part !== '' && name.includes(part);
  const topic = first(TOPIC_KEYS, value);
  if (topic) return isNamed(topic) ? '' : shortened(topic);
  const [urlHost, urlPath] = splitUrl(first(URLS, value));
  const host = urlHost || address(value);
  const whole = rpcPath(value) || urlPath || first(PATHS, value);
  const path = whole.split(/[?#]/, 1)[0]?.replace(/^\/+/, '') ?? '';
  const shownHost = isNamed(host.replace(/:[^:]*$/, '')) ? '' : host;
  const shownPath = path === '' || isNamed(path) ? '' : `/${path}`;
  return shortened(shownHost + shownPath);
}

function first(keys: readonly string[], value: Lookup): string {
  for (const key of keys) {
    const found = value(key);
    if (found) return found;
  }
  return '';
}

/** Returns host with port, and path with query, of an absolute URL; credentials are left out. */
function splitUrl(url: string): [string, string] {
  const [, scheme, authority = '', path = ''] = /^([^/:]+):\/\/([^/?#]*)(.*)$/s.exec(url) ?? [];
  const host = authority.slice(authority.lastIndexOf('@') + 1);
  const defaultPort = scheme === 'http' ? /:80$/ : scheme === 'https' ? /:443$/ : /$^/;
  return [host.replace(defaultPort, ''), path];
}

function address(value: Lookup): string {
  for (const [name, portName] of ADDRESSES) {
    const host = value(name);
    if (!host) continue;
    const port = portName ? value(portName) : '';
    // A colon in an address that is not in brackets belongs to IPv6.
    const written = host.split(':').length > 2 && !host.startsWith('[') ? `[${host}]` : host;
    return port && !['0', '80', '443'].includes(port) ? `${written}:${port}` : written;
  }
  return '';
}

function rpcPath(value: Lookup): string {
  const [service, method] = [value('rpc.service'), value('rpc.method')];
  return method && service ? `${service}/${method}` : method;
}

function shortened(text: string): string {
  const characters = [...text.slice(0, 2 * MAX_LENGTH + 2)];
  return characters.length > MAX_LENGTH ? `${characters.slice(0, MAX_LENGTH).join('')}…` : text;
}
