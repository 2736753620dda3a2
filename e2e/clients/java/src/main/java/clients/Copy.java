package clients;

import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;

/** A Streams application that copies the requested number of records to another topic. */
final class Copy {
    private Copy() {}

    static void run(Options options) throws Exception {
        Properties properties = options.connection();
        properties.put("application.id", options.get("group"));
        properties.put("auto.offset.reset", "earliest");
        properties.put("commit.interval.ms", "200");
        properties.put("state.dir", options.get("state"));
        properties.put("processing.guarantee", options.get("guarantee", "at_least_once"));
        properties.put("group.protocol", options.get("protocol", "classic"));
        CountDownLatch left = new CountDownLatch(options.number("count", 1));
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(options.get("topics"), Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
            .peek((key, value) -> left.countDown())
            .to(options.get("to"), Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
        try (KafkaStreams streams = new KafkaStreams(builder.build(), properties)) {
            streams.start();
            if (!left.await(options.number("limit", 60), TimeUnit.SECONDS)) {
                throw new IllegalStateException(left.getCount() + " records did not arrive");
            }
        }
    }
}
