package clients;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Reads the requested number of records, commits, and leaves the group. */
final class Consume {
    private static final Duration POLL = Duration.ofMillis(100);

    private Consume() {}

    static void run(Options options) throws Exception {
        Properties properties = options.connection();
        properties.put("group.id", options.get("group"));
        properties.put("max.poll.records", options.get("max-poll", "50"));
        List<String> topics = List.of(options.get("topics").split(","));
        int count = options.number("count", Integer.MAX_VALUE);
        long deadline = System.nanoTime() + options.number("limit", 60) * 1_000_000_000L;
        Lines lines = new Lines(options);
        if (options.get("protocol", "classic").equals("share")) {
            share(options, properties, topics, count, deadline, lines);
        } else {
            group(options, properties, topics, count, deadline, lines);
        }
    }

    private static void group(
            Options options, Properties properties, List<String> topics,
            int count, long deadline, Lines lines) {
        String protocol = options.get("protocol", "classic");
        properties.put("group.protocol", protocol);
        if (protocol.equals("classic")) {
            properties.put("heartbeat.interval.ms", "500");
        }
        properties.put("auto.offset.reset", "earliest");
        boolean isAutomatic = options.is("auto-commit");
        properties.put("enable.auto.commit", Boolean.toString(isAutomatic));
        properties.put("isolation.level", options.get("isolation", "read_uncommitted"));
        properties.put("metadata.max.age.ms", options.get("metadata-age", "300000"));
        var plain = new KafkaConsumer<>(
            properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        try (Consumer<byte[], byte[]> consumer = Tracing.of(options, lines).consumer(plain)) {
            Map<TopicPartition, OffsetAndMetadata> handled = new HashMap<>();
            consumer.subscribe(topics, new CommitBeforeLeaving(consumer, handled));
            boolean distinct = options.is("distinct");
            Set<String> positions = new HashSet<>();
            int seen = 0;
            while (seen < count && System.nanoTime() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
                    if (seen == count) {
                        break;
                    }
                    lines.write(Lines.line(record));
                    if (!isAutomatic) {
                        handled.put(
                            new TopicPartition(record.topic(), record.partition()),
                            new OffsetAndMetadata(record.offset() + 1));
                    }
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
            consumer.commitSync(leaving);
            handled.keySet().removeAll(partitions);
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {}
    }

    private static void share(
            Options options, Properties properties, List<String> topics,
            int count, long deadline, Lines lines)
            throws Exception {
        readFromTheBeginning(options);
        properties.put("share.acknowledgement.mode", "explicit");
        int releaseEvery = options.number("release-every", 0);
        try (var consumer = new KafkaShareConsumer<>(
                properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(topics);
            int accepted = 0;
            while (accepted < count && System.nanoTime() < deadline) {
                List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
                consumer.poll(POLL).forEach(records::add);
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    boolean isFirst = record.deliveryCount().orElse((short) 1) == 1;
                    boolean release =
                        releaseEvery > 0 && record.offset() % releaseEvery == 0 && isFirst;
                    ObjectNode line = Lines.line(record).put("released", release);
                    record.deliveryCount().ifPresent(it -> line.put("delivery_count", it));
                    lines.write(line);
                    consumer.acknowledge(
                        record, release ? AcknowledgeType.RELEASE : AcknowledgeType.ACCEPT);
                    accepted += release ? 0 : 1;
                }
                consumer.commitSync();
            }
        }
    }

    /** Makes the share group begin at the beginning of a topic; the default is its end. */
    private static void readFromTheBeginning(Options options) throws Exception {
        try (Admin admin = Admin.create(options.connection())) {
            var group = new ConfigResource(ConfigResource.Type.GROUP, options.get("group"));
            var entry = new ConfigEntry("share.auto.offset.reset", "earliest");
            var earliest = new AlterConfigOp(entry, AlterConfigOp.OpType.SET);
            admin.incrementalAlterConfigs(Map.of(group, List.of(earliest))).all().get();
        }
    }
}
