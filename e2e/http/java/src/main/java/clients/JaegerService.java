package clients;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.jaegertracing.internal.JaegerTracer;
import io.jaegertracing.internal.propagation.B3TextMapCodec;
import io.jaegertracing.internal.reporters.RemoteReporter;
import io.jaegertracing.internal.samplers.ConstSampler;
import io.jaegertracing.thrift.internal.senders.HttpSender;
import io.opentracing.Span;
import io.opentracing.SpanContext;
import io.opentracing.propagation.Format;
import io.opentracing.propagation.TextMapAdapter;
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.Executors;
import org.apache.thrift.transport.TTransportException;

/**
 * A service with Jaeger's client, which propagates B3 and reports to a collector by HTTP.
 *
 * <p>Arguments: its name, its address, the collector's URL for Thrift, and the URL of the service
 * that it calls for each request, or {@code -}. It answers with its name and the answer of that
 * service. The sampler is the client's own: it asks an agent, and without one samples a thousandth
 * of the traces that begin here. The property {@code sampled} decides for all of them.
 */
public final class JaegerService {
    private final JaegerTracer tracer;
    private final String name;
    private final String next;

    private JaegerService(String name, String collector, String next) throws IOException {
        B3TextMapCodec b3 = new B3TextMapCodec.Builder().build();
        RemoteReporter reporter =
                new RemoteReporter.Builder()
                        .withSender(sender(collector))
                        .withFlushInterval(100)
                        .build();
        this.name = name;
        this.next = next;
        JaegerTracer.Builder builder =
                new JaegerTracer.Builder(name)
                        .withReporter(reporter)
                        .registerInjector(Format.Builtin.HTTP_HEADERS, b3)
                        .registerExtractor(Format.Builtin.HTTP_HEADERS, b3);
        String sampled = System.getProperty("sampled");
        if (sampled != null) {
            builder = builder.withSampler(new ConstSampler(Boolean.parseBoolean(sampled)));
        }
        this.tracer = builder.build();
    }

    private static HttpSender sender(String collector) throws IOException {
        try {
            return new HttpSender.Builder(collector).build();
        } catch (TTransportException error) {
            throw new IOException(error);
        }
    }

    public static void main(String[] args) throws IOException {
        String[] address = args[1].split(":");
        JaegerService service = new JaegerService(args[0], args[2], args[3]);
        HttpServer server =
                HttpServer.create(
                        new InetSocketAddress(address[0], Integer.parseInt(address[1])), 0);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.createContext("/", service::handle);
        server.start();
        System.out.println("listening");
    }

    private void handle(HttpExchange exchange) throws IOException {
        Map<String, String> headers = new HashMap<>();
        exchange.getRequestHeaders().forEach((key, values) -> headers.put(key, values.get(0)));
        SpanContext caller =
                tracer.extract(Format.Builtin.HTTP_HEADERS, new TextMapAdapter(headers));
        Span span = tracer.buildSpan("handle").asChildOf(caller).start();
        byte[] answer = (next.equals("-") ? name : name + " " + call(span)).getBytes();
        span.finish();
        exchange.sendResponseHeaders(200, answer.length);
        exchange.getResponseBody().write(answer);
        exchange.close();
    }

    private String call(Span span) throws IOException {
        HttpURLConnection connection =
                (HttpURLConnection) URI.create(next).toURL().openConnection();
        Map<String, String> headers = new HashMap<>();
        tracer.inject(span.context(), Format.Builtin.HTTP_HEADERS, new TextMapAdapter(headers));
        headers.forEach(connection::setRequestProperty);
        return new String(connection.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    }
}
