import { useEffect, useState } from 'react';

interface CopyButtonProps {
  readonly text: string;
  /** What is copied, for the button's name: `trace id`. */
  readonly subject: string;
  /** A sign instead of a word, where many stand together. */
  readonly isIcon?: boolean;
}

/** Copies a text and says for a moment that it did. */
export function CopyButton({ text, subject, isIcon = false }: CopyButtonProps) {
  const [outcome, setOutcome] = useState<'Copied' | 'Not copied'>();
  useEffect(() => {
    if (!outcome) return undefined;
    const timer = setTimeout(() => setOutcome(undefined), 1500);
    return () => clearTimeout(timer);
  }, [outcome]);

  // The clipboard exists in secure contexts only; on plain http from another host it is absent.
  const copy = () =>
    Promise.resolve(navigator.clipboard?.writeText(text) ?? Promise.reject()).then(
      () => setOutcome('Copied'),
      () => setOutcome('Not copied'),
    );
  return (
    <button
      type="button"
      className={isIcon ? 'copy-icon' : 'copy'}
      aria-label={`Copy ${subject}`}
      title={`Copy ${subject}`}
      onClick={() => void copy()}
    >
      {isIcon ? (
        <>
          <svg viewBox="0 0 16 16" width="13" height="13" aria-hidden="true">
            <path
              d={outcome === 'Copied' ? 'M3 8.5 6.5 12 13 4.5' : 'M5.5 5.5h7v8h-7zM3.5 10.5v-8h7'}
            />
          </svg>
          <span className="unseen" role="status">
            {outcome}
          </span>
        </>
      ) : (
        <span role="status">{outcome ?? 'Copy'}</span>
      )}
    </button>
  );
}
