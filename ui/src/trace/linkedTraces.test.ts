import { expect, it } from 'vitest';
import { ReadNotes } from '../read/notes';
import type { SpanRecord } from '../read/records';
import { writeTrace } from '../read/writer';
import { findLinkedTraces } from './linkedTraces';

const span: SpanRecord = {
  id: 'a'.repeat(16),
  parent: '',
  name: 'x',
  kind: 1,
  status: 0,
  statusMessage: '',
  start: 1000n,
  duration: 1,
  resource: { service: 's', attributes: [] },
  scope: '',
  attributes: [],
  events: [],
  links: [],
};
const trace = (id: string, ...to: readonly string[]) =>
  writeTrace(
    id,
    [{ ...span, links: to.map((target) => ({ trace: target, span: span.id, attributes: [] })) }],
    new ReadNotes(),
  );

it('follows links in both directions, transitively and through cycles', () => {
  const traces = [
    trace('first', 'second'),
    trace('second', 'second', 'third', 'gone'),
    trace('third', 'first'),
    trace('apart', 'gone'),
  ];
  for (const id of ['first', 'second', 'third']) {
    const { lanes, links, missing } = findLinkedTraces(id, traces);
    expect(lanes.map((lane) => lane.trace_id).sort()).toEqual(['first', 'second', 'third']);
    expect([lanes[0]?.trace_id, links, missing]).toEqual([id, 3, 1]);
  }
  expect(findLinkedTraces('apart', traces)).toMatchObject({
    lanes: [{ trace_id: 'apart' }],
    links: 0,
    missing: 1,
  });
});
