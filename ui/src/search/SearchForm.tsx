/** The search form. Changes take effect when the form is submitted. */
import { type FormEvent, useEffect, useState } from 'react';
import { completeTexts } from '../api/client';
import { useRequest } from '../shell/request';
import { SelectField, SuggestionField } from './fields';
import { QueryLine } from './QueryLine';
import {
  DEFAULT_QUERY,
  fromLocalField,
  isDuration,
  LIMITS,
  LOOKBACKS,
  ORDERS,
  type Order,
  type SearchQuery,
  toLocalField,
} from './query';

/** Fields that a phone hides while they have their default values. */
const SECONDARY_FIELDS = [
  'operation',
  'topic',
  'minDuration',
  'maxDuration',
  'order',
  'limit',
  'errors',
] as const;

interface SearchFormProps {
  readonly query: SearchQuery;
  readonly services: readonly string[];
  readonly error: { readonly message: string; readonly position?: number } | undefined;
  readonly onSubmit: (query: SearchQuery) => void;
}

export function SearchForm({ query, services, error, onSubmit }: SearchFormProps) {
  const [draft, setDraft] = useState(query);
  // Back, forward and links change the query from outside; the fields follow.
  useEffect(() => setDraft(query), [query]);
  const { service } = draft;
  const operations = useRequest(`operations ${service}`, (signal) =>
    completeTexts('operations', service ? { service } : {}, signal),
  );
  const topics = useRequest('topics', (signal) => completeTexts('topics', {}, signal));
  const change = (part: Partial<SearchQuery>) => setDraft((previous) => ({ ...previous, ...part }));
  // On a phone, secondaryly used fields are hidden until they are requested or have a value.
  const [isExpanded, setExpanded] = useState(false);
  const hasSecondary = SECONDARY_FIELDS.some((name) => draft[name] !== DEFAULT_QUERY[name]);
  const isValid = isDuration(draft.minDuration) && isDuration(draft.maxDuration);

  function submit(event: FormEvent) {
    event.preventDefault();
    if (isValid) onSubmit({ ...draft, q: draft.q.trim() });
  }

  return (
    <search>
      <form
        className={isExpanded || hasSecondary ? 'search-form whole' : 'search-form'}
        aria-label="Traces"
        onSubmit={submit}
      >
        <SelectField
          label="Service"
          value={service}
          emptyLabel="All services"
          options={services}
          onChange={(chosen) => change({ service: chosen, operation: '' })}
        />
        <SuggestionField
          isSecondary
          label="Operation"
          placeholder="All operations"
          value={draft.operation}
          options={operations.value ?? []}
          onChange={(operation) => change({ operation })}
        />
        <SelectField
          isSecondary
          label="Topic"
          value={draft.topic}
          emptyLabel="Any"
          options={topics.value ?? []}
          onChange={(topic) => change({ topic })}
        />
        <QueryLine
          value={draft.q}
          onChange={(q) => change({ q })}
          error={draft.q.trim() === query.q ? error : undefined}
        />
        <TimeRange draft={draft} change={change} />
        <DurationField
          label="Min duration"
          placeholder="100ms"
          value={draft.minDuration}
          onChange={(minDuration) => change({ minDuration })}
        />
        <DurationField
          label="Max duration"
          placeholder="1.5s"
          value={draft.maxDuration}
          onChange={(maxDuration) => change({ maxDuration })}
        />
        <label className="field secondary">
          <span>Order</span>
          <select
            value={draft.order}
            onChange={(event) => change({ order: event.target.value as Order })}
          >
            {Object.entries(ORDERS).map(([value, name]) => (
              <option key={value} value={value}>
                {name[0]?.toUpperCase()}
                {name.slice(1)}
              </option>
            ))}
          </select>
        </label>
        <label className="field field-narrow secondary">
          <span>Limit</span>
          <select
            value={draft.limit}
            onChange={(event) => change({ limit: Number(event.target.value) })}
          >
            {LIMITS.map((limit) => (
              <option key={limit}>{limit}</option>
            ))}
          </select>
        </label>
        <label className="tick-box errors-only secondary">
          <input
            type="checkbox"
            checked={draft.errors}
            onChange={(event) => change({ errors: event.target.checked })}
          />
          Errors only
        </label>
        {!hasSecondary && (
          <button
            type="button"
            className="more-fields"
            aria-expanded={isExpanded}
            onClick={() => setExpanded(!isExpanded)}
          >
            {isExpanded ? 'Fewer fields' : 'More fields'}
          </button>
        )}
        <button type="submit" className="primary">
          Find traces
        </button>
      </form>
    </search>
  );
}

interface TimeRangeProps {
  readonly draft: SearchQuery;
  readonly change: (part: Partial<SearchQuery>) => void;
}

function TimeRange({ draft, change }: TimeRangeProps) {
  return (
    <>
      <label className="field">
        <span>Time</span>
        <select
          value={draft.lookback}
          onChange={(event) => change({ lookback: event.target.value as SearchQuery['lookback'] })}
        >
          {Object.entries(LOOKBACKS).map(([value, { label }]) => (
            <option key={value} value={value}>
              {label}
            </option>
          ))}
          <option value="custom">Custom range</option>
        </select>
      </label>
      {draft.lookback === 'custom' &&
        (['start', 'end'] as const).map((edge) => (
          <label key={edge} className="field">
            <span>{edge === 'start' ? 'From' : 'To'}</span>
            <input
              type="datetime-local"
              step={1}
              value={toLocalField(draft[edge])}
              onChange={(event) => change({ [edge]: fromLocalField(event.target.value) })}
            />
          </label>
        ))}
    </>
  );
}

interface DurationFieldProps {
  readonly label: string;
  readonly placeholder: string;
  readonly value: string;
  readonly onChange: (value: string) => void;
}

function DurationField({ label, placeholder, value, onChange }: DurationFieldProps) {
  const isInvalid = !isDuration(value);
  return (
    <label className="field field-narrow secondary">
      <span>{label}</span>
      <input
        type="text"
        placeholder={placeholder}
        spellCheck={false}
        autoComplete="off"
        aria-invalid={isInvalid}
        value={value}
        onChange={(event) => onChange(event.target.value)}
      />
      {isInvalid && (
        <span className="field-error" role="alert">
          Enter a duration such as 100ms or 1.5s.
        </span>
      )}
    </label>
  );
}
