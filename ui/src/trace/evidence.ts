/** The evidence for an inferred parent, in words. */
import { formatPercent } from './format';
import type { ParentEvidence } from './spanDetails';

const WORDS: Readonly<Record<string, string>> = {
  header: 'the message carried a trace context',
  'request-id': 'same request ID as an inbound request',
  thread: 'written by the thread that read the inbound request',
  sole: 'only one request was in flight',
  order: 'matched by order among several requests in flight',
  offset: 'same offset of the same partition as the record that was sent',
  proven: 'no other request could have caused it',
  tokens: 'shares a rare value with the request',
  structure: 'no other request stood before this step',
  timing: 'the likeliest of several requests, by their times',
  open: 'the cause is unknown',
};

/** The evidence that the collector finds after the fact, which the mark names. */
const TIERS: ReadonlySet<string> = new Set(['proven', 'tokens', 'structure', 'timing']);

/**
 * Returns the mark of a span: `inferred 99.9 %` or `timing 97.1 %`, or the evidence of one that is
 * not inferred.
 */
export function evidenceMark({ name, inferred, confidence }: ParentEvidence): string {
  if (!inferred) return name;
  const label = TIERS.has(name) ? name : 'inferred';
  return confidence === undefined ? label : `${label} ${formatPercent(confidence)}`;
}

/** Returns how the parent was found: `only one request was in flight (sole)`. */
export function evidenceWords({ name }: ParentEvidence): string {
  const words = WORDS[name];
  return words ? `${words} (${name})` : `evidence: ${name || 'not recorded'}`;
}
