//! The brokers and the topic, and the properties of librdkafka's clients.

use std::fmt;

use rdkafka::ClientConfig;

/// Properties that belong to the options of the command or to the way in which records are read,
/// and cannot be set.
pub const RESERVED_PROPERTIES: [&str; 7] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "statistics.interval.ms",
];

/// The brokers, the topic, and how to connect.
#[derive(Clone)]
pub struct SpanTopicSettings {
    /// Addresses of brokers, `host:port` with commas between them.
    pub brokers: String,
    /// Name of the topic.
    pub topic: String,
    /// Properties of librdkafka, such as `sasl.password`, in place of our defaults.
    pub properties: Vec<(String, String)>,
}

// === impl SpanTopicSettings ===

impl SpanTopicSettings {
    /// Returns the properties of a client: `defaults`, which the user's properties replace, and
    /// `fixed` ones.
    pub(crate) fn client_config(
        &self,
        defaults: &[(&str, &str)],
        fixed: &[(&str, &str)],
    ) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "throughline");
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        for (name, value) in fixed {
            config.set(*name, *value);
        }
        config.set("bootstrap.servers", &self.brokers);
        config
    }
}

/// Leaves out the values of properties, which may be secret.
impl fmt::Debug for SpanTopicSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanTopicSettings")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}
