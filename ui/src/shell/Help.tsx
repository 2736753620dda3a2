/** The help dialog: keyboard shortcuts, query syntax, and the reader's own link templates. */
import { useEffect, useRef } from 'react';
import { LinkSettings } from './LinkSettings';

const KEYS: readonly (readonly [string, string])[] = [
  ['↓ ↑ · f b', 'Go to the next or previous span'],
  ['→ ←', 'Expand or go to the first child; collapse or go to the parent'],
  ['Enter · Esc', 'Open or close the details'],
  ['s w', 'Scroll down or up'],
  ['a d · Shift+← →', 'Move the time window left or right'],
  ['+ − · Shift+↑ ↓', 'Zoom in or out; 0 shows the full range'],
  ['] [', 'Expand or collapse all'],
  ['p o', 'Expand or collapse one level'],
  ['e · Shift+e', 'Go to the next or previous error'],
  ['/ · Ctrl+b', 'Find in the trace (service:NAME for one service); Enter and Shift+Enter step'],
  ['?', 'Show this help'],
];

export function Help({ isOpen, close }: { readonly isOpen: boolean; readonly close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (isOpen && !dialog.current?.open) dialog.current?.showModal();
    if (!isOpen && dialog.current?.open) dialog.current.close();
  }, [isOpen]);
  return (
    <dialog ref={dialog} className="help" aria-label="Help" onClose={close}>
      <div className="help-head">
        <h2>Help</h2>
        <button type="button" className="close" aria-label="Close help" onClick={close}>
          ×
        </button>
      </div>
      <div className="help-columns">
        <section>
          <h3>Timeline shortcuts</h3>
          <dl className="keys">
            {KEYS.map(([keys, action]) => (
              <div key={keys}>
                <dt>
                  <kbd>{keys}</kbd>
                </dt>
                <dd>{action}</dd>
              </div>
            ))}
          </dl>
        </section>
        <section>
          <h3>Query syntax</h3>
          <ul className="query-help">
            <li>
              <code>http.route=/pay error=true</code> All attributes on one span
            </li>
            <li>
              <code>{'{ span.http.response.status_code >= 500 && duration > 1s }'}</code> All
              conditions on one span
            </li>
            <li>
              <code>{'{ topic = "orders" } && { status = error }'}</code> Conditions on different
              spans of one trace
            </li>
            <li>A trace ID or a span ID</li>
          </ul>
          <h3>Link templates</h3>
          {isOpen && <LinkSettings />}
        </section>
      </div>
    </dialog>
  );
}
