/** The evidence for an inferred parent, in words. */
import { formatPercent } from './format';
import type { ParentEvidence } from './spanDetails';

const WORDS: Readonly<Record<string, string>> = {
  header: 'the message carried a trace context',
  'request-id': 'same request ID as an inbound request',
  thread: 'written by the thread that read the inbound request',
  sole: 'only one request was in flight',
  order: 'matched by order among several requests in flight',
  open: 'the cause is unknown',
};

/** Returns the mark of a span: `inferred 99.9 %`, or the evidence of one that is not inferred. */
export function evidenceMark({ name, inferred, confidence }: ParentEvidence): string {
  if (!inferred) return name;
  return confidence === undefined ? 'inferred' : `inferred ${formatPercent(confidence)}`;
}

/** Returns how the parent was found: `only one request was in flight (sole)`. */
export function evidenceWords({ name }: ParentEvidence): string {
  const words = WORDS[name];
  return words ? `${words} (${name})` : `evidence: ${name || 'not recorded'}`;
}
