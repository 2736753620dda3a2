/** Remarks on a file for the reader: each kind once, with its count. */
import { formatCount } from '../trace/format';

export class ReadNotes {
  private readonly sentences = new Set<string>();
  private readonly counts = new Map<string, { count: number; singular: string; plural: string }>();

  /** Notes one case: `add('event without a time', 'events without a time')`. */
  add(singular: string, plural = `${singular}s`): void {
    const known = this.counts.get(singular);
    if (known) known.count += 1;
    else this.counts.set(singular, { count: 1, singular, plural });
  }

  /** Notes a sentence. */
  say(sentence: string): void {
    this.sentences.add(sentence);
  }

  texts(): string[] {
    const counted = [...this.counts.values()].map(({ count, singular, plural }) =>
      formatCount(count, singular, plural),
    );
    return [...this.sentences, ...counted];
  }
}
