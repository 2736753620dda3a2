/**
 * The trace as Jaeger JSON, or in the format of its file; a large trace is cut, and its full text
 * can be downloaded.
 */
import { fetchJaegerText } from '../api/client';
import { openedTrace } from '../api/openedFiles';
import type { PageModel } from '../page/state';
import { CopyButton } from '../shell/CopyButton';
import { ErrorNotice, LoadingNotice } from '../shell/Notice';
import { useRequest } from '../shell/request';
import { formatBytes } from '../trace/units';

/** Number of characters that a browser lays out without a pause. */
const MAX_SHOWN_CHARACTERS = 400_000;

export function JsonView({ page }: { readonly page: PageModel }) {
  const { id } = page.trace;
  const found = useRequest(id, async (signal) => {
    const document = openedTrace(id)?.document() ?? JSON.parse(await fetchJaegerText(id, signal));
    return JSON.stringify(document, undefined, 2);
  });
  if (found.failure && !found.loading)
    return <ErrorNotice subject="the JSON" failure={found.failure} retry={found.reload} />;
  if (found.value === undefined) return <LoadingNotice subject="the JSON" />;
  const text = found.value;
  const isCut = text.length > MAX_SHOWN_CHARACTERS;
  return (
    <section className="panel" aria-label="JSON">
      <p className="panel-note">
        {openedTrace(id)?.format === 'otlp' ? 'OTLP' : 'Jaeger’s'} JSON, {formatBytes(text.length)}
        {isCut &&
          `; first ${formatBytes(MAX_SHOWN_CHARACTERS)} shown, use Download for the full text`}
        <CopyButton text={text} subject="JSON" />
      </p>
      <pre className="json" tabIndex={0}>
        {isCut ? text.slice(0, MAX_SHOWN_CHARACTERS) : text}
      </pre>
    </section>
  );
}
