import java.io.FileWriter;
import java.net.HttpURLConnection;
import java.net.Proxy;
import java.net.URI;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * A consumer as tutorials write it: a loop around poll(), all settings at their defaults, offsets
 * committed by the client. Each record takes 80 ms and makes one call. Arguments: brokers, topic,
 * group, URL of the call, output file, number of records.
 */
final class PollLoop {
    private PollLoop() {}

    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", args[0]);
        properties.put("group.id", args[2]);
        // The test begins to send when the group has joined or before: no record may be missed.
        properties.put("auto.offset.reset", "earliest");
        int count = Integer.parseInt(args[5]);
        try (FileWriter output = new FileWriter(args[4], StandardCharsets.UTF_8);
                KafkaConsumer<String, String> consumer = new KafkaConsumer<>(
                    properties, new StringDeserializer(), new StringDeserializer())) {
            // Loads the classes of the HTTP client: a first call takes a second on a busy machine.
            call(args[3], Proxy.NO_PROXY);
            consumer.subscribe(List.of(args[1]));
            int seen = 0;
            while (seen < count) {
                for (ConsumerRecord<String, String> record :
                        consumer.poll(Duration.ofSeconds(1))) {
                    handle(record, args[3]);
                    output.write(record.value() + "\n");
                    output.flush();
                    seen++;
                }
            }
        }
    }

    private static void handle(ConsumerRecord<String, String> record, String url)
            throws Exception {
        Thread.sleep(40);
        call(url + "/" + record.value(), null);
        Thread.sleep(40);
    }

    /** Makes a call through this proxy, or through that of the JVM's options. */
    private static void call(String url, Proxy proxy) throws Exception {
        URL target = URI.create(url).toURL();
        HttpURLConnection call = (HttpURLConnection)
            (proxy == null ? target.openConnection() : target.openConnection(proxy));
        if (call.getResponseCode() != 200) {
            throw new IllegalStateException("HTTP " + call.getResponseCode());
        }
        call.getInputStream().readAllBytes();
    }
}
