/** Reads a file of traces: Jaeger JSON, OTLP JSON, or one OTLP document per line. */
import type { OpenedTrace } from '../api/openedFiles';
import { readJaeger } from './jaeger';
import { otlpOf, readOtlp } from './otlp';
import type { WireTrace } from './wire';

/**
 * Returns the traces of a file.
 *
 * Throws an `Error` that names the supported formats if there are none.
 */
export function readTraces(text: string): OpenedTrace[] {
  const documents = parse(text);
  const jaeger = documents.flatMap(jaegerTraces).map(
    (wire): OpenedTrace => ({
      response: readJaeger(wire),
      format: 'jaeger',
      document: () => ({ data: [wire] }),
    }),
  );
  const otlp = readOtlp(documents).map(
    (response): OpenedTrace => ({
      response,
      format: 'otlp',
      document: () => otlpOf(documents, response.trace_id),
    }),
  );
  const traces = [...jaeger, ...otlp].filter(({ response }) => response.spans.start.length > 0);
  if (traces.length === 0)
    throw new Error(
      'the file contains no traces; supported are Jaeger JSON ({"data": […]}) ' +
        'and OTLP JSON ({"resourceSpans": […]})',
    );
  return traces;
}

function parse(text: string): unknown[] {
  try {
    return [JSON.parse(text)];
  } catch {
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    return lines.map((line, i) => {
      try {
        return JSON.parse(line) as unknown;
      } catch {
        throw new Error(
          `line ${i + 1} is not valid JSON; expected one JSON document, or one per line`,
        );
      }
    });
  }
}

function jaegerTraces(document: unknown): WireTrace[] {
  if (Array.isArray(document)) return document.flatMap(jaegerTraces);
  if (typeof document !== 'object' || document === null) return [];
  const { data, traceID, spans } = document as {
    data?: unknown;
    traceID?: unknown;
    spans?: unknown;
  };
  if (Array.isArray(data)) return data.flatMap(jaegerTraces);
  return typeof traceID === 'string' && Array.isArray(spans) ? [document as WireTrace] : [];
}
