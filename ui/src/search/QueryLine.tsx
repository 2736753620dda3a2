/**
 * The query field: a combobox that completes attribute names and values that the collector has
 * stored.
 */
import { type KeyboardEvent, useEffect, useEffectEvent, useId, useRef, useState } from 'react';
import { completeTexts } from '../api/client';
import {
  applyCompletion,
  type CompletionTarget,
  completionTargetAt,
  INTRINSIC_FIELDS,
  KNOWN_VALUES,
} from './completion';

interface QueryLineProps {
  readonly value: string;
  readonly onChange: (value: string) => void;
  /** The collector's error for this query, with its position. */
  readonly error: { readonly message: string; readonly position?: number } | undefined;
}

/** Delay between a key press and the request for completions. */
const COMPLETION_DELAY_MS = 120;
const MAX_COMPLETIONS = 12;

export function QueryLine({ value, onChange, error }: QueryLineProps) {
  const id = useId();
  const field = useRef<HTMLInputElement>(null);
  const [place, setPlace] = useState<CompletionTarget>();
  const [chosen, setChosen] = useState(-1);
  const options = useOptions(place);
  const isOpen = place !== undefined && options.length > 0;

  const look = () => {
    const caret = field.current?.selectionStart ?? 0;
    setPlace(completionTargetAt(field.current?.value ?? '', caret));
    setChosen(-1);
  };
  const take = (text: string) => {
    if (!place) return;
    const next = applyCompletion(value, place, text);
    onChange(next.line);
    setPlace(undefined);
    requestAnimationFrame(() => {
      field.current?.setSelectionRange(next.caret, next.caret);
      field.current?.focus();
      if (place.what === 'key') look();
    });
  };
  const onKeyDown = (event: KeyboardEvent) => {
    // Also while the completions are being loaded.
    if (place && (event.key === 'Escape' || (event.key === 'Enter' && chosen < 0))) {
      if (event.key === 'Escape') event.preventDefault();
      setPlace(undefined);
      return;
    }
    if (!isOpen) return;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      const step = event.key === 'ArrowDown' ? 1 : -1;
      setChosen(
        (before) =>
          (before + step + options.length + (before < 0 && step < 0 ? 1 : 0)) % options.length,
      );
    } else if ((event.key === 'Enter' || event.key === 'Tab') && chosen >= 0) {
      event.preventDefault();
      take(options[chosen] as string);
    }
  };

  return (
    <div className="field query-line">
      <label htmlFor={id}>Attributes or query</label>
      <input
        id={id}
        ref={field}
        type="text"
        role="combobox"
        placeholder={'http.route=/pay error=true   ·   { duration > 1s && topic = "orders" }'}
        spellCheck={false}
        autoComplete="off"
        aria-autocomplete="list"
        aria-expanded={isOpen}
        aria-controls={`${id}-list`}
        aria-activedescendant={isOpen && chosen >= 0 ? `${id}-${chosen}` : undefined}
        aria-invalid={error !== undefined}
        aria-describedby={error ? `${id}-error` : undefined}
        value={value}
        onChange={(event) => {
          onChange(event.target.value);
          look();
        }}
        onClick={look}
        onKeyDown={onKeyDown}
        onBlur={() => setPlace(undefined)}
      />
      {isOpen && (
        <div id={`${id}-list`} className="completions" role="listbox" aria-label="Completions">
          {options.map((text, i) => (
            <div
              key={text}
              id={`${id}-${i}`}
              role="option"
              tabIndex={-1}
              aria-selected={i === chosen}
              // On mouse down, before the field loses the focus.
              onMouseDown={(event) => {
                event.preventDefault();
                take(text);
              }}
            >
              <bdi>{text}</bdi>
            </div>
          ))}
        </div>
      )}
      {error && (
        <p id={`${id}-error`} className="field-error" role="alert">
          {error.message}
          {error.position !== undefined && <Pointer line={value} position={error.position} />}
        </p>
      )}
    </div>
  );
}

/** The query with a mark at the error. */
function Pointer({ line, position }: { readonly line: string; readonly position: number }) {
  const characters = [...line];
  return (
    <code className="error-place">
      {characters.slice(0, position).join('')}
      <mark>{characters.slice(position, position + 1).join('') || '▁'}</mark>
      {characters.slice(position + 1).join('')}
    </code>
  );
}

function useOptions(place: CompletionTarget | undefined): readonly string[] {
  const [options, setOptions] = useState<readonly string[]>([]);
  const key =
    place &&
    JSON.stringify([place.what, place.text, place.what === 'value' && place.key, place.isTraceQl]);
  const load = useEffectEvent(async (signal: AbortSignal) =>
    place ? fetchCompletions(place, signal) : [],
  );
  useEffect(() => {
    if (key === undefined) {
      setOptions([]);
      return undefined;
    }
    const abort = new AbortController();
    const timer = setTimeout(() => {
      load(abort.signal).then(
        (found) => {
          if (!abort.signal.aborted) setOptions(found);
        },
        // Without completions the field still works; errors are reported by the search.
        () => setOptions([]),
      );
    }, COMPLETION_DELAY_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [key]);
  return options;
}

async function fetchCompletions(
  place: CompletionTarget,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const starts = (text: string) => text.toLowerCase().startsWith(place.text.toLowerCase());
  const limit = String(MAX_COMPLETIONS);
  if (place.what === 'key') {
    const own = place.isTraceQl
      ? INTRINSIC_FIELDS.filter((name) => place.text !== '' && starts(name))
      : [];
    const keys = await completeTexts('keys', { text: place.text, limit }, signal);
    return [...new Set([...own, ...(place.isTraceQl ? keys : unscoped(keys))])].slice(
      0,
      MAX_COMPLETIONS,
    );
  }
  const known = KNOWN_VALUES[place.key];
  if (known) return known.filter(starts);
  if (place.key === 'topic') return completeTexts('topics', { text: place.text, limit }, signal);
  if (place.key === 'name') return completeTexts('operations', { text: place.text, limit }, signal);
  if (place.key === 'duration' || place.key === 'lag') return [];
  return completeTexts('values', { key: place.key, text: place.text, limit }, signal);
}

/** Logfmt does not distinguish attributes of spans and of resources. */
function unscoped(keys: readonly string[]): string[] {
  return keys.flatMap((key) => /^(?:span|resource)\.(.+)$/.exec(key)?.[1] ?? []);
}
