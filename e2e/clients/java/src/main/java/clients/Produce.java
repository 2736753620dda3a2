package clients;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import java.util.function.UnaryOperator;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Sends the records of a file in order and reports the position of each. */
final class Produce {
    private Produce() {}

    /** Runs a producer, which {@code wrap} may wrap. */
    static void run(
            Options options, Lines lines, UnaryOperator<Producer<byte[], byte[]>> wrap)
            throws Exception {
        Properties properties = options.connection();
        properties.put("compression.type", options.get("codec", "none"));
        properties.put("acks", options.get("acks", "all"));
        properties.put("enable.idempotence", options.get("idempotent", "false"));
        properties.put("linger.ms", options.get("linger", "5"));
        properties.put("max.in.flight.requests.per.connection", options.get("in-flight", "5"));
        properties.put("batch.size", options.get("batch-size", "16384"));
        String transactional = options.get("transactional", "");
        if (!transactional.isEmpty()) {
            properties.put("transactional.id", transactional);
            properties.put("enable.idempotence", "true");
            properties.put("acks", "all");
        }
        List<ProducerRecord<byte[], byte[]>> records = Lines.read(options);
        Producer<byte[], byte[]> plain = new KafkaProducer<>(
            properties, new ByteArraySerializer(), new ByteArraySerializer());
        try (Producer<byte[], byte[]> producer = wrap.apply(plain)) {
            if (transactional.isEmpty()) {
                send(producer, records, options, lines);
            } else {
                transactions(producer, records, options, lines);
            }
        }
    }

    private static void send(
            Producer<byte[], byte[]> producer, List<ProducerRecord<byte[], byte[]>> records,
            Options options, Lines lines)
            throws Exception {
        int pace = options.number("pace", 0);
        int gateAt = options.number("gate-at", -1);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (int at = 0; at < records.size(); at++) {
            if (at == gateAt) {
                producer.flush();
                while (!Files.exists(Path.of(options.get("gate")))) {
                    Thread.sleep(20);
                }
            }
            int index = at;
            sent.add(producer.send(records.get(at), (where, error) -> {
                if (error == null) {
                    lines.write(line(index, where));
                }
            }));
            Thread.sleep(pace);
        }
        for (Future<RecordMetadata> one : sent) {
            one.get();
        }
    }

    private static void transactions(
            Producer<byte[], byte[]> producer, List<ProducerRecord<byte[], byte[]>> records,
            Options options, Lines lines)
            throws Exception {
        int size = options.number("transaction-size", 10);
        int abortEvery = options.number("abort-every", 0);
        int pace = options.number("pace", 0);
        producer.initTransactions();
        for (int begin = 0, number = 1; begin < records.size(); begin += size, number++) {
            producer.beginTransaction();
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int at = begin; at < Math.min(begin + size, records.size()); at++) {
                sent.add(producer.send(records.get(at)));
                Thread.sleep(pace);
            }
            producer.flush();
            boolean committed = abortEvery == 0 || number % abortEvery != 0;
            if (committed) {
                producer.commitTransaction();
            } else {
                producer.abortTransaction();
            }
            for (int at = 0; at < sent.size(); at++) {
                lines.write(line(begin + at, sent.get(at).get()).put("committed", committed));
            }
        }
    }

    private static ObjectNode line(int index, RecordMetadata where) {
        // Without acknowledgements the offset is -1.
        return Lines.place(where.topic(), where.partition(), where.offset()).put("index", index);
    }
}
