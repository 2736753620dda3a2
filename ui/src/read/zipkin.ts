/**
 * Reads Zipkin's JSON, version 2 and 1, by the rules of the collector: fragments of one side of a
 * span are merged, both sides of a shared ID are kept, and the exporter's tags become fields.
 */
import type { TraceResponse } from '../api/types';
import { KINDS } from '../trace/spanKind';
import { idOf, isZero } from './ids';
import { field, isObject, type JsonObject, list, text } from './json';
import type { ReadNotes } from './notes';
import { type AttributeRecord, type EventRecord, plainAttribute, type SpanRecord } from './records';
import { earlierOf, fromMicroseconds, microseconds } from './time';
import { writeTrace } from './writer';

interface ZipkinHalf {
  readonly trace: string;
  readonly id: string;
  readonly parent: string;
  readonly kind: number;
  readonly name: string;
  readonly service: string;
  readonly start: bigint | undefined;
  readonly duration: number | undefined;
  readonly tags: ReadonlyMap<string, string>;
  readonly endpoints: readonly AttributeRecord[];
  readonly events: readonly EventRecord[];
}

/** Annotations of version 1 that say on which side a span was recorded, and when it began. */
const V1_SIDES = [
  { begin: 'cs', end: 'cr', kind: 3 },
  { begin: 'sr', end: 'ss', kind: 2 },
  { begin: 'ms', end: '', kind: 4 },
  { begin: 'mr', end: '', kind: 5 },
] as const;
const FIELD_TAGS = new Set([
  'otel.status_code',
  'otel.status_description',
  'otel.scope.name',
  'otel.library.name',
  'otel.scope.version',
  'otel.library.version',
  'span.kind',
]);

/** Returns whether a JSON value is a span of Zipkin. */
export function isZipkinSpan(value: unknown): boolean {
  return isObject(value) && typeof value.traceId === 'string' && typeof value.id === 'string';
}

/** Returns the traces of a list of spans. */
export function readZipkin(spans: readonly unknown[], notes: ReadNotes): TraceResponse[] {
  const traces = new Map<string, ZipkinHalf[]>();
  for (const half of spans.filter(isObject).flatMap(readHalves)) {
    const known = traces.get(half.trace) ?? [];
    known.push(half);
    traces.set(half.trace, known);
  }
  return [...traces].map(([id, halves]) => writeTrace(id, separateSides(halves), notes));
}

/** Returns the spans of a list that belong to a trace. */
export function zipkinOf(spans: readonly unknown[], traceId: string): unknown {
  return spans.filter((span) => idOf(field(span, 'traceId'), 32) === traceId);
}

function readHalves(span: JsonObject): ZipkinHalf[] {
  if (Array.isArray(span.binaryAnnotations) || hasV1Annotations(span)) return readV1(span);
  const parent = span.parentId ? idOf(span.parentId, 16) : '';
  const id = idOf(span.id, 16);
  const tags = new Map(
    Object.entries(isObject(span.tags) ? span.tags : {}).map(([key, value]) => [key, text(value)]),
  );
  const kind = (text(span.kind) || (tags.get('span.kind') ?? '')).toLowerCase();
  return [
    {
      trace: idOf(span.traceId, 32),
      id,
      parent: isZero(parent) || parent === id ? '' : parent,
      kind: Math.max(0, KINDS.indexOf(kind as (typeof KINDS)[number])),
      name: text(span.name),
      service: text(field(span.localEndpoint, 'serviceName')),
      start: fromMicroseconds(span.timestamp),
      duration: microseconds(span.duration),
      tags,
      endpoints: [
        ...endpointAttributes(span.localEndpoint, 'network.local'),
        ...peerAttributes(span.remoteEndpoint),
      ],
      events: readEvents(list(span.annotations)),
    },
  ];
}

function hasV1Annotations({ annotations }: JsonObject): boolean {
  return list(annotations).some((annotation) => isObject(field(annotation, 'endpoint')));
}

/** Version 1 has both sides in one span, distinguished by its annotations. */
function readV1(span: JsonObject): ZipkinHalf[] {
  const annotations = list(span.annotations).filter(isObject);
  const tags = list(span.binaryAnnotations).filter(isObject);
  const at = (value: string) => annotations.find((annotation) => annotation.value === value);
  const sides = V1_SIDES.filter(({ begin, end }) => at(begin) || (end !== '' && at(end)));
  const named = new Set<unknown>(V1_SIDES.flatMap(({ begin, end }) => [begin, end]));
  const wholeStart = fromMicroseconds(span.timestamp);
  const wholeDuration = microseconds(span.duration);
  const halves = sides.length > 0 ? sides : [undefined];
  return halves.map((side, i) => {
    const begin = side && at(side.begin);
    const end = side && side.end !== '' ? at(side.end) : undefined;
    const [from, to] = [fromMicroseconds(begin?.timestamp), fromMicroseconds(end?.timestamp)];
    const endpoint =
      begin?.endpoint ?? end?.endpoint ?? tags[0]?.endpoint ?? annotations[0]?.endpoint;
    const service = text(field(endpoint, 'serviceName'));
    const ownTags = tags.filter(
      (tag) =>
        !['ca', 'sa', 'ma'].includes(text(tag.key)) &&
        (halves.length === 1 || (text(field(tag.endpoint, 'serviceName')) || service) === service),
    );
    const peer = tags.find((tag) => ['sa', 'ma', 'ca'].includes(text(tag.key)));
    const parent = span.parentId ? idOf(span.parentId, 16) : '';
    const isWhole = i === 0 && wholeStart !== undefined;
    return {
      trace: idOf(span.traceId, 32),
      id: idOf(span.id, 16),
      parent: isZero(parent) ? '' : parent,
      kind: side?.kind ?? 0,
      name: text(span.name),
      service,
      start: isWhole ? wholeStart : from,
      duration:
        isWhole && wholeDuration !== undefined
          ? wholeDuration
          : from !== undefined && to !== undefined
            ? Number(to - from) / 1e3
            : undefined,
      tags: new Map(ownTags.map((tag) => [text(tag.key), text(tag.value)])),
      endpoints: [
        ...endpointAttributes(endpoint, 'network.local'),
        ...peerAttributes(side?.kind === 3 || side?.kind === 4 ? peer?.endpoint : undefined),
      ],
      events: i === 0 ? readEvents(annotations.filter(({ value }) => !named.has(value))) : [],
    };
  });
}

