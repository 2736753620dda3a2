//! Arguments about spans in a topic of Kafka.

use std::path::PathBuf;

const KAFKA: &str = "Kafka";

/// Where spans are read from or forwarded to, besides the listeners.
#[derive(Debug, clap::Args)]
pub(crate) struct KafkaArgs {
    /// Brokers to read spans from, HOST:PORT with commas between them. All collectors with the same
    /// --group share the partitions of the topic; an offset is committed once the spans are durable
    #[arg(
        long,
        env = "THROUGHLINE_FROM_KAFKA",
        value_name = "BROKERS",
        help_heading = KAFKA
    )]
    pub(crate) from_kafka: Option<String>,

    /// Brokers to forward all spans to; nothing is stored here, and there is no web UI. A request
    /// is answered once all in-sync replicas have its spans. The key of a record is the
    /// service with its instance, so that the spans of a process share a partition
    #[arg(
        long,
        env = "THROUGHLINE_TO_KAFKA",
        value_name = "BROKERS",
        help_heading = KAFKA
    )]
    pub(crate) to_kafka: Option<String>,

    /// Topic of spans, which must exist; its records are those of OpenTelemetry's and Jaeger's
    /// Kafka exporters with the encoding otlp_proto [default: otlp_spans]
    #[arg(
        long,
        env = "THROUGHLINE_TOPIC",
        value_name = "NAME",
        help_heading = KAFKA
    )]
    pub(crate) topic: Option<String>,

    /// Consumer group of --from-kafka; a new one begins with the oldest record [default:
    /// throughline]
    #[arg(
        long,
        env = "THROUGHLINE_GROUP",
        value_name = "NAME",
        help_heading = KAFKA
    )]
    pub(crate) group: Option<String>,

    /// Compacted topic at the brokers of --from-kafka, by which the members of a group join spans
    /// that two of them have read; it must exist. None by default: joins within a member only
    #[arg(
        long,
        env = "THROUGHLINE_DECISIONS_TOPIC",
        value_name = "NAME",
        help_heading = KAFKA
    )]
    pub(crate) decisions_topic: Option<String>,

    /// File with properties of librdkafka, such as sasl.password, as NAME=VALUE lines
    #[arg(
        long,
        env = "THROUGHLINE_KAFKA_CONFIG",
        value_name = "FILE",
        help_heading = KAFKA
    )]
    pub(crate) kafka_config: Option<PathBuf>,
}
