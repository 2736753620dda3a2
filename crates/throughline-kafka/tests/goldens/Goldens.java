// Writes messages and record batches with Apache Kafka's own classes, for tests/java.rs and
// tests/batch.rs.
//
// The messages are the requests and responses of the APIs in the table of src/api.rs, in every
// version of this Kafka: once with all fields of the version set and an unknown tagged field in
// each structure, and once with default values. Messages that the crate edits (addresses, records,
// versions) are written once more with the edit. The batches are in every codec, as Java's
// producers write them.
//
// Run at the top of the repository, after `cargo xtask kafka` has fetched the jars:
//
//   java -cp '.tools/kafka-4.4.0/*' crates/throughline-kafka/tests/goldens/Goldens.java \
//     crates/throughline-kafka/tests/goldens

import java.lang.reflect.Method;
import java.lang.reflect.ParameterizedType;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.*;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.message.ApiVersionsResponseData;
import org.apache.kafka.common.protocol.*;
import org.apache.kafka.common.protocol.types.*;
import org.apache.kafka.common.record.*;
import org.apache.kafka.common.record.internal.*;

public class Goldens {
    static final ApiMessageType[] APIS = {
        ApiMessageType.PRODUCE, ApiMessageType.FETCH, ApiMessageType.METADATA,
        ApiMessageType.OFFSET_COMMIT, ApiMessageType.FIND_COORDINATOR, ApiMessageType.JOIN_GROUP,
        ApiMessageType.HEARTBEAT, ApiMessageType.LEAVE_GROUP, ApiMessageType.SYNC_GROUP,
        ApiMessageType.SASL_HANDSHAKE, ApiMessageType.API_VERSIONS,
        ApiMessageType.TXN_OFFSET_COMMIT, ApiMessageType.DESCRIBE_CLUSTER,
        ApiMessageType.CONSUMER_GROUP_HEARTBEAT, ApiMessageType.STREAMS_GROUP_HEARTBEAT,
        ApiMessageType.SHARE_FETCH, ApiMessageType.SHARE_ACKNOWLEDGE,
        ApiMessageType.CREATE_TOPICS, ApiMessageType.DESCRIBE_CONFIGS,
        ApiMessageType.ALTER_CONFIGS, ApiMessageType.INCREMENTAL_ALTER_CONFIGS,
    };

