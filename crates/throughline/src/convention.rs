//! Names of the semantic conventions that this crate writes: HTTP (stable) and messaging with Kafka (v1.44, in
//! development, which is why they stand in one place).
#![cfg_attr(
    not(all(feature = "kafka", feature = "tower", feature = "reqwest")),
    expect(dead_code, reason = "each feature writes its own")
)]

pub(crate) const ERROR_TYPE: &str = "error.type";
pub(crate) const SERVER_ADDRESS: &str = "server.address";
pub(crate) const SERVER_PORT: &str = "server.port";
pub(crate) const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";

pub(crate) const HTTP_REQUEST_METHOD: &str = "http.request.method";
pub(crate) const HTTP_REQUEST_METHOD_ORIGINAL: &str = "http.request.method_original";
pub(crate) const HTTP_REQUEST_RESEND_COUNT: &str = "http.request.resend_count";
pub(crate) const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
pub(crate) const HTTP_ROUTE: &str = "http.route";
pub(crate) const URL_FULL: &str = "url.full";
pub(crate) const URL_PATH: &str = "url.path";
pub(crate) const URL_QUERY: &str = "url.query";
pub(crate) const URL_SCHEME: &str = "url.scheme";
pub(crate) const USER_AGENT_ORIGINAL: &str = "user_agent.original";

pub(crate) const MESSAGING_SYSTEM: &str = "messaging.system";
pub(crate) const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
pub(crate) const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
pub(crate) const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
pub(crate) const MESSAGING_DESTINATION_PARTITION_ID: &str = "messaging.destination.partition.id";
pub(crate) const MESSAGING_CONSUMER_GROUP_NAME: &str = "messaging.consumer.group.name";
pub(crate) const MESSAGING_CLIENT_ID: &str = "messaging.client.id";
pub(crate) const MESSAGING_BATCH_MESSAGE_COUNT: &str = "messaging.batch.message_count";
pub(crate) const MESSAGING_KAFKA_OFFSET: &str = "messaging.kafka.offset";
pub(crate) const MESSAGING_KAFKA_MESSAGE_KEY: &str = "messaging.kafka.message.key";
pub(crate) const MESSAGING_KAFKA_MESSAGE_TOMBSTONE: &str = "messaging.kafka.message.tombstone";
pub(crate) const MESSAGING_KAFKA_CLUSTER_ID: &str = "messaging.kafka.cluster.id";

/// How an OpenTracing reference is kept on an OpenTelemetry link (OpenTracing compatibility, "Create a link").
pub(crate) const OPENTRACING_REF_TYPE: &str = "opentracing.ref_type";
