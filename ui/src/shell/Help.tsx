/** The help dialog: keyboard shortcuts, query syntax, and the reader's own link templates. */
import { useEffect, useRef } from 'react';
import { LinkSettings } from './LinkSettings';

const KEYS: readonly (readonly [string, string])[] = [
  ['↑ ↓ · f b', 'next and previous span'],
  ['→ ←', 'open or step in, fold or step out'],
  ['Enter · Esc', 'open and close the detail'],
  ['s w', 'scroll down and up'],
  ['a d · Shift+← →', 'move the time window left and right'],
  ['+ − · Shift+↑ ↓', 'zoom in and out; 0 shows all'],
  ['] [', 'expand all, collapse all'],
  ['p o', 'expand one level, collapse one level'],
  ['e · Shift+e', 'next and previous error'],
  [
    '/ · Ctrl+b',
    'find in the trace (service:NAME for one service); then Enter and Shift+Enter step',
  ],
  ['?', 'this help'],
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
        <button type="button" className="close" aria-label="Close the help" onClick={close}>
          ×
        </button>
      </div>
      <div className="help-columns">
        <section>
          <h3>Keys of the timeline</h3>
          <dl className="keys">
            {KEYS.map(([keys, does]) => (
              <div key={keys}>
                <dt>
                  <kbd>{keys}</kbd>
                </dt>
                <dd>{does}</dd>
              </div>
            ))}
          </dl>
        </section>
        <section>
          <h3>The query line</h3>
          <ul className="query-help">
            <li>
              <code>http.route=/pay error=true</code> — all must hold of one span
            </li>
            <li>
              <code>{'{ span.http.response.status_code >= 500 && duration > 1s }'}</code> —
              conditions on one span
            </li>
            <li>
              <code>{'{ topic = "orders" } && { status = error }'}</code> — each may hold of another
              span of the trace
            </li>
            <li>a trace id or a span id alone</li>
          </ul>
          <h3>Your links</h3>
          {isOpen && <LinkSettings />}
        </section>
      </div>
    </dialog>
  );
}
