import { useEffect, useState } from 'react';

interface CopyButtonProps {
  readonly text: string;
  /** Name of the text in the button's label: `trace ID`. */
  readonly subject: string;
  /** Shows an icon instead of a word, for lists with many copy buttons. */
  readonly isIcon?: boolean;
}

/** Copies a text and reports the outcome for a moment. */
export function CopyButton({ text, subject, isIcon = false }: CopyButtonProps) {
  const [outcome, setOutcome] = useState<'Copied' | 'Copy failed'>();
  useEffect(() => {
    if (!outcome) return undefined;
    const timer = setTimeout(() => setOutcome(undefined), 1500);
    return () => clearTimeout(timer);
  }, [outcome]);

  // The clipboard exists in secure contexts only: over plain HTTP from another host it is missing.
  const copy = () =>
    Promise.resolve(navigator.clipboard?.writeText(text) ?? Promise.reject()).then(
      () => setOutcome('Copied'),
      () => setOutcome('Copy failed'),
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
          <span className="visually-hidden" role="status">
            {outcome}
          </span>
        </>
      ) : (
        <span role="status">{outcome ?? 'Copy'}</span>
      )}
    </button>
  );
}
