/** Menu to download traces as Jaeger JSON or OTLP JSON. */
import { useState } from 'react';
import { fetchJaegerText, fetchOtlp } from '../api/client';
import { openedTrace, type TraceFormat } from '../api/openedFiles';

const FORMATS: readonly (readonly [TraceFormat, string])[] = [
  ['jaeger', 'Jaeger JSON'],
  ['otlp', 'OTLP JSON'],
  ['zipkin', 'Zipkin JSON'],
];
const WRITERS: Readonly<Record<TraceFormat, (ids: readonly string[]) => Promise<string>>> = {
  jaeger: jaegerFile,
  otlp: otlpFile,
  zipkin: zipkinFile,
};

export function DownloadMenu({ ids }: { readonly ids: readonly string[] }) {
  const [state, setState] = useState<'idle' | 'loading' | 'failed'>('idle');

  async function save(format: TraceFormat) {
    setState('loading');
    try {
      const text = await WRITERS[format](ids);
      saveAs(text, ids.length === 1 ? `trace-${ids[0]}-${format}.json` : `traces-${format}.json`);
      setState('idle');
    } catch {
      setState('failed');
    }
  }

  return (
    <label className="download">
      <span className="visually-hidden">Download</span>
      <select
        className="copy"
        value=""
        disabled={state === 'loading' || ids.length === 0}
        onChange={(event) => void save(event.target.value as TraceFormat)}
      >
        <option value="" disabled hidden>
          {state === 'loading' ? 'Loading…' : state === 'failed' ? 'Download failed' : 'Download'}
        </option>
        {FORMATS.filter(([value]) => value !== 'zipkin' || ids.every(isFromZipkin)).map(
          ([value, name]) => (
            // A trace from a file can only be saved in the format of the file.
            <option
              key={value}
              value={value}
              disabled={ids.some((id) => (openedTrace(id)?.format ?? value) !== value)}
            >
              {name}
            </option>
          ),
        )}
      </select>
    </label>
  );
}

async function jaegerFile(ids: readonly string[]): Promise<string> {
  const signal = AbortSignal.timeout(120_000);
  const traces: unknown[] = [];
  for (const id of ids) {
    const { data } = (openedTrace(id)?.document() ??
      JSON.parse(await fetchJaegerText(id, signal))) as { data?: unknown[] };
    traces.push(...(data ?? []));
  }
  return JSON.stringify({ data: traces }, undefined, 1);
}

async function otlpFile(ids: readonly string[]): Promise<string> {
  const signal = AbortSignal.timeout(120_000);
  const resourceSpans: unknown[] = [];
  for (const id of ids) {
    const document = (openedTrace(id)?.document() ?? (await fetchOtlp(id, signal))) as {
      resourceSpans?: unknown[];
    };
    resourceSpans.push(...(document.resourceSpans ?? []));
  }
  return JSON.stringify({ resourceSpans }, undefined, 1);
}

async function zipkinFile(ids: readonly string[]): Promise<string> {
  const spans = ids.flatMap((id) => openedTrace(id)?.document() ?? []);
  return JSON.stringify(spans, undefined, 1);
}

/** The collector does not write Zipkin's JSON: only a trace from such a file is saved as one. */
function isFromZipkin(id: string): boolean {
  return openedTrace(id)?.format === 'zipkin';
}

function saveAs(text: string, name: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
