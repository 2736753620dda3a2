/** Opens traces from a file, with a button or by dropping the file anywhere on the page. */
import { useEffect, useEffectEvent, useRef, useState } from 'react';
import { addOpenedTraces } from '../api/openedFiles';
import { readTraces } from '../read/file';
import { navigate, tracePath } from '../shell/navigation';
import { formatCount } from '../trace/format';

export function OpenFile({ opened }: { readonly opened: () => void }) {
  const field = useRef<HTMLInputElement>(null);
  const [problem, setProblem] = useState('');
  const [outcome, setOutcome] = useState('');
  const [isOver, setOver] = useState(false);

  async function open(file: File | undefined) {
    if (!file) return;
    setProblem('');
    setOutcome('');
    try {
      const { traces, notes } = readTraces(await file.text());
      addOpenedTraces(traces.map((trace) => ({ ...trace, notes })));
      opened();
      const spans = traces.reduce((sum, { response }) => sum + response.spans.start.length, 0);
      const read = `${formatCount(traces.length, 'trace')} with ${formatCount(spans, 'span')} read`;
      setOutcome([`${file.name}: ${read}`, ...notes].join('; '));
      if (traces.length === 1 && traces[0]) navigate(tracePath(traces[0].response.trace_id));
    } catch (error) {
      setProblem(`${file.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  const openDropped = useEffectEvent((event: DragEvent) => {
    void open(event.dataTransfer?.files[0]);
  });

  useEffect(() => {
    const over = (event: DragEvent) => {
      event.preventDefault();
      setOver(event.type === 'dragover');
    };
    const drop = (event: DragEvent) => {
      event.preventDefault();
      setOver(false);
      openDropped(event);
    };
    window.addEventListener('dragover', over);
    window.addEventListener('dragleave', over);
    window.addEventListener('drop', drop);
    return () => {
      window.removeEventListener('dragover', over);
      window.removeEventListener('dragleave', over);
      window.removeEventListener('drop', drop);
    };
  }, []);

  return (
    <span className="open-file">
      <button
        type="button"
        className="small"
        title="JSON of OTLP, Jaeger, Tempo or Zipkin, one per line; or drop a file here"
        onClick={() => field.current?.click()}
      >
        Open file
      </button>
      <input
        ref={field}
        type="file"
        accept=".json,.jsonl,.ndjson,application/json"
        hidden
        aria-label="Trace file"
        onChange={(event) => {
          void open(event.target.files?.[0]);
          event.target.value = '';
        }}
      />
      {isOver && <span className="drop-here">Drop the file to open its traces</span>}
      {outcome && (
        <span className="quiet" role="status">
          {outcome}
        </span>
      )}
      {problem && (
        <span className="field-error" role="alert">
          {problem}
        </span>
      )}
    </span>
  );
}
