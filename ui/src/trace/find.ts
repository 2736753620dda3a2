/** Find in a trace: by name, service, ID or attribute; and the next failed span. */
import { at } from './column';
import { isFailed, type Trace } from './model';
import { attributeAt } from './spanDetails';

/** The words to find, and the service that the span must belong to (`service:NAME`). */
export interface FindQuery {
  readonly words: readonly string[];
  readonly service: string | undefined;
}

const SERVICE = /(?:^|\s)service:(?:"([^"]*)"|(\S+))/;

export function parseFind(text: string): FindQuery {
  const [, quoted, plain] = SERVICE.exec(text) ?? [];
  const words = text
    .replace(SERVICE, ' ')
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '');
  return { words, service: quoted ?? plain };
}

/** Returns the find text that matches all spans of a service. */
export function findService(name: string): string {
  return `service:${/\s/.test(name) ? `"${name}"` : name}`;
}

/** Returns the spans that contain all words and belong to the service, in reading order. */
export function findSpans(trace: Trace, text: string): Int32Array {
  const { words, service } = parseFind(text);
  if (words.length === 0 && service === undefined) return new Int32Array(0);
  const only =
    service === undefined ? undefined : trace.services.findIndex(({ name }) => name === service);
  const names = trace.strings.map((name) => wordBits(name.toLowerCase(), words));
  const services = trace.services.map(({ name }) => wordBits(name.toLowerCase(), words));
  const pairs = trace.responses.map((response) =>
    Int32Array.from(response.pairs.key, (_, pair) => {
      const { key, value } = attributeAt(response, pair);
      return wordBits(`${key}=${value}`.toLowerCase(), words);
    }),
  );
  const all = 2 ** Math.min(words.length, 30) - 1;
  const found: number[] = [];
  for (let index = 0; index < trace.count; index++) {
    if (only !== undefined && at(trace.service, index) !== only) continue;
    const lane = at(trace.lane, index);
    const row = at(trace.row, index);
    const spans = trace.responses[lane]?.spans;
    if (!spans) continue;
    let bits = (names[at(trace.name, index)] ?? 0) | (services[at(trace.service, index)] ?? 0);
    const bitsOfPair = pairs[lane] as Int32Array;
    const last = at(spans.pair_end, row);
    for (let p = row === 0 ? 0 : at(spans.pair_end, row - 1); p < last && bits !== all; p++)
      bits |= at(bitsOfPair, at(spans.pair, p));
    if (bits !== all && words.length === 1 && spans.id.startsWith(words[0] as string, 16 * row))
      bits = all;
    if (bits === all) found.push(index);
  }
  return Int32Array.from(found);
}

function wordBits(text: string, words: readonly string[]): number {
  let bits = 0;
  words.forEach((word, i) => {
    if (i < 30 && text.includes(word)) bits |= 1 << i;
  });
  return bits;
}

/** Returns the next (or previous) failed span, wrapping around; `undefined` if there is none. */
export function nextFailedSpan(trace: Trace, from: number, step: 1 | -1): number | undefined {
  for (let far = 1; far <= trace.count; far++) {
    const index = (((from + step * far) % trace.count) + trace.count) % trace.count;
    if (isFailed(trace, index)) return index;
  }
  return undefined;
}
