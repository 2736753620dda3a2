/**
 * Sends a trace with zipkin-js and prints its ID.
 *
 * Usage: zipkin.mjs v1|v2 URL. `v1` is the encoder that zipkin-js uses when none is named.
 */
import zipkin from 'zipkin';
import transport from 'zipkin-transport-http';

const [version, endpoint] = process.argv.slice(2);
const { Annotation, BatchRecorder, ExplicitContext, Tracer, jsonEncoder } = zipkin;
const logger = new transport.HttpLogger({
  endpoint,
  httpInterval: 50,
  ...(version === 'v2' && { jsonEncoder: jsonEncoder.JSON_V2 }),
});
const answered = new Promise((resolve, reject) => {
  logger.on('success', resolve);
  logger.on('error', reject);
});
const recorder = new BatchRecorder({ logger });
const tracer = new Tracer({
  ctxImpl: new ExplicitContext(),
  recorder,
  localServiceName: `zipkin-js-${version}`,
});
const id = tracer.createRootId();
tracer.letId(id, () => {
  tracer.recordServiceName(tracer.localEndpoint.serviceName);
  tracer.recordRpc('get');
  tracer.recordAnnotation(new Annotation.ClientSend());
  tracer.recordBinary('http.path', '/buy');
  tracer.recordBinary('error', 'refused');
  tracer.recordMessage('retry');
  tracer.recordAnnotation(new Annotation.ClientRecv());
});
// The timers of zipkin-js do not keep a process alive.
const alive = setInterval(() => undefined, 1_000);
await answered;
clearInterval(alive);
console.log(id.traceId);
process.exit(0);
