/** The bar above every page: home, navigation, trace ID lookup, theme, help. */

import { type FormEvent, useId, useState } from 'react';
import { parseTraceId } from '../search/query';
import { Link } from './Link';
import { navigate, type PageLocation, tracePath } from './navigation';
import { THEMES, useTheme } from './theme';

const THEME_NAMES = { system: 'System theme', light: 'Light theme', dark: 'Dark theme' } as const;

export function TopBar({
  place,
  help,
}: {
  readonly place: PageLocation;
  readonly help: () => void;
}) {
  return (
    <header className="top-bar">
      <Link className="brand" to="search">
        <svg viewBox="0 0 32 32" width="24" height="24" aria-hidden="true">
          <path d="M5 10h10v9q0 3 3 3h9" />
          <circle cx="5.5" cy="10" r="3.2" />
          <circle cx="26.5" cy="22" r="3.2" />
        </svg>
        Throughline
      </Link>
      <nav className="pages" aria-label="Pages">
        <PageLink path="search" name="Search" isHere={place.page === 'search'} />
        <PageLink path="services" name="Services" isHere={place.page === 'services'} />
        <PageLink path="map" name="Map" isHere={place.page === 'map'} />
      </nav>
      <TraceLookUp />
      <ThemeChoice />
      <button
        type="button"
        className="help-button"
        aria-label="Help and keyboard shortcuts"
        title="Help and keyboard shortcuts (?)"
        onClick={help}
      >
        ?
      </button>
    </header>
  );
}

function PageLink({
  path,
  name,
  isHere,
}: {
  readonly path: string;
  readonly name: string;
  readonly isHere: boolean;
}) {
  return (
    <Link to={path} aria-current={isHere ? 'page' : undefined}>
      {name}
    </Link>
  );
}

function TraceLookUp() {
  const [text, setText] = useState('');
  const [wrong, setWrong] = useState(false);
  const errorId = useId();

  function lookUp(event: FormEvent) {
    event.preventDefault();
    const id = parseTraceId(text);
    setWrong(!id);
    if (!id) return;
    setText('');
    navigate(tracePath(id));
  }

  return (
    <search>
      <form className="look-up" aria-label="Trace by ID" onSubmit={lookUp}>
        <input
          type="text"
          placeholder="Open a trace by ID"
          aria-label="Trace ID"
          aria-invalid={wrong}
          aria-describedby={wrong ? errorId : undefined}
          spellCheck={false}
          autoComplete="off"
          value={text}
          onChange={(event) => {
            setText(event.target.value);
            setWrong(false);
          }}
        />
        {wrong && (
          <p id={errorId} className="field-error" role="alert">
            A trace ID has 16 or 32 hexadecimal digits that are not all zero.
          </p>
        )}
      </form>
    </search>
  );
}

function ThemeChoice() {
  const [theme, setTheme] = useTheme();
  return (
    <label className="theme-choice">
      <span className="visually-hidden">Theme</span>
      <select value={theme} onChange={(event) => setTheme(event.target.value as typeof theme)}>
        {THEMES.map((choice) => (
          <option key={choice} value={choice}>
            {THEME_NAMES[choice]}
          </option>
        ))}
      </select>
    </label>
  );
}
