package clients;

import io.jaegertracing.Configuration;
import io.jaegertracing.internal.JaegerSpanContext;
import io.jaegertracing.internal.JaegerTracer;
import io.opentracing.References;
import io.opentracing.Span;
import io.opentracing.tag.Tags;
import java.util.Map;

/**
 * Sends a trace with Jaeger's client, configured by its environment variables ({@code
 * JAEGER_ENDPOINT}, {@code JAEGER_AGENT_HOST}, {@code JAEGER_SAMPLER_MANAGER_HOST_PORT}..), and
 * prints its id.
 */
public final class Jaeger {
  private static final long SAMPLED_TIMEOUT_NANOS = 20_000_000_000L;

  private Jaeger() {}

  public static void main(String[] args) throws InterruptedException {
    try (JaegerTracer tracer = Configuration.fromEnv().getTracer()) {
      Span server = sampledSpan(tracer);
      server.log(Map.of("event", "accepted", "total", 3));
      server.setTag("ratio", 0.5).setTag("cached", true).setTag("text", "caf\u00e9");
      Span producer =
          tracer
              .buildSpan("To_eshop-topic")
              .asChildOf(server)
              .withTag(Tags.SPAN_KIND, Tags.SPAN_KIND_PRODUCER)
              .start();
      producer.finish();
      Span consumer =
          tracer
              .buildSpan("From_eshop-topic")
              .addReference(References.FOLLOWS_FROM, producer.context())
              .withTag(Tags.SPAN_KIND, Tags.SPAN_KIND_CONSUMER)
              .start();
      Tags.ERROR.set(consumer, true);
      consumer.finish();
      server.finish();
      System.out.println(((JaegerSpanContext) server.context()).getTraceId());
    }
  }

  /**
   * Starts a span once the sampler says so: the remote one begins with one trace in a thousand,
   * until the sampling port has answered.
   */
  private static Span sampledSpan(JaegerTracer tracer) throws InterruptedException {
    long deadline = System.nanoTime() + SAMPLED_TIMEOUT_NANOS;
    int sampled = 0;
    while (true) {
      Span span =
          tracer.buildSpan("GET /checkout").withTag(Tags.SPAN_KIND, Tags.SPAN_KIND_SERVER).start();
      sampled = ((JaegerSpanContext) span.context()).isSampled() ? sampled + 1 : 0;
      // Several in a row are hardly a matter of chance at one in a thousand.
      if (sampled >= 3) {
        return span;
      }
      if (System.nanoTime() > deadline) {
        throw new IllegalStateException("no answer of the sampling port");
      }
      Thread.sleep(20);
    }
  }
}
