/** Editor for link templates, which are stored in this browser. */
import { useId, useState } from 'react';
import { type LinkTemplate, parseTemplates } from '../trace/links';

const STORAGE_KEY = 'throughline.links';

export function loadTemplates(): readonly LinkTemplate[] {
  const parsed = parseTemplates(loadText());
  return parsed.ok ? parsed.templates : [];
}

function loadText(): string {
  try {
    return localStorage.getItem(STORAGE_KEY) ?? '';
  } catch {
    return '';
  }
}

export function LinkSettings() {
  const [text, setText] = useState(loadText);
  const id = useId();
  const parsed = parseTemplates(text);
  return (
    <div className="link-settings">
      <label htmlFor={id}>
        Links from attributes to external pages, one per line: attribute name, space, URL.
        Placeholders: <code>{'{value} {key} {traceId} {spanId} {service}'}</code>
      </label>
      <textarea
        id={id}
        rows={3}
        spellCheck={false}
        placeholder="service.name https://logs.example/search?q={value}"
        aria-invalid={!parsed.ok}
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          if (!parseTemplates(event.target.value).ok) return;
          try {
            localStorage.setItem(STORAGE_KEY, event.target.value);
          } catch {
            // Storage may be forbidden; the templates are then lost.
          }
        }}
      />
      {!parsed.ok && <p className="field-error">{parsed.message}</p>}
    </div>
  );
}
