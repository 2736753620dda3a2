import { expect, it } from 'vitest';
import { linkedCheckout, placed } from '../read/checkout.fixture';
import { evidenceMark, evidenceWords } from './evidence';
import { buildTrace } from './model';
import { readSpanDetails } from './spanDetails';

it('the parents that were considered are read with their probabilities', () => {
  const { trace, at } = placed(linkedCheckout);
  const [response] = trace.responses;
  if (!response) throw new Error('no response');
  const row = trace.row[at('GET /payment')] ?? -1;
  const strings = [...response.strings, 'ab', '01', 'eshop', 'GET /checkout'];
  const text = (back: number) => strings.length - back;
  const woven = buildTrace([
    {
      ...response,
      strings,
      fragments: 3,
      decisions: {
        row: [row, row],
        trace: [text(4), 0],
        span: [text(3), 0],
        target: [-1, -1],
        service: [text(2), 0],
        name: [text(1), 0],
        confidence: [0.97, 0.02],
        chosen: [true, false],
      },
    },
  ]);
  expect(woven.fragments).toBe(3);
  expect(readSpanDetails(woven, at('GET /payment')).candidates).toEqual([
    {
      traceId: 'ab',
      spanId: '01',
      service: 'eshop',
      name: 'GET /checkout',
      confidence: 0.97,
      chosen: true,
    },
    { traceId: '', spanId: '', service: '', name: '', confidence: 0.02, chosen: false },
  ]);
  expect(readSpanDetails(woven, at('GET /checkout')).candidates).toEqual([]);
});

it('the mark of a parent that was found names the evidence', () => {
  const mark = (name: string, inferred: boolean, confidence?: number) =>
    evidenceMark({ name, inferred, ...(confidence !== undefined && { confidence }) });
  expect(mark('timing', true, 0.971)).toBe('timing 97 %');
  expect(mark('sole', true, 0.999)).toBe('inferred 99.9 %');
  expect(mark('offset', false)).toBe('offset');
  expect(evidenceWords({ name: 'offset', inferred: false })).toContain('same offset');
});