function readEvents(annotations: readonly unknown[]): EventRecord[] {
  return annotations.filter(isObject).map((annotation) => ({
    time: fromMicroseconds(annotation.timestamp),
    name: text(annotation.value) || 'event',
    attributes: [],
  }));
}

function endpointAttributes(endpoint: unknown, prefix: string): AttributeRecord[] {
  const address = text(field(endpoint, 'ipv4')) || text(field(endpoint, 'ipv6'));
  const port = Number(field(endpoint, 'port'));
  return [
    ...(address ? [plainAttribute(`${prefix}.address`, address)] : []),
    ...(port > 0 ? [plainAttribute(`${prefix}.port`, port)] : []),
  ];
}

function peerAttributes(endpoint: unknown): AttributeRecord[] {
  const service = text(field(endpoint, 'serviceName'));
  return [
    ...(service ? [plainAttribute('peer.service', service)] : []),
    ...endpointAttributes(endpoint, 'network.peer'),
  ];
}

/**
 * Merges fragments of one side, and gives each further side of an ID an ID of its own below the
 * first; children hang under the side of their own service.
 */
function separateSides(halves: readonly ZipkinHalf[]): SpanRecord[] {
  const byId = new Map<string, ZipkinHalf[]>();
  for (const half of halves) {
    const sides = byId.get(half.id) ?? [];
    const same = sides.findIndex(
      (side) =>
        (side.kind === half.kind || side.kind === 0 || half.kind === 0) &&
        (side.service === half.service || side.service === '' || half.service === ''),
    );
    const known = sides[same];
    if (known) sides[same] = mergeFragments(known, half);
    else sides.push(half);
    byId.set(half.id, sides);
  }
  for (const sides of byId.values()) sides.sort((a, b) => sideRank(a) - sideRank(b));
  const idOfSide = (half: ZipkinHalf) => {
    const place = byId.get(half.id)?.indexOf(half) ?? 0;
    return place <= 0 ? half.id : madeUpId(`${half.id} ${half.service} ${half.kind}`);
  };
  const parentOf = (half: ZipkinHalf) => {
    const own = byId.get(half.id) ?? [];
    if (own[0] !== half && own[0]) return idOfSide(own[0]);
    const above = byId.get(half.parent);
    const local = above?.find(({ service }) => service === half.service);
    return local ? idOfSide(local) : half.parent;
  };
  return [...byId.values()].flat().map((half) => recordOf(half, idOfSide(half), parentOf(half)));
}

/** The caller keeps the ID. */
function sideRank({ kind }: ZipkinHalf): number {
  return kind === 3 || kind === 4 ? 0 : 1;
}

function mergeFragments(a: ZipkinHalf, b: ZipkinHalf): ZipkinHalf {
  const [first, second] = a.kind === 0 && b.kind !== 0 ? [b, a] : [a, b];
  return {
    ...first,
    parent: first.parent || second.parent,
    name: first.name || second.name,
    service: first.service || second.service,
    start: earlierOf(first.start, second.start),
    duration: first.duration ?? second.duration,
    tags: new Map([...second.tags, ...first.tags]),
    endpoints: first.endpoints.length > 0 ? first.endpoints : second.endpoints,
    events: [...first.events, ...second.events],
  };
}

function recordOf(half: ZipkinHalf, id: string, parent: string): SpanRecord {
  const error = half.tags.get('error');
  // In Zipkin the tag means a failure whatever its value, except for a written "false".
  const failed =
    (error !== undefined && error !== 'false') || half.tags.get('otel.status_code') === 'ERROR';
  const message = error && error !== 'true' && error !== 'false' ? error : undefined;
  return {
    id,
    parent,
    name: half.name,
    kind: half.kind,
    status: failed ? 2 : half.tags.get('otel.status_code') === 'OK' ? 1 : 0,
    statusMessage: message ?? half.tags.get('otel.status_description') ?? '',
    start: half.start,
    duration: half.duration ?? 0,
    resource: { service: half.service || '(no service)', attributes: [] },
    scope: half.tags.get('otel.scope.name') ?? half.tags.get('otel.library.name') ?? '',
    attributes: [
      ...[...half.tags]
        .filter(([key]) => !FIELD_TAGS.has(key))
        .map(([key, value]) => plainAttribute(key, value)),
      ...half.endpoints,
    ],
    events: half.events,
    links: [],
  };
}

/** Returns 16 hex digits that follow from the text (two FNV-1a hashes). */
function madeUpId(of: string): string {
  const hash = (seed: number) => {
    let value = seed;
    for (let i = 0; i < of.length; i++)
      value = Math.imul(value ^ of.charCodeAt(i), 0x01000193) >>> 0;
    return value.toString(16).padStart(8, '0');
  };
  return `${hash(0x811c9dc5)}${hash(0x2f0b4a1d)}`;
}
