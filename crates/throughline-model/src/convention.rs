//! Attribute names and their well-known values: HTTP (semantic conventions, stable), messaging with
//! Kafka (v1.44, in development, and so kept in one place), and the project's own under
//! `throughline.`.

/// OpenTracing's tag of a failure.
pub const ERROR: &str = "error";
pub const ERROR_TYPE: &str = "error.type";
pub const EXCEPTION_TYPE: &str = "exception.type";
pub const EXCEPTION_MESSAGE: &str = "exception.message";
pub const SERVER_ADDRESS: &str = "server.address";
pub const SERVER_PORT: &str = "server.port";
pub const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";
pub const CLIENT_ADDRESS: &str = "client.address";
pub const CLIENT_PORT: &str = "client.port";

pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
pub const HTTP_REQUEST_METHOD_ORIGINAL: &str = "http.request.method_original";
pub const HTTP_REQUEST_RESEND_COUNT: &str = "http.request.resend_count";
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
pub const HTTP_ROUTE: &str = "http.route";
pub const URL_FULL: &str = "url.full";
pub const URL_PATH: &str = "url.path";
pub const URL_QUERY: &str = "url.query";
pub const URL_SCHEME: &str = "url.scheme";
pub const URL_TEMPLATE: &str = "url.template";
pub const USER_AGENT_ORIGINAL: &str = "user_agent.original";

pub const NETWORK_LOCAL_ADDRESS: &str = "network.local.address";
pub const NETWORK_LOCAL_PORT: &str = "network.local.port";
pub const NETWORK_PEER_ADDRESS: &str = "network.peer.address";
pub const NETWORK_PEER_PORT: &str = "network.peer.port";
pub const SERVICE_NAME: &str = "service.name";

pub const RPC_SYSTEM: &str = "rpc.system";
pub const RPC_SERVICE: &str = "rpc.service";
pub const RPC_METHOD: &str = "rpc.method";
pub const RPC_GRPC_STATUS_CODE: &str = "rpc.grpc.status_code";

pub const MESSAGING_SYSTEM: &str = "messaging.system";
pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
pub const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
pub const MESSAGING_DESTINATION_PARTITION_ID: &str = "messaging.destination.partition.id";
pub const MESSAGING_CONSUMER_GROUP_NAME: &str = "messaging.consumer.group.name";
pub const MESSAGING_CLIENT_ID: &str = "messaging.client.id";
pub const MESSAGING_BATCH_MESSAGE_COUNT: &str = "messaging.batch.message_count";
pub const MESSAGING_KAFKA_OFFSET: &str = "messaging.kafka.offset";
pub const MESSAGING_KAFKA_MESSAGE_KEY: &str = "messaging.kafka.message.key";
pub const MESSAGING_KAFKA_MESSAGE_TOMBSTONE: &str = "messaging.kafka.message.tombstone";
pub const MESSAGING_KAFKA_CLUSTER_ID: &str = "messaging.kafka.cluster.id";

/// The names of a message's topic, today's before earlier and other ones: OpenTelemetry before 1.17
/// and 1.20, OpenTracing, Brave (Kafka, JMS, Spring Rabbit). Of several, the first one counts.
pub const TOPIC_KEYS: &[&str] = &[
    MESSAGING_DESTINATION_NAME,
    "messaging.destination",
    "messaging.destination_name",
    "messaging.source.name",
    "messaging.source",
    "message_bus.destination",
    "kafka.topic",
    "jms.topic",
    "jms.queue",
    "rabbit.exchange",
    "rabbit.routing_key",
    "rabbit.queue",
    "pulsar.topic",
];
/// The names of a message's consumer group, as [`TOPIC_KEYS`].
pub const GROUP_KEYS: &[&str] = &[
    MESSAGING_CONSUMER_GROUP_NAME,
    "messaging.kafka.consumer.group",
    "messaging.kafka.consumer_group",
    "messaging.consumer_group",
    "kafka.consumer_group",
    "kafka.group",
];
/// The names of a message's partition, as [`TOPIC_KEYS`].
pub const PARTITION_KEYS: &[&str] = &[
    MESSAGING_DESTINATION_PARTITION_ID,
    "messaging.kafka.destination.partition",
    "messaging.kafka.source.partition",
    "messaging.kafka.partition",
    "kafka.partition",
];
/// The names of a message's offset, as [`TOPIC_KEYS`].
pub const OFFSET_KEYS: &[&str] = &[
    MESSAGING_KAFKA_OFFSET,
    "messaging.kafka.message.offset",
    "kafka.offset",
];
/// The name of a topic in Spring Cloud Sleuth; it means one only on producers and consumers.
pub const SHORT_TOPIC_KEY: &str = "channel";
/// The name of a partition in OpenTracing; as [`SHORT_TOPIC_KEY`].
pub const SHORT_PARTITION_KEY: &str = "partition";
/// The name of an offset in OpenTracing; as [`SHORT_TOPIC_KEY`].
pub const SHORT_OFFSET_KEY: &str = "offset";

