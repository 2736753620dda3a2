/** Statistics: the spans of a trace, grouped. */
import { at } from './column';
import { isFailed, nameOf, serviceOf, type Trace } from './model';
import { selfTimes } from './self';
import { attributesOf } from './spanDetails';

/** `service`, `operation`, or the key of an attribute. */
export type Grouping = readonly string[];

export interface GroupStatistics {
  readonly names: readonly string[];
  /** Service of the group; absent when spans are not grouped by service. */
  readonly service?: string;
  readonly count: number;
  readonly errors: number;
  readonly total: number;
  readonly average: number;
  readonly min: number;
  readonly max: number;
  readonly median: number;
  readonly p95: number;
  readonly self: number;
  /** Fraction of the self time of all spans. */
  readonly share: number;
  readonly first: number;
}

export type Statistic =
  | 'count'
  | 'errors'
  | 'total'
  | 'average'
  | 'min'
  | 'max'
  | 'median'
  | 'p95'
  | 'self';

export function groupStatistics(trace: Trace, grouping: Grouping): GroupStatistics[] {
  const self = selfTimes(trace);
  const groups = new Map<string, { names: string[]; members: number[] }>();
  for (let index = 0; index < trace.count; index++) {
    const names = grouping.map((by) => valueBy(trace, index, by));
    const key = names.join('\u0000');
    const group = groups.get(key);
    if (group) group.members.push(index);
    else groups.set(key, { names, members: [index] });
  }
  const allSelf = self.reduce((sum, time) => sum + time, 0);
  const byService = grouping.indexOf('service');
  return [...groups.values()].map(({ names, members }) => {
    const lengths = Float64Array.from(members, (index) => at(trace.length, index)).sort();
    const total = lengths.reduce((sum, length) => sum + length, 0);
    const ownTime = members.reduce((sum, index) => sum + at(self, index), 0);
    const service = names[byService];
    return {
      names,
      ...(service !== undefined && { service }),
      count: members.length,
      errors: members.filter((index) => isFailed(trace, index)).length,
      total,
      average: total / members.length,
      min: at(lengths, 0),
      max: at(lengths, lengths.length - 1),
      median: quantile(lengths, 0.5),
      p95: quantile(lengths, 0.95),
      self: ownTime,
      share: allSelf > 0 ? ownTime / allSelf : 0,
      first: members[0] ?? 0,
    };
  });
}

function valueBy(trace: Trace, index: number, by: string): string {
  if (by === 'service') return serviceOf(trace, index);
  if (by === 'operation') return nameOf(trace, index);
  return attributesOf(trace, index).find((attribute) => attribute.key === by)?.value ?? '(not set)';
}

/** Returns a quantile of an ascending column, as one of its values. */
export function quantile(ascending: Float64Array, part: number): number {
  if (ascending.length === 0) return 0;
  return at(
    ascending,
    Math.min(ascending.length - 1, Math.max(0, Math.ceil(part * ascending.length) - 1)),
  );
}

/** Returns the attribute keys, most frequent first. */
export function attributeKeys(trace: Trace): string[] {
  const counts = new Map<string, number>();
  for (const response of trace.responses) {
    const uses = new Int32Array(response.pairs.key.length);
    for (const pair of response.spans.pair) uses[pair] = at(uses, pair) + 1;
    response.pairs.key.forEach((key, pair) => {
      const name = response.strings[key] ?? '';
      if (at(uses, pair) > 0) counts.set(name, (counts.get(name) ?? 0) + at(uses, pair));
    });
  }
  return [...counts].sort((a, b) => b[1] - a[1]).map(([name]) => name);
}
