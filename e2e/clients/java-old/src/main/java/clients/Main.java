package clients;

import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * The program for earlier Java clients: produces, and consumes in classic groups. It shares the
 * rest of its sources with the current client.
 */
public final class Main {
    private Main() {}

    public static void main(String[] args) throws Exception {
        int first = Math.min(1, args.length);
        Options options = Options.parse(Arrays.copyOfRange(args, first, args.length));
        switch (args.length == 0 ? "" : args[0]) {
            case "produce" -> Produce.run(options, new Lines(options), plain -> plain);
            case "consume" -> consume(options);
            default -> throw new IllegalArgumentException(
                "unknown command: use produce or consume");
        }
        System.exit(0);
    }

    // `poll(long)` is the only poll of versions before 2.0.
    @SuppressWarnings("deprecation")
    private static void consume(Options options) throws Exception {
        Properties properties = options.connection();
        properties.put("group.id", options.get("group"));
        properties.put("max.poll.records", "50");
        properties.put("heartbeat.interval.ms", "500");
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        properties.put("isolation.level", options.get("isolation", "read_uncommitted"));
        properties.put("metadata.max.age.ms", options.get("metadata-age", "300000"));
        int count = options.number("count", Integer.MAX_VALUE);
        long deadline = System.nanoTime() + options.number("limit", 60) * 1_000_000_000L;
        Lines lines = new Lines(options);
        boolean distinct = options.is("distinct");
        Set<String> positions = new HashSet<>();
        try (var consumer = new KafkaConsumer<>(
                properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            Map<TopicPartition, OffsetAndMetadata> handled = new HashMap<>();
            consumer.subscribe(
                List.of(options.get("topics").split(",")),
                new CommitBeforeLeaving(consumer, handled));
            int seen = 0;
            while (seen < count && System.nanoTime() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(100)) {
                    if (seen == count) {
                        break;
                    }
                    lines.write(Lines.line(record));
                    handled.put(
                        new TopicPartition(record.topic(), record.partition()),
                        new OffsetAndMetadata(record.offset() + 1));
                    boolean isNew = positions.add(
                        record.topic() + "/" + record.partition() + "/" + record.offset());
                    seen += isNew || !distinct ? 1 : 0;
                }
            }
            consumer.commitSync(handled);
        }
    }

    /** Commits handled records before a partition moves, so that none is read twice. */
    private record CommitBeforeLeaving(
            Consumer<byte[], byte[]> consumer, Map<TopicPartition, OffsetAndMetadata> handled)
            implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            Map<TopicPartition, OffsetAndMetadata> leaving = new HashMap<>(handled);
            leaving.keySet().retainAll(partitions);
            if (!leaving.isEmpty()) {
                consumer.commitSync(leaving);
            }
            handled.keySet().removeAll(partitions);
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {}
    }
}
