/** The fields of a search. What is typed here is the query only once it is submitted. */
import { useEffect, useId, useState, type FormEvent } from 'react';
import { fetchOperations } from '../shell/api';
import { useRequest } from '../shell/request';
import { LIMITS, LOOKBACKS, parseConditions, searchPath, type Lookback, type SearchQuery } from './query';

interface SearchFormProps {
  readonly query: SearchQuery;
  readonly services: readonly string[];
  readonly onSubmit: (query: SearchQuery) => void;
}

export function SearchForm({ query, services, onSubmit }: SearchFormProps) {
  const [draft, setDraft] = useState(query);
  // Back, forward and links change the query from outside; the fields follow.
  useEffect(() => setDraft(query), [searchPath(query)]);
  const { service } = draft;
  const operations = useRequest(service || undefined, (signal) => fetchOperations(service, signal));
  const conditions = parseConditions(draft.attributes);
  const errorId = useId();
  const change = (part: Partial<SearchQuery>) => setDraft((previous) => ({ ...previous, ...part }));

  function submit(event: FormEvent) {
    event.preventDefault();
    if (conditions.ok) onSubmit({ ...draft, attributes: draft.attributes.trim() });
  }

  return (
    <form className="search-form" role="search" aria-label="Traces" onSubmit={submit}>
      <Choice
        label="Service"
        value={service}
        all="All services"
        options={services}
        onChange={(chosen) => change({ service: chosen, operation: '' })}
      />
      <Choice
        label="Operation"
        value={draft.operation}
        all="All operations"
        options={operations.loading ? [] : (operations.value ?? [])}
        disabled={!service}
        onChange={(operation) => change({ operation })}
      />
      <AttributesField
        value={draft.attributes}
        errorId={conditions.ok ? undefined : errorId}
        onChange={(attributes) => change({ attributes })}
      />
      <label className="field">
        <span>Look back</span>
        <select value={draft.lookback} onChange={(event) => change({ lookback: event.target.value as Lookback })}>
          {Object.entries(LOOKBACKS).map(([value, { label }]) => (
            <option key={value} value={value}>
              {label}
            </option>
          ))}
        </select>
      </label>
      <label className="field field-narrow">
        <span>Limit</span>
        <select value={draft.limit} onChange={(event) => change({ limit: Number(event.target.value) })}>
          {LIMITS.map((limit) => (
            <option key={limit}>{limit}</option>
          ))}
        </select>
      </label>
      <button type="submit" className="primary">
        Find traces
      </button>
      {!conditions.ok && (
        <p id={errorId} className="field-error" role="alert">
          {conditions.message}
        </p>
      )}
    </form>
  );
}

interface AttributesFieldProps {
  readonly value: string;
  /** Id of the element that says what is wrong with the value, if anything is. */
  readonly errorId: string | undefined;
  readonly onChange: (value: string) => void;
}

function AttributesField({ value, errorId, onChange }: AttributesFieldProps) {
  return (
    <label className="field field-wide">
      <span>Attributes</span>
      <input
        type="text"
        placeholder="http.response.status_code=500 error=true"
        spellCheck={false}
        autoComplete="off"
        value={value}
        aria-invalid={errorId !== undefined}
        aria-describedby={errorId}
        onChange={(event) => onChange(event.target.value)}
      />
    </label>
  );
}

interface ChoiceProps {
  readonly label: string;
  readonly value: string;
  /** What the empty choice is called. */
  readonly all: string;
  readonly options: readonly string[];
  readonly disabled?: boolean;
  readonly onChange: (value: string) => void;
}

function Choice({ label, value, all, options, disabled = false, onChange }: ChoiceProps) {
  // A value from the address stays selectable while, or although, the collector does not list it.
  const listed = value && !options.includes(value) ? [value, ...options] : options;
  return (
    <label className="field">
      <span>{label}</span>
      <select value={value} disabled={disabled} onChange={(event) => onChange(event.target.value)}>
        <option value="">{all}</option>
        {listed.map((option) => (
          <option key={option} value={option}>
            {option}
          </option>
        ))}
      </select>
    </label>
  );
}
