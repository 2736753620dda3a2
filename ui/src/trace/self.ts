/** Self time: the part of a span that is not covered by its children. */
import { at } from './column';
import { endOf, type Trace } from './model';
import { NONE } from './tree';

export function selfTimes(trace: Trace): Float64Array {
  const self = trace.length.slice();
  // Children are in order of start, so one value per parent records how far it is covered.
  const covered = trace.begin.slice();
  for (let i = 0; i < trace.count; i++) {
    const parent = at(trace.parent, i);
    if (parent === NONE) continue;
    const from = Math.max(at(trace.begin, i), at(covered, parent));
    const to = Math.min(endOf(trace, i), endOf(trace, parent));
    if (to <= from) continue;
    self[parent] = at(self, parent) - (to - from);
    covered[parent] = to;
  }
  return self;
}