/// The kind of an OpenTracing reference, on an OpenTelemetry link: [`CHILD_OF`] or [`FOLLOWS_FROM`]
/// (OpenTracing compatibility, "Create a link").
pub const OPENTRACING_REF_TYPE: &str = "opentracing.ref_type";
/// Value of [`OPENTRACING_REF_TYPE`]: the linked span waits for this one.
pub const CHILD_OF: &str = "child_of";
/// Value of [`OPENTRACING_REF_TYPE`]: the linked span caused this one and does not wait for it.
pub const FOLLOWS_FROM: &str = "follows_from";

/// The span id as it was sent, on a span that shares it with another and has a made-up id instead.
pub const SHARED_ID: &str = "zipkin.shared_id";
/// Marks a span whose sender gave no start; its start is the time of its arrival.
pub const START_ASSUMED: &str = "throughline.start.assumed";

/// The span's own address: today's name and the earlier ones.
pub const LOCAL_ADDRESSES: &[&str] =
    &["network.local.address", "net.sock.host.addr", "net.host.ip"];
/// The span's own port: today's name and the earlier ones.
pub const LOCAL_PORTS: &[&str] = &["network.local.port", "net.sock.host.port", "net.host.port"];

/// Evidence for the parent of a span (`header`: the message carried it).
pub const PARENT_EVIDENCE: &str = "throughline.parent.evidence";
/// Confidence in the parent of a span, from 0 to 1, where the evidence is not exact.
pub const PARENT_CONFIDENCE: &str = "throughline.parent.confidence";

/// The id of the trace that a span was reported in, on a span that the collector joined with
/// another trace.
pub const WOVEN_TRACE_ID: &str = "throughline.woven.trace_id";

/// Time from a record's timestamp to its delivery, in seconds.
pub const KAFKA_QUEUE_TIME: &str = "throughline.kafka.queue_time";
/// Time from the end of the span that sent a record to its delivery, in seconds.
pub const KAFKA_QUEUE_TIME_SENT: &str = "throughline.kafka.queue_time.sent";
/// Number of records behind this one in its partition, at delivery.
pub const KAFKA_LAG: &str = "throughline.kafka.lag";
/// Time from a record's timestamp to the request that sends it, in seconds.
pub const KAFKA_BUFFERED: &str = "throughline.kafka.buffered";
/// Time from a record's delivery to its commit or acknowledgement, in seconds.
pub const KAFKA_HANDLED: &str = "throughline.kafka.handled";
/// Number of deliveries of a record to its share group, this one included.
pub const KAFKA_DELIVERY_COUNT: &str = "throughline.kafka.delivery_count";
/// Marks a record that was delivered again on the same connection: its consumer went back, or
/// discarded the earlier delivery.
pub const KAFKA_REDELIVERED: &str = "throughline.kafka.redelivered";
/// Number of records in the batch that a record was sent in.
pub const KAFKA_BATCH_SIZE: &str = "throughline.kafka.batch_size";
/// Reason why a record was sent without a context.
pub const KAFKA_NOT_INJECTED: &str = "throughline.kafka.not_injected";
/// Number of attempts to send a record, where there was more than one.
pub const KAFKA_ATTEMPTS: &str = "throughline.kafka.attempts";
/// Acknowledgement of a record by a share group: `accept`, `release` or `reject`.
pub const KAFKA_ACKNOWLEDGED: &str = "throughline.kafka.acknowledged";
