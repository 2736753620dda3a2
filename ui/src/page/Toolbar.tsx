/** The toolbar of a trace: find, errors, critical path, idle gaps, folding. */
import type { RefObject } from 'react';
import { nextFailedSpan } from '../trace/find';
import { formatCount, formatDuration } from '../trace/format';
import type { ShownPath } from './address';
import { type PageModel, stepMatch } from './state';

const PATHS: readonly (readonly [ShownPath, string])[] = [
  ['none', 'No critical path'],
  ['blocking', 'Critical path: blocking'],
  ['end-to-end', 'Critical path: end to end'],
];

interface ToolbarProps {
  readonly page: PageModel;
  readonly findField: RefObject<HTMLInputElement | null>;
}

export function Toolbar({ page, findField }: ToolbarProps) {
  const { view } = page.state;
  return (
    <div className="toolbar" role="toolbar" aria-label="Timeline">
      <Find page={page} field={findField} />
      <Matches page={page} />
      <Errors page={page} />
      {view === 'timeline' && (
        <>
          <PathChoice page={page} />
          <Gaps page={page} />
          <Folding page={page} />
        </>
      )}
    </div>
  );
}

function Find({
  page,
  field,
}: {
  readonly page: PageModel;
  readonly field: RefObject<HTMLInputElement | null>;
}) {
  const { state, dispatch } = page;
  const found = page.matches.spans;
  const step = (by: 1 | -1) => {
    const index = stepMatch(found, state.active, by);
    if (index !== undefined) dispatch({ type: 'select', index, open: state.open });
  };
  const place = found.indexOf(state.active);
  return (
    <span className="find">
      <input
        ref={field}
        type="search"
        placeholder="Find in this trace"
        aria-label="Find in this trace"
        spellCheck={false}
        autoComplete="off"
        value={state.find}
        onChange={(event) => dispatch({ type: 'set', part: { find: event.target.value } })}
        onKeyDown={(event) => {
          if (event.key === 'Enter') {
            event.preventDefault();
            step(event.shiftKey ? -1 : 1);
          }
          if (event.key === 'Escape') {
            event.preventDefault();
            dispatch({ type: 'set', part: { find: '' } });
            event.currentTarget.blur();
          }
        }}
      />
      {state.find !== '' && (
        <>
          <span className="find-count" role="status">
            {found.length === 0
              ? 'no matches'
              : place < 0
                ? formatCount(found.length, 'match', 'matches')
                : `${place + 1} of ${found.length}`}
          </span>
          <button
            type="button"
            aria-label="Previous match"
            disabled={found.length === 0}
            onClick={() => step(-1)}
          >
            ↑
          </button>
          <button
            type="button"
            aria-label="Next match"
            disabled={found.length === 0}
            onClick={() => step(1)}
          >
            ↓
          </button>
          {(state.view === 'timeline' || state.view === 'journey') && (
            <label className="tick-box" title="Hide spans that neither match nor lead to a match">
              <input
                type="checkbox"
                checked={state.only}
                onChange={(event) =>
                  dispatch({ type: 'set', part: { only: event.target.checked } })
                }
              />
              Matches only
            </label>
          )}
        </>
      )}
    </span>
  );
}

/** Steps through the spans that the search matched. */
function Matches({ page }: { readonly page: PageModel }) {
  const { state, dispatch } = page;
  const { match } = state;
  if (match.length === 0) return null;
  const next = match.find((index) => index > state.active) ?? match[0];
  return (
    <fieldset className="matches" aria-label="Search matches">
      <button
        type="button"
        onClick={() => next !== undefined && dispatch({ type: 'select', index: next })}
      >
        Next search match
      </button>
      <button
        type="button"
        aria-label="Clear search matches"
        onClick={() => dispatch({ type: 'set', part: { match: [] } })}
      >
        ×
      </button>
    </fieldset>
  );
}

function Errors({ page }: { readonly page: PageModel }) {
  const { trace, state, dispatch } = page;
  if (trace.failures === 0) return null;
  const go = () => {
    const index = nextFailedSpan(trace, state.active, 1);
    if (index !== undefined) dispatch({ type: 'select', index });
  };
  return (
    <button type="button" className="next-error" title="Next error (e)" onClick={go}>
      Next error
    </button>
  );
}

function PathChoice({ page }: { readonly page: PageModel }) {
  const { state, dispatch, critical } = page;
  return (
    <span className="path-choice">
      <label>
        <span className="visually-hidden">Critical path</span>
        <select
          value={state.path}
          onChange={(event) =>
            dispatch({ type: 'set', part: { path: event.target.value as ShownPath } })
          }
        >
          {PATHS.map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
      </label>
      {critical && (
        <span className="path-length" role="status">
          {formatDuration(critical.length)}
          {critical.queued > 0 && (
            <>
              {' '}
              + <span className="queue-note">{formatDuration(critical.queued)} in topics</span>
            </>
          )}
          {critical.idle > 0 && ` + ${formatDuration(critical.idle)} idle`}
        </span>
      )}
    </span>
  );
}

function Gaps({ page }: { readonly page: PageModel }) {
  const { scale, state, dispatch } = page;
  if (state.cut && scale.axis.cuts.every(({ settles }) => settles)) return null;
  return (
    <label className="tick-box">
      <input
        type="checkbox"
        checked={state.cut}
        onChange={(event) => dispatch({ type: 'set', part: { cut: event.target.checked } })}
      />
      Hide idle gaps
    </label>
  );
}

function Folding({ page }: { readonly page: PageModel }) {
  const { dispatch, state } = page;
  return (
    <span className="fold-buttons">
      {state.window && (
        <button
          type="button"
          onClick={() => dispatch({ type: 'set', part: { window: undefined } })}
        >
          Full range
        </button>
      )}
      <button
        type="button"
        title="Collapse one level (o)"
        aria-label="Collapse one level"
        onClick={() => dispatch({ type: 'folds', how: 'collapse-level' })}
      >
        −
      </button>
      <button
        type="button"
        title="Expand one level (p)"
        aria-label="Expand one level"
        onClick={() => dispatch({ type: 'folds', how: 'expand-level' })}
      >
        +
      </button>
      <button
        type="button"
        title="Expand all (])"
        onClick={() => dispatch({ type: 'folds', how: 'expand-all' })}
      >
        Expand all
      </button>
      <button
        type="button"
        title="Collapse all ([)"
        onClick={() => dispatch({ type: 'folds', how: 'collapse-all' })}
      >
        Collapse all
      </button>
    </span>
  );
}