    static final String TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        List<String> messages = new ArrayList<>();
        for (ApiMessageType api : APIS) {
            for (boolean request : new boolean[] {true, false}) {
                Schema[] schemas = request ? api.requestSchemas() : api.responseSchemas();
                short highest = api.highestSupportedVersion(false);
                for (short version = api.lowestSupportedVersion(); version <= highest; version++) {
                    messages.add(message(api, request, version, schemas[version]));
                }
            }
        }
        short highest = ApiMessageType.API_VERSIONS.highestSupportedVersion(false);
        for (short version = 0; version <= highest; version++) {
            messages.add(clamped(version));
        }
        Files.write(Path.of(args[0], "messages.jsonl"), messages);
        List<String> batches = new ArrayList<>();
        for (String codec : new String[] {"none", "gzip", "snappy", "lz4", "zstd"}) {
            batches.add(batch(codec, "small", small()));
            if (!codec.equals("none")) batches.add(batch(codec, "large", large()));
        }
        Files.write(Path.of(args[0], "batches.jsonl"), batches);
    }

    // === messages ===

    static String message(ApiMessageType api, boolean request, short version, Schema schema)
        throws Exception {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("api", api.apiKey());
        line.put("name", api.name);
        line.put("kind", request ? "request" : "response");
        line.put("version", version);
        line.put("default", hex(written(request ? api.newRequest() : api.newResponse(), version)));
        Filler filler = new Filler("", -1, null);
        line.put("full", hex(filled(api, request, version, schema, filler)));
        if (filler.addresses > 0) {
            Filler moved = new Filler("a.host.that.is.somewhat.longer.than.most", 65000, null);
            line.put("moved", hex(filled(api, request, version, schema, moved)));
        }
        if (filler.records > 0) {
            Filler longer = new Filler("", -1, "z".repeat(300).getBytes(StandardCharsets.UTF_8));
            line.put("longer", hex(filled(api, request, version, schema, longer)));
        }
        line.put("says", filler.says);
        return JSON.writeValueAsString(line);
    }

    static byte[] filled(
        ApiMessageType api, boolean request, short version, Schema schema, Filler filler
    ) throws Exception {
        ApiMessage message = request ? api.newRequest() : api.newResponse();
        filler.says = filler.fill(message, schema);
        return written(message, version);
    }

    static byte[] written(Message message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        if (buffer.hasRemaining()) throw new IllegalStateException("not of the stated size");
        return buffer.array();
    }

    /** Sets every field of a version to a distinct value. */
    static class Filler {
        final String host;
        final int port;
        final byte[] instead;
        int next = 1, addresses = 0, records = 0;
        Map<String, Object> says;

        Filler(String host, int port, byte[] instead) {
            this.host = host;
            this.port = port;
            this.instead = instead;
        }

        Map<String, Object> fill(Message message, Schema schema) throws Exception {
            Map<String, Object> says = new LinkedHashMap<>();
            for (BoundField field : schema.fields()) {
                if (field.def.type instanceof TaggedFields tagged) {
                    for (Field one : tagged.fields().values()) set(message, one, says);
                    byte[] unknown = ("unknown-" + next++).getBytes(StandardCharsets.UTF_8);
                    message.unknownTaggedFields().add(new RawTaggedField(1000, unknown));
                } else {
                    set(message, field.def, says);
                }
            }
            return says;
        }

        void set(Message message, Field field, Map<String, Object> says) throws Exception {
            Method setter = setter(message.getClass(), field.name);
            java.lang.reflect.Type type = setter.getGenericParameterTypes()[0];
            Object[] said = new Object[1];
            setter.invoke(message, value(type, field.type, field.name, said));
            says.put(field.name, said[0]);
        }

        static Method setter(Class<?> owner, String snake) {
            StringBuilder name = new StringBuilder("set");
            for (String word : snake.split("_")) {
                name.append(word.substring(0, 1).toUpperCase(Locale.ROOT));
                name.append(word.substring(1));
            }
            for (Method method : owner.getMethods()) {
                if (method.getName().equals(name.toString())) return method;
            }
            throw new IllegalStateException(owner + " has no " + name);
        }

        /** Returns a value of this type; its form in JSON is stored in `said`. */
        Object value(java.lang.reflect.Type type, Type wire, String name, Object[] said)
            throws Exception {
            int number = next++;
            if (type == short.class) {
                int code = name.equals("error_code") ? 7 : number;
                return say(said, (short) code, code);
            }
            if (type == byte.class) return say(said, (byte) number, (byte) number);
            if (type == int.class && name.equals("port")) {
                addresses++;
                return say(said, port < 0 ? 9000 + number : port, 9000 + number);
            }
            if (type == int.class) return say(said, number, number);
            if (type == long.class) return say(said, (1L << 40) + number, (1L << 40) + number);
            if (type == boolean.class) return say(said, true, true);
            if (type == Uuid.class) {
                String id = String.format("%016x%016x", (long) number, ~(long) number);
                return say(said, new Uuid(number, ~number), id);
            }
            if (type == String.class && name.equals("host")) {
                return say(said, host.isEmpty() ? "host-" + number : host, "host-" + number);
            }
            if (type == String.class) return say(said, name + "-" + number, name + "-" + number);
            byte[] bytes = (name + "-" + number).getBytes(StandardCharsets.UTF_8);
            if (type == byte[].class) return say(said, bytes, hex(bytes));
            if (type == ByteBuffer.class) return say(said, ByteBuffer.wrap(bytes), hex(bytes));
            if (BaseRecords.class.isAssignableFrom(raw(type))) {
                records++;
                ByteBuffer buffer = ByteBuffer.wrap(instead == null ? bytes : instead);
                return say(said, MemoryRecords.readableRecords(buffer), hex(bytes));
            }
            if (wire.isArray()) return list(type, wire.arrayElementType().get(), name, said);
            Message inner = (Message) raw(type).getConstructor().newInstance();
            said[0] = fill(inner, (Schema) wire);
            return inner;
        }

        /** Two elements. */
        @SuppressWarnings({"unchecked", "rawtypes"})
        Object list(java.lang.reflect.Type type, Type element, String name, Object[] said)
            throws Exception {
            boolean sets = raw(type) != List.class;
            Collection all =
                sets ? (Collection) raw(type).getConstructor().newInstance() : new ArrayList<>();
            java.lang.reflect.Type list = sets ? raw(type).getGenericSuperclass() : type;
            java.lang.reflect.Type inner = ((ParameterizedType) list).getActualTypeArguments()[0];
            inner = inner == Integer.class ? int.class : inner == Long.class ? long.class
                : inner == Short.class ? short.class : inner == Byte.class ? byte.class : inner;
            List<Object> saids = new ArrayList<>();
            for (int count = 0; count < 2; count++) {
                Object[] one = new Object[1];
                all.add(value(inner, element, name, one));
                saids.add(one[0]);
            }
            said[0] = saids;
            return all;
        }

        static Class<?> raw(java.lang.reflect.Type type) {
            return type instanceof ParameterizedType parameterized
                ? (Class<?>) parameterized.getRawType()
                : (Class<?>) type;
        }

        static Object say(Object[] said, Object value, Object says) {
            said[0] = says;
            return value;
        }
    }

    // === supported versions, restricted ===

    static String clamped(short version) throws Exception {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("api", ApiMessageType.API_VERSIONS.apiKey());
        line.put("name", "ApiVersions of a broker");
        line.put("kind", "clamped");
        line.put("version", version);
        line.put("full", hex(written(broker(version, (short) 13, (short) 18, true), version)));
        line.put("narrow", hex(written(broker(version, (short) 11, (short) 16, false), version)));
        return JSON.writeValueAsString(line);
    }

    static ApiVersionsResponseData broker(
        short version, short produce, short fetch, boolean transactions
    ) {
        ApiVersionsResponseData data = new ApiVersionsResponseData();
        data.apiKeys().add(speaks(0, 0, produce));
        data.apiKeys().add(speaks(1, 4, fetch));
        data.apiKeys().add(speaks(3, 0, 13));
        data.apiKeys().add(speaks(999, 0, 70));
        if (version >= 3) {
            data.setFinalizedFeaturesEpoch(77).setZkMigrationReady(true);
            List<String> names =
                List.of("group.version", "transaction.version", "metadata.version");
            for (String name : names) {
                data.supportedFeatures().add(new ApiVersionsResponseData.SupportedFeatureKey()
                    .setName(name).setMinVersion((short) 1).setMaxVersion((short) 2));
                if (transactions || !name.startsWith("transaction")) {
                    data.finalizedFeatures().add(new ApiVersionsResponseData.FinalizedFeatureKey()
                        .setName(name).setMinVersionLevel((short) 1).setMaxVersionLevel((short) 2));
                }
            }
            byte[] unknown = "unknown".getBytes(StandardCharsets.UTF_8);
            data.unknownTaggedFields().add(new RawTaggedField(1000, unknown));
        }
        return version >= 1 ? data.setThrottleTimeMs(5) : data;
    }

    static ApiVersionsResponseData.ApiVersion speaks(int key, int low, int high) {
        return new ApiVersionsResponseData.ApiVersion()
            .setApiKey((short) key).setMinVersion((short) low).setMaxVersion((short) high);
    }

    // === batches ===

    static List<SimpleRecord> small() {
        Header nil = new RecordHeader("x", (byte[]) null);
        Header[] odd = {header("a", "1"), nil, header("a", "2"), header("\u00e9", "")};
        Header[] one = {header("type", "order")};
        return List.of(
            new SimpleRecord(1_700_000_000_005L, bytes("key"), bytes("value"), odd),
            new SimpleRecord(1_700_000_000_000L, (byte[]) null, null, new Header[0]),
            new SimpleRecord(1_700_000_123_456L, bytes(""), bytes("words ".repeat(40)), one));
    }

    /** More than two blocks of every codec. */
    static List<SimpleRecord> large() {
        List<SimpleRecord> records = new ArrayList<>();
        long random = 1;
        for (int number = 0; number < 40; number++) {
            StringBuilder value = new StringBuilder();
            for (int word = 0; word < 5; word++) {
                random = random * 6364136223846793005L + 1442695040888963407L;
                value.append(Long.toHexString(random >>> 52)).append(" order ".repeat(130));
            }
            byte[] key = bytes("customer-" + number);
            Header[] headers = {header("type", "order")};
            long timestamp = 1_700_000_000_000L + number;
            records.add(new SimpleRecord(timestamp, key, bytes(value.toString()), headers));
        }
        return records;
    }

    static String batch(String codec, String name, List<SimpleRecord> records) throws Exception {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("codec", codec);
        line.put("name", name);
        line.put("batch", hex(built(codec, records, false)));
        // The same records with the new header, by the same builder, uncompressed.
        line.put("injected", name.equals("small") ? hex(built("none", records, true)) : null);
        List<Object> said = new ArrayList<>();
        if (name.equals("small")) {
            for (SimpleRecord record : records) said.add(said(record));
        }
        line.put("records", said);
        line.put("count", records.size());
        return JSON.writeValueAsString(line);
    }

    static byte[] built(String codec, List<SimpleRecord> records, boolean inject) {
        ByteBuffer buffer = ByteBuffer.allocate(1 << 20);
        MemoryRecordsBuilder builder = MemoryRecords.builder(
            buffer, (byte) 2, Compression.of(codec).build(), TimestampType.CREATE_TIME,
            0L, -1L, 42L, (short) 5, 11, true, 3);
        for (SimpleRecord record : records) {
            List<Header> headers = new ArrayList<>(List.of(record.headers()));
            if (inject) headers.add(header("traceparent", TRACEPARENT));
            Header[] array = headers.toArray(new Header[0]);
            builder.append(
                new SimpleRecord(record.timestamp(), record.key(), record.value(), array));
        }
        ByteBuffer built = builder.build().buffer();
        byte[] bytes = new byte[built.remaining()];
        built.get(bytes);
        return bytes;
    }

    static Object said(SimpleRecord record) {
        List<Object> headers = new ArrayList<>();
        for (Header header : record.headers()) {
            String value = header.value() == null ? null : hex(header.value());
            headers.add(Arrays.asList(hex(bytes(header.key())), value));
        }
        return Arrays.asList(record.timestamp(), hex(record.key()), hex(record.value()), headers);
    }

    static Header header(String key, String value) {
        return new RecordHeader(key, bytes(value));
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String hex(ByteBuffer buffer) {
        if (buffer == null) return null;
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return hex(bytes);
    }

    static String hex(byte[] bytes) {
        return bytes == null ? null : HexFormat.of().formatHex(bytes);
    }
}
