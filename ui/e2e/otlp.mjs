/** Sends hand-made traces to a collector over OTLP/HTTP JSON and waits until they can be read. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';

/** @typedef {{trace?: string, span: string, attributes?: Record<string, string>}} Link */

/**
 * @typedef {object} SpanSketch
 * @property {string} id 16 hexadecimal digits
 * @property {string} [service]
 * @property {string} name
 * @property {[number, number]} at start and duration in milliseconds after the trace's start
 * @property {string} [parent]
 * @property {Link | Link[]} [follows] links that say FOLLOWS_FROM
 * @property {'internal' | 'server' | 'client' | 'producer' | 'consumer'} [kind]
 * @property {Record<string, string>} [attributes]
 * @property {string[]} [events]
 * @property {boolean} [failed]
 */

const KINDS = ['', 'internal', 'server', 'client', 'producer', 'consumer'];
const READ_TIMEOUT_MS = 30_000;
const PART = 5_000;

/**
 * Sends a document of `fixtures/page` under a new trace ID and returns it once it can be read.
 * @param {string} name
 */
export async function sendFixture(name) {
  const text = await readFile(new URL(`../fixtures/page/${name}.json`, import.meta.url), 'utf8');
  const [, old = ''] = /"traceId": "([0-9a-f]{32})"/.exec(text) ?? [];
  const id = randomBytes(16).toString('hex');
  await postDocument(text.replaceAll(old, id));
  await readable(id, text.split('"spanId"').length - 1);
  return id;
}

/** @param {string} name */
export function fromEnvironment(name) {
  const url = process.env[name];
  if (!url) throw new Error(`set ${name}, for example ${name}=http://127.0.0.1:16686`);
  return url.replace(/\/$/, '');
}

/**
 * Sends a trace that starts `ago` milliseconds before now and returns its id once it can be read.
 * @param {SpanSketch[]} spans
 * @param {{id?: string, ago?: number}} [options]
 */
export async function sendTrace(spans, { id = randomBytes(16).toString('hex'), ago = 1_000 } = {}) {
  const start = BigInt(Date.now() - ago) * 1_000_000n;
  // Like an exporter, sends a large trace in several requests.
  for (let from = 0; from < spans.length; from += PART)
    await post(spans.slice(from, from + PART), id, start);
  await readable(id, spans.length);
  return id;
}

/**
 * @param {SpanSketch[]} spans
 * @param {string} id
 * @param {bigint} start nanoseconds
 */
async function post(spans, id, start) {
  const services = [...new Set(spans.map((span) => span.service ?? 'e2e'))];
  const body = {
    resourceSpans: services.map((service) => ({
      resource: { attributes: attributesOf({ 'service.name': service, 'host.name': 'e2e-host' }) },
      scopeSpans: [
        {
          scope: { name: 'e2e' },
          spans: spans
            .filter((span) => (span.service ?? 'e2e') === service)
            .map((span) => otlpSpan(span, id, start)),
        },
      ],
    })),
  };
  await postDocument(JSON.stringify(body));
}

/** @param {string} body */
async function postDocument(body) {
  const response = await fetch(`${fromEnvironment('THROUGHLINE_OTLP_URL')}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  if (!response.ok) throw new Error(`OTLP answered ${response.status}: ${await response.text()}`);
}

/**
 * @param {SpanSketch} span
 * @param {string} traceId
 * @param {bigint} start nanoseconds
 */
function otlpSpan(span, traceId, start) {
  const from = start + BigInt(Math.round(span.at[0] * 1e6));
  return {
    traceId,
    spanId: span.id,
    ...(span.parent && { parentSpanId: span.parent }),
    name: span.name,
    kind: KINDS.indexOf(span.kind ?? 'internal'),
    startTimeUnixNano: String(from),
    endTimeUnixNano: String(from + BigInt(Math.round(span.at[1] * 1e6))),
    attributes: attributesOf(span.attributes ?? {}),
    events: (span.events ?? []).map((name) => ({ timeUnixNano: String(from), name })),
    links: [span.follows ?? []].flat().map((link) => ({
      traceId: link.trace ?? traceId,
      spanId: link.span,
      attributes: attributesOf({ 'opentracing.ref_type': 'follows_from', ...link.attributes }),
    })),
    status: span.failed ? { code: 2, message: 'it failed' } : {},
  };
}

/** @param {Record<string, string>} attributes */
function attributesOf(attributes) {
  return Object.entries(attributes).map(([key, stringValue]) => ({ key, value: { stringValue } }));
}

/** Returns the ID of the newest complete checkout of the demo. */
export async function newestCheckout(url = fromEnvironment('THROUGHLINE_URL')) {
  const params = new URLSearchParams({
    service: 'notification',
    operation: 'GET /sendEmail',
    limit: '1',
  });
  const response = await fetch(`${url}/api/throughline/search?${params}`);
  const { traces } = /** @type {{traces: {trace_id: string}[]}} */ (await response.json());
  if (!traces[0]) throw new Error('the collector has no checkout of the demo');
  return traces[0].trace_id;
}

/**
 * Waits until the collector shows all spans of a trace.
 * @param {string} id
 * @param {number} spans
 */
async function readable(id, spans) {
  const deadline = Date.now() + READ_TIMEOUT_MS;
  while (Date.now() < deadline) {
    const response = await fetch(
      `${fromEnvironment('THROUGHLINE_URL')}/api/throughline/traces/${id}?raw=true`,
    );
    if (response.ok) {
      const trace = /** @type {{spans: {start: number[]}}} */ (await response.json());
      if (trace.spans.start.length === spans) return;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`trace ${id} with ${spans} spans could not be read within ${READ_TIMEOUT_MS} ms`);
}
