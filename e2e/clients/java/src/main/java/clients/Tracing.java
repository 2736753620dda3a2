package clients;

import brave.handler.MutableSpan;
import brave.handler.SpanHandler;
import brave.opentracing.BraveTracer;
import brave.propagation.B3Propagation;
import brave.propagation.TraceContext;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.jaegertracing.internal.JaegerSpan;
import io.jaegertracing.internal.JaegerTracer;
import io.jaegertracing.internal.samplers.ConstSampler;
import io.jaegertracing.spi.Reporter;
import io.opentracing.Tracer;
import io.opentracing.contrib.kafka.TracingKafkaConsumer;
import io.opentracing.contrib.kafka.TracingKafkaProducer;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.producer.Producer;

/**
 * Optionally wraps a client by opentracing-kafka-client, with Jaeger's tracer (uber-trace-id) or
 * Brave's (B3).
 *
 * <p>With a tracer, each span is written as one output line: trace, span, parent, name.
 */
final class Tracing {
    private final Tracer tracer;

    private Tracing(Tracer tracer) {
        this.tracer = tracer;
    }

    static Tracing of(Options options, Lines lines) {
        return new Tracing(switch (options.get("tracer", "none")) {
            case "jaeger" -> jaeger(lines);
            case "brave" -> brave(lines);
            case "none" -> null;
            default -> throw new IllegalArgumentException(
                "unknown --tracer: use none, jaeger or brave");
        });
    }

    Producer<byte[], byte[]> producer(Producer<byte[], byte[]> plain) {
        return tracer == null ? plain : new TracingKafkaProducer<>(plain, tracer);
    }

    Consumer<byte[], byte[]> consumer(Consumer<byte[], byte[]> plain) {
        return tracer == null ? plain : new TracingKafkaConsumer<>(plain, tracer);
    }

    private static Tracer jaeger(Lines lines) {
        Reporter reporter = new Reporter() {
            @Override
            public void report(JaegerSpan span) {
                var context = span.context();
                var references = span.getReferences();
                long parent = context.getParentId();
                // FOLLOWS_FROM leaves the parent id at 0; the reference has the id.
                if (parent == 0 && !references.isEmpty()) {
                    parent = references.get(0).getSpanContext().getSpanId();
                }
                String id = hex(context.getSpanId());
                lines.write(line(context.getTraceId(), id, hex(parent), span.getOperationName()));
            }

            @Override
            public void close() {}
        };
        return new JaegerTracer.Builder("jaeger").withReporter(reporter)
            .withSampler(new ConstSampler(true)).withTraceId128Bit().build();
    }

    private static Tracer brave(Lines lines) {
        SpanHandler handler = new SpanHandler() {
            @Override
            public boolean end(TraceContext context, MutableSpan span, Cause cause) {
                lines.write(line(span.traceId(), span.id(), span.parentId(), span.name()));
                return true;
            }
        };
        var tracing = brave.Tracing.newBuilder().localServiceName("brave").traceId128Bit(true)
            .propagationFactory(B3Propagation.newFactoryBuilder()
                .injectFormat(B3Propagation.Format.MULTI).build())
            .addSpanHandler(handler).build();
        return BraveTracer.create(tracing);
    }

    private static ObjectNode line(String trace, String span, String parent, String name) {
        return Lines.JSON.createObjectNode()
            .put("trace", trace).put("span", span).put("parent", parent).put("name", name);
    }

    private static String hex(long id) {
        return String.format("%016x", id);
    }
}
