//! What a producer or consumer is told about tracing.

use std::collections::HashMap;
use std::sync::Arc;

use rdkafka::config::ClientConfig;

use super::Naming;
use crate::Telemetry;

/// How a producer or consumer traces. Cheap to clone; [`Settings::from`] a client's configuration knows its group,
/// client id and first broker.
#[derive(Debug, Clone, Default)]
pub struct Settings(pub(crate) Arc<Values>);

#[derive(Debug, Clone, Default)]
pub(crate) struct Values {
    pub(crate) telemetry: Option<Telemetry>,
    pub(crate) naming: Naming,
    pub(crate) relation: Relation,
    pub(crate) topics: HashMap<String, Relation>,
    pub(crate) handling: Handling,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) client_id: Option<Arc<str>>,
    pub(crate) cluster_id: Option<Arc<str>>,
    pub(crate) server: Option<(Arc<str>, Option<u16>)>,
    pub(crate) message_key: bool,
}

/// How a consumer's span relates to the span that sent the record. Batches are always linked only: a span has one
/// parent, a batch has many senders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Relation {
    /// The sender is the parent, and is linked to as well (`opentracing.ref_type=follows_from`): one trace, shown by
    /// Jaeger as FOLLOWS_FROM. The messaging conventions allow it for single messages as an option.
    #[default]
    ParentAndLink,
    /// The sender is only linked to; the span begins a trace, or continues the one that is active where the record is
    /// received. The default of the messaging conventions.
    LinksOnly,
    /// The sender is only the parent.
    ChildOnly,
}

/// What happens between a record's arrival and the end of its handling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Handling {
    /// One span, from the arrival to the handler's end, active while the handler runs.
    #[default]
    Active,
    /// One span of no length at the arrival; nothing is active in the handler. What a Kafka client *interceptor* can do.
    Interceptor,
    /// A span of no length at the arrival, and below it one that is active while the handler runs: the listener aspect
    /// of opentracing-kafka-spring (`KafkaListener_<topic>`); in OpenTelemetry's names `poll T` and `process T`.
    Listener,
}

// === impl Settings ===

impl From<&ClientConfig> for Settings {
    fn from(config: &ClientConfig) -> Self {
        let text = |key| {
            config
                .get(key)
                .filter(|text| !text.is_empty())
                .map(Arc::<str>::from)
        };
        let values = Values {
            group: text("group.id"),
            client_id: text("client.id"),
            server: text("bootstrap.servers")
                .or_else(|| text("metadata.broker.list"))
                .as_deref()
                .and_then(first_server),
            ..Values::default()
        };
        Self(Arc::new(values))
    }
}

impl Settings {
    /// Where spans and metrics go, in place of [`Telemetry::global`].
    #[must_use]
    pub fn telemetry(self, telemetry: Telemetry) -> Self {
        self.with(|values| values.telemetry = Some(telemetry))
    }

    /// Names and attributes of the spans.
    #[must_use]
    pub fn naming(self, naming: Naming) -> Self {
        self.with(|values| values.naming = naming)
    }

    /// How consumer spans relate to the sender, on all topics that have no relation of their own.
    #[must_use]
    pub fn relation(self, relation: Relation) -> Self {
        self.with(|values| values.relation = relation)
    }

    /// How consumer spans of this topic relate to the sender.
    #[must_use]
    pub fn topic_relation(self, topic: impl Into<String>, relation: Relation) -> Self {
        self.with(|values| {
            values.topics.insert(topic.into(), relation);
        })
    }

    /// What is active while a record is handled.
    #[must_use]
    pub fn handling(self, handling: Handling) -> Self {
        self.with(|values| values.handling = handling)
    }

    /// The cluster's id (`messaging.kafka.cluster.id`), which the client cannot know by itself.
    #[must_use]
    pub fn cluster_id(self, id: &str) -> Self {
        self.with(|values| values.cluster_id = Some(id.into()))
    }

    /// Puts record keys that are text on the spans (`messaging.kafka.message.key`). Off by default: keys are data.
    #[must_use]
    pub fn message_keys(self) -> Self {
        self.with(|values| values.message_key = true)
    }

    fn with(mut self, change: impl FnOnce(&mut Values)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

// === impl Values ===

impl Values {
    pub(crate) fn relation_of(&self, topic: &str) -> Relation {
        self.topics.get(topic).copied().unwrap_or(self.relation)
    }
}

/// The first of `host:port,host:port`, with or without a `PROTOCOL://` before it.
fn first_server(servers: &str) -> Option<(Arc<str>, Option<u16>)> {
    let first = servers.split(',').next()?.trim();
    let first = first.split_once("://").map_or(first, |(_, rest)| rest);
    let (host, port) = match first
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => first
            .split_once(':')
            .map_or((first, None), |(host, port)| (host, Some(port))),
    };
    let port = port.and_then(|port| port.parse().ok());
    (!host.is_empty()).then(|| (host.into(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_broker_is_the_server() {
        let read = |text| first_server(text).map(|(host, port)| (host.to_string(), port));
        assert_eq!(read("a:1,b:2"), Some(("a".to_owned(), Some(1))));
        assert_eq!(
            read("PLAINTEXT://[::1]:9092"),
            Some(("::1".to_owned(), Some(9092)))
        );
        assert_eq!(read("[::1]"), Some(("::1".to_owned(), None)));
        assert_eq!(read("broker"), Some(("broker".to_owned(), None)));
        assert_eq!(read(""), None);
        let mut config = ClientConfig::new();
        config
            .set("metadata.broker.list", "a:1")
            .set("group.id", "");
        let values = Settings::from(&config).0;
        assert_eq!(
            (values.server.clone(), values.group.clone()),
            (Some(("a".into(), Some(1))), None),
            "librdkafka's alias"
        );
    }

    #[test]
    fn a_topic_may_have_a_relation_of_its_own() {
        let settings = Settings::default()
            .relation(Relation::ChildOnly)
            .topic_relation("t", Relation::LinksOnly);
        assert_eq!(settings.0.relation_of("t"), Relation::LinksOnly);
        assert_eq!(settings.0.relation_of("u"), Relation::ChildOnly);
    }
}
