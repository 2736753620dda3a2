//! The settings of a traced producer or consumer.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry::KeyValue;
use rdkafka::config::ClientConfig;

use super::client_attributes::ClientAttributes;
use super::naming::Naming;
use super::operation::{KafkaOperation, RecordMetadata};
use super::span_hooks::SpanHooks;
use crate::Telemetry;

/// The settings of a traced producer or consumer. Cheap to clone. [`Settings::from`] a client's
/// configuration takes its group, client id and first broker.
#[derive(Debug, Clone, Default)]
pub struct Settings(pub(crate) Arc<ClientSettings>);

#[derive(Debug, Clone, Default)]
pub(crate) struct ClientSettings {
    pub(crate) telemetry: Option<Telemetry>,
    pub(crate) naming: Naming,
    pub(crate) relation: SenderRelation,
    pub(crate) topic_relations: HashMap<String, SenderRelation>,
    pub(crate) handling: Handling,
    pub(crate) client: ClientAttributes,
    pub(crate) hooks: SpanHooks,
    pub(crate) injection: HeaderInjection,
}

/// Whether a producer writes contexts into headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum HeaderInjection {
    #[default]
    On,
    Off,
}

/// The relation of a consumer span to the span that sent the record. A batch of one sender has the
/// same relation; one of several senders is linked to each of them, because a span has one parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SenderRelation {
    /// The sender is the parent and also linked (`opentracing.ref_type=follows_from`): one trace,
    /// shown by Jaeger as FOLLOWS_FROM. The messaging conventions allow it for single messages.
    #[default]
    ParentAndLink,
    /// The sender is linked only; the span begins a trace, or continues the active one. The default
    /// of the messaging conventions.
    LinksOnly,
    /// The sender is the parent only.
    ChildOnly,
}

/// The spans between the arrival of a record and the end of its handling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Handling {
    /// One span, from the arrival to the end of the handler, active while the handler runs.
    #[default]
    Active,
    /// One span of zero length at the arrival; none is active in the handler. The behaviour of a
    /// Kafka client *interceptor*.
    Interceptor,
    /// A span of zero length at the arrival, and a child that is active while the handler runs: the
    /// listener aspect of opentracing-kafka-spring (`KafkaListener_<topic>`); in OpenTelemetry's
    /// names `poll T` and `process T`.
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
        let client = ClientAttributes {
            group: text("group.id"),
            client_id: text("client.id"),
            // librdkafka accepts either name.
            server: text("bootstrap.servers")
                .or_else(|| text("metadata.broker.list"))
                .as_deref()
                .and_then(first_server),
            ..ClientAttributes::default()
        };
        Self(Arc::new(ClientSettings {
            client,
            ..ClientSettings::default()
        }))
    }
}

impl Settings {
    /// Sets the telemetry, in place of [`Telemetry::global`].
    #[must_use]
    pub fn telemetry(self, telemetry: Telemetry) -> Self {
        self.with(|values| values.telemetry = Some(telemetry))
    }

    /// Sets the names and attributes of spans.
    #[must_use]
    pub fn naming(self, naming: Naming) -> Self {
        self.with(|values| values.naming = naming)
    }

    /// Sets the relation of consumer spans to the sender, for topics without their own.
    #[must_use]
    pub fn relation(self, relation: SenderRelation) -> Self {
        self.with(|values| values.relation = relation)
    }

    /// Sets the relation of consumer spans to the sender, for this topic.
    #[must_use]
    pub fn topic_relation(self, topic: impl Into<String>, relation: SenderRelation) -> Self {
        self.with(|values| {
            values.topic_relations.insert(topic.into(), relation);
        })
    }

    /// Sets the spans of record handling.
    #[must_use]
    pub fn handling(self, handling: Handling) -> Self {
        self.with(|values| values.handling = handling)
    }

    /// Sets the id of the cluster (`messaging.kafka.cluster.id`), which the client cannot discover.
    #[must_use]
    pub fn cluster_id(self, id: &str) -> Self {
        self.with(|values| values.client.cluster_id = Some(id.into()))
    }

    /// Adds record keys that are text as attributes (`messaging.kafka.message.key`). Off by
    /// default, because keys may be personal data.
    #[must_use]
    pub fn message_keys(self) -> Self {
        self.with(|values| values.client.has_message_key = true)
    }

    /// Names spans by a function; where it returns `None`, [`Settings::naming`] names them. Keep
    /// the number of names low.
    #[must_use]
    pub fn span_name<F>(self, name: F) -> Self
    where
        F: Fn(KafkaOperation, &RecordMetadata<'_>) -> Option<String> + Send + Sync + 'static,
    {
        self.with(|values| values.hooks.set_name(name))
    }

    /// Adds attributes to each recorded span, under either naming. Key, value, headers and
    /// timestamp of the record are at hand:
    ///
    /// ```
    /// use opentelemetry::KeyValue;
    /// use throughline::kafka::Settings;
    ///
    /// let settings = Settings::default().attributes(|_operation, record, attributes| {
    ///     let size = record.payload.map_or(0, <[u8]>::len);
    ///     attributes.push(KeyValue::new("messaging.message.body.size", size as i64));
    ///     if let Some(Ok(tenant)) = record.header("tenant").map(std::str::from_utf8) {
    ///         attributes.push(KeyValue::new("shop.tenant", tenant.to_owned()));
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn attributes(
        self,
        attributes: impl Fn(KafkaOperation, &RecordMetadata<'_>, &mut Vec<KeyValue>)
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.with(|values| values.hooks.add_attributes(attributes))
    }

    /// Leaves the headers of sent records as they are. Their spans end where the record begins: the
    /// consumer starts a trace of its own.
    #[must_use]
    pub fn without_injection(self) -> Self {
        self.with(|values| values.injection = HeaderInjection::Off)
    }

    /// Applies a change to a copy of the settings.
    fn with(mut self, change: impl FnOnce(&mut ClientSettings)) -> Self {
        // Copies the settings only when another client shares them.
        change(Arc::make_mut(&mut self.0));
        self
    }
}

// === impl ClientSettings ===

impl ClientSettings {
    pub(crate) fn relation_of(&self, topic: &str) -> SenderRelation {
        self.topic_relations
            .get(topic)
            .copied()
            .unwrap_or(self.relation)
    }
}

/// Parses the first of `host:port,host:port`, with or without a prefix `PROTOCOL://`.
fn first_server(servers: &str) -> Option<(Arc<str>, Option<u16>)> {
    let first = servers.split(',').next()?.trim();
    // Listeners of Java clients carry their security protocol in front.
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
    fn first_broker_is_the_server() {
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
            (values.client.server.clone(), values.client.group.clone()),
            (Some(("a".into(), Some(1))), None),
            "librdkafka's alias"
        );
    }

    #[test]
    fn topic_relation_overrides_the_default() {
        let settings = Settings::default()
            .relation(SenderRelation::ChildOnly)
            .topic_relation("t", SenderRelation::LinksOnly);
        assert_eq!(settings.0.relation_of("t"), SenderRelation::LinksOnly);
        assert_eq!(settings.0.relation_of("u"), SenderRelation::ChildOnly);
    }
}
