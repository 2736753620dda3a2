/**
 * Reads a file of traces: JSON of OTLP, Jaeger or Zipkin, alone, in lists, one document per line,
 * or inside of the answers of the collector, Jaeger and Tempo.
 */
import type { OpenedTrace } from '../api/openedFiles';
import type { TraceResponse } from '../api/types';
import { readJaeger } from './jaeger';
import { isObject, type JsonObject } from './json';
import { ReadNotes } from './notes';
import { otlpOf, readOtlp } from './otlp';
import { isZipkinSpan, readZipkin, zipkinOf } from './zipkin';

export interface ReadFile {
  readonly traces: readonly OpenedTrace[];
  /** Parts that were skipped or assumed. */
  readonly notes: readonly string[];
}

/** The parts of a file, by format. */
interface FileParts {
  readonly jaeger: JsonObject[];
  /** Documents with `resourceSpans`. */
  readonly otlp: JsonObject[];
  /** Spans. */
  readonly zipkin: unknown[];
  /** Descriptions of documents that hold no traces. */
  readonly others: string[];
}

const SUPPORTED =
  'supported are OTLP JSON ({"resourceSpans": […]}), Jaeger JSON ({"data": […]}), ' +
  'Zipkin JSON ([{"traceId": …}]), the answers of Tempo and of Jaeger’s API v3, and one such ' +
  'document per line';
/** Fields that answers of APIs have around their traces. */
const WRAPPERS = ['result', 'trace', 'data', 'traces'] as const;
const MAX_DEPTH = 6;
const MAX_QUOTED_KEYS = 5;

/**
 * Returns the traces of a file.
 *
 * Throws an `Error` that says what was found and names the supported formats if there are none.
 */
export function readTraces(content: string): ReadFile {
  const notes = new ReadNotes();
  const { documents, problem } = parse(content);
  const parts: FileParts = { jaeger: [], otlp: [], zipkin: [], others: [] };
  for (const document of documents) collect(document, parts, MAX_DEPTH);
  const jaeger = parts.jaeger.map(
    (wire): OpenedTrace => ({
      response: readJaeger(wire, notes),
      format: 'jaeger',
      document: () => ({ data: [wire] }),
    }),
  );
  const otlp = readOtlp(parts.otlp, notes).map((response) =>
    opened(response, 'otlp', () => otlpOf(parts.otlp, response.trace_id)),
  );
  const zipkin = readZipkin(parts.zipkin, notes).map((response) =>
    opened(response, 'zipkin', () => zipkinOf(parts.zipkin, response.trace_id)),
  );
  const traces = [...jaeger, ...otlp, ...zipkin].filter(
    ({ response }) => response.spans.start.length > 0,
  );
  const isFound = parts.jaeger.length + parts.otlp.length + parts.zipkin.length > 0;
  if (traces.length === 0) {
    const reasons = [
      problem,
      isFound && 'its documents have no spans',
      parts.others[0] && `it holds ${parts.others[0]}`,
    ].filter(Boolean);
    const found = reasons.length > 0 ? `: ${reasons.join('; ')}` : '';
    throw new Error(`the file contains no traces${found}; ${SUPPORTED}`);
  }
  if (problem) notes.say(problem);
  for (const other of parts.others.slice(0, MAX_QUOTED_KEYS)) notes.say(`${other} was left out`);
  return { traces, notes: notes.texts() };
}

function opened(
  response: TraceResponse,
  format: OpenedTrace['format'],
  document: () => unknown,
): OpenedTrace {
  return { response, format, document };
}

/** Parses a document, or one per line; lines that cannot be read are left out. */
function parse(content: string): { documents: readonly unknown[]; problem: string } {
  try {
    return { documents: [JSON.parse(content)], problem: '' };
  } catch (error) {
    const lines = content.split('\n').map((line, i) => ({ line, number: i + 1 }));
    const written = lines.filter(({ line }) => line.trim() !== '');
    const documents: unknown[] = [];
    const bad: number[] = [];
    for (const { line, number } of written) {
      try {
        documents.push(JSON.parse(line));
      } catch {
        bad.push(number);
      }
    }
    if (documents.length === 0) return { documents, problem: describe(error, written.length) };
    const last = written.at(-1)?.number;
    const isTorn = bad.length === 1 && bad[0] === last;
    const problem = isTorn
      ? `line ${last} is not valid JSON; the file seems to be cut off there`
      : `line ${bad[0]}${bad.length > 1 ? ` and ${bad.length - 1} more` : ''} is not valid JSON`;
    return { documents, problem };
  }
}

function describe(error: unknown, lines: number): string {
  const reason = error instanceof Error ? error.message : '';
  if (/end of JSON input|Unterminated string/.test(reason))
    return 'its JSON is not complete; the file seems to be cut off';
  if (lines <= 1) return 'line 1 is not valid JSON';
  return `it is neither one JSON document nor one per line (${reason})`;
}

function collect(document: unknown, parts: FileParts, depth: number): void {
  if (Array.isArray(document) && depth > 0) {
    const isSpans = document.length > 0 && document.every((entry) => isZipkinSpan(entry));
    if (isSpans) for (const span of document) parts.zipkin.push(span);
    else for (const entry of document) collect(entry, parts, depth - 1);
    return;
  }
  if (!isObject(document)) {
    if (document !== null)
      parts.others.push(`a ${Array.isArray(document) ? 'list' : typeof document}`);
    return;
  }
  if (Object.hasOwn(document, 'resourceSpans') || Object.hasOwn(document, 'resource_spans')) {
    parts.otlp.push(document);
  } else if (Array.isArray(document.batches)) {
    // Tempo's answers before its API v2.
    parts.otlp.push({ resourceSpans: document.batches });
  } else if (Array.isArray(document.scopeSpans)) {
    parts.otlp.push({ resourceSpans: [document] });
  } else if (typeof document.traceID === 'string' && Object.hasOwn(document, 'spans')) {
    parts.jaeger.push(document);
  } else if (isZipkinSpan(document)) {
    parts.zipkin.push(document);
  } else {
    const wrapper = WRAPPERS.find((name) => typeof document[name] === 'object' && document[name]);
    if (wrapper && depth > 0) collect(document[wrapper], parts, depth - 1);
    else parts.others.push(describeObject(document));
  }
}

function describeObject(document: JsonObject): string {
  const keys = Object.keys(document);
  if (keys.length === 0) return 'an empty object';
  const shown = keys.slice(0, MAX_QUOTED_KEYS).map((key) => JSON.stringify(key.slice(0, 40)));
  return `an object with ${shown.join(', ')}${keys.length > MAX_QUOTED_KEYS ? ', …' : ''}`;
}
