/**
 * Sends a trace with the OpenTelemetry SDK for JavaScript and prints its ID.
 *
 * Usage: otlp.mjs json|proto URL [gzip]. One attribute is cut in the middle of an emoji, as the
 * SDK's own limit of attribute lengths does it: UTF-16 then has a lone surrogate.
 */
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtoExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';

const [encoding, url, compression = 'none'] = process.argv.slice(2);
const Exporter = encoding === 'json' ? JsonExporter : ProtoExporter;
const exporter = new Exporter({ url, compression });
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ 'service.name': `js-${encoding}-${compression}` }),
  spanLimits: { attributeValueLengthLimit: 5 },
  spanProcessors: [new BatchSpanProcessor(exporter)],
});
const tracer = provider.getTracer('otlp.mjs', '1.2.3');

const server = tracer.startSpan('GET /buy', {
  kind: SpanKind.SERVER,
  attributes: { cut: 'cake🍰s', count: 7, ratio: 0.5, cached: true, list: ['a', 'b'] },
});
server.addEvent('accepted', { total: 3 });
const child = tracer.startSpan(
  'send orders',
  { kind: SpanKind.PRODUCER },
  trace.setSpan(ROOT_CONTEXT, server),
);
child.setStatus({ code: SpanStatusCode.ERROR, message: 'away' });
child.end();
server.end();
await provider.forceFlush();
await provider.shutdown();
console.log(server.spanContext().traceId);
