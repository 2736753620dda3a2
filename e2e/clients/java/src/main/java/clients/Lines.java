package clients;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** Reads and writes records as JSON lines. Each line is complete before the next begins. */
final class Lines {
    static final ObjectMapper JSON = new ObjectMapper();
    private final PrintStream out;

    Lines(Options options) throws IOException {
        String output = options.get("output", "-");
        out = output.equals("-") ? System.out : new PrintStream(
            Files.newOutputStream(Path.of(output)), true, StandardCharsets.UTF_8);
    }

    synchronized void write(ObjectNode line) {
        out.print(line.toString() + "\n");
        out.flush();
    }

    static List<ProducerRecord<byte[], byte[]>> read(Options options) throws IOException {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (String line : Files.readAllLines(Path.of(options.get("input")))) {
            records.add(record(options.get("topic"), JSON.readTree(line)));
        }
        return records;
    }

    private static ProducerRecord<byte[], byte[]> record(String topic, JsonNode line) {
        Integer partition = line.hasNonNull("partition") ? line.get("partition").asInt() : null;
        Long timestamp = line.hasNonNull("timestamp") ? line.get("timestamp").asLong() : null;
        List<Header> headers = new ArrayList<>();
        for (JsonNode header : line.path("headers")) {
            String name = new String(bytes(header.get(0)), StandardCharsets.UTF_8);
            headers.add(new RecordHeader(name, bytes(header.get(1))));
        }
        byte[] key = bytes(line.get("key"));
        byte[] value = bytes(line.get("value"));
        return new ProducerRecord<>(topic, partition, timestamp, key, value, headers);
    }

    static ObjectNode line(ConsumerRecord<byte[], byte[]> record) {
        ObjectNode line = place(record.topic(), record.partition(), record.offset());
        line.put("timestamp", record.timestamp());
        put(line, "key", record.key());
        put(line, "value", record.value());
        ArrayNode headers = line.putArray("headers");
        for (Header header : record.headers()) {
            ArrayNode pair = headers.addArray();
            pair.add(text(header.key().getBytes(StandardCharsets.UTF_8)));
            pair.add(header.value() == null ? null : text(header.value()));
        }
        return line;
    }

    static ObjectNode place(String topic, int partition, long offset) {
        return JSON.createObjectNode()
            .put("topic", topic).put("partition", partition).put("offset", offset);
    }

    private static void put(ObjectNode line, String name, byte[] bytes) {
        line.put(name, bytes == null ? null : text(bytes));
    }

    private static String text(byte[] bytes) {
        return Base64.getEncoder().encodeToString(bytes);
    }

    private static byte[] bytes(JsonNode text) {
        return text == null || text.isNull() ? null : Base64.getDecoder().decode(text.asText());
    }
}
