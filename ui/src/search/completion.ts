/** Completion of a query: what can be completed at the caret, and the query afterwards. */

export type CompletionTarget =
  | {
      readonly what: 'key';
      readonly text: string;
      readonly from: number;
      readonly to: number;
      readonly isTraceQl: boolean;
    }
  | {
      readonly what: 'value';
      readonly key: string;
      readonly text: string;
      readonly from: number;
      readonly to: number;
      readonly isTraceQl: boolean;
    };

const VALUE = /([\w.@:/-]+)\s*(?:!=|=~|!~|>=|<=|=|>|<)\s*("(?:[^"\\]|\\.)*|[^\s"{}()&|]*)$/;
const KEY = /([\w.@:/-]*)$/;

/** Fields of the query language other than attributes. */
export const INTRINSIC_FIELDS = [
  'name',
  'duration',
  'status',
  'kind',
  'topic',
  'lag',
  'trace:duration',
  'rootName',
  'rootServiceName',
] as const;

/** Fields whose values are known without a request. */
export const KNOWN_VALUES: Readonly<Record<string, readonly string[]>> = {
  status: ['error', 'ok', 'unset'],
  kind: ['server', 'client', 'producer', 'consumer', 'internal'],
  error: ['true', 'false'],
};

export function completionTargetAt(line: string, caret: number): CompletionTarget | undefined {
  const before = line.slice(0, caret);
  const isTraceQl = before.lastIndexOf('{') > before.lastIndexOf('}');
  const value = VALUE.exec(before);
  if (value) {
    const [, key = '', raw = ''] = value;
    return {
      what: 'value',
      key,
      text: raw.replace(/^"/, ''),
      from: caret - raw.length,
      to: wordEnd(line, caret),
      isTraceQl,
    };
  }
  if (insideQuotes(before)) return undefined;
  const [, text = ''] = KEY.exec(before) ?? [];
  if (!isTraceQl && before.includes('}')) return undefined;
  return { what: 'key', text, from: caret - text.length, to: wordEnd(line, caret), isTraceQl };
}

/** Returns the query and the caret after a completion has been accepted. */
export function applyCompletion(
  line: string,
  place: CompletionTarget,
  text: string,
): { readonly line: string; readonly caret: number } {
  const isNumberOrWord =
    /^-?\d+(?:\.\d+)?$/.test(text) ||
    KNOWN_VALUES[place.what === 'value' ? place.key : '']?.includes(text);
  const needsQuotes =
    place.what === 'value' && !isNumberOrWord && (place.isTraceQl || /[\s"={}()]/.test(text));
  const written = needsQuotes ? `"${text.replace(/["\\]/g, '\\$&')}"` : text;
  const end = place.what === 'key' ? (place.isTraceQl ? ' = ' : '=') : place.isTraceQl ? ' ' : ' ';
  const inserted = written + end;
  const rest = line.slice(place.to).replace(/^"?\s?/, '');
  return { line: line.slice(0, place.from) + inserted + rest, caret: place.from + inserted.length };
}

function wordEnd(line: string, caret: number): number {
  const [rest = ''] = /^[^\s"{}()&|=<>!]*/.exec(line.slice(caret)) ?? [];
  return caret + rest.length;
}

function insideQuotes(before: string): boolean {
  return (before.match(/(?<!\\)"/g) ?? []).length % 2 === 1;
}
