/** The script of a web page that sends a trace with the OpenTelemetry SDK for JavaScript. */
import { SpanKind } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';

const url = new URLSearchParams(location.search).get('collector');
const exporter = new OTLPTraceExporter({
  url: `${url}/v1/traces`,
  // A header that is not safelisted, so that the browser asks first (CORS preflight).
  headers: { 'x-shop': 'page' },
});
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ 'service.name': 'web-page' }),
  spanProcessors: [new SimpleSpanProcessor(exporter)],
});
const span = provider.getTracer('page').startSpan('click', { kind: SpanKind.CLIENT });
span.end();
provider.forceFlush().then(
  () => {
    document.title = span.spanContext().traceId;
  },
  (error) => {
    document.title = `failed: ${error}`;
  },
);
