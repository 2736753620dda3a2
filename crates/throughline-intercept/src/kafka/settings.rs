//! Settings: services, formats, sampling, topics, and how far injection goes.

use std::sync::Arc;

use throughline_model::context::Format;
use throughline_model::{Resource, Scope};

use crate::trace::{default_read_formats, default_scope, default_write_formats};

/// Settings of all connections, replaced as a whole when the configuration is reloaded.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Resource of the spans.
    pub resource: Arc<Resource>,
    /// Whether each client is a service of its own.
    pub service: ServiceNaming,
    /// Instrumentation scope of the spans.
    pub scope: Arc<Scope>,
    /// Convention for names and attributes of the spans.
    pub naming: SpanNaming,
    /// Formats in which contexts are looked for in records; the first that holds one wins.
    pub read: Vec<Format>,
    /// Formats in which contexts are written into records.
    pub write: Vec<Format>,
    /// Whether records also get contexts in the formats that their process has been seen to send.
    pub match_propagation: bool,
    /// Share of the traces that begin here to record, from 0.0 to 1.0. A record that carries a
    /// context follows the decision in it.
    pub sample_ratio: f64,
    /// Main switch for injection: with [`InjectionMode::Never`] no record is changed, in neither
    /// direction, whatever the topics say.
    pub inject: InjectionMode,
    /// Whether a record that is not sampled gets a context that says so. Without one the next hop
    /// begins a trace of its own.
    pub inject_unsampled: bool,
    /// Exceptions for topics; the first pattern that matches applies.
    pub topics: Vec<(TopicPattern, TopicSettings)>,
    /// Settings of all other topics.
    pub default: TopicSettings,
    /// Whether record keys that are text become attributes. Off by default: keys are user data.
    pub message_key: bool,
    /// Limits of each connection.
    pub limits: SessionLimits,
}

/// Settings of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSettings {
    /// Batches whose records get contexts, if they have none.
    pub inject: InjectionMode,
    /// Relation of a consumer span to the span that sent the record.
    pub relation: SpanRelation,
    /// Treatment of records on their way to a consumer.
    pub deliver: DeliveryMode,
    /// Whether commits and acknowledgements have spans.
    pub settle: bool,
    /// Maximum size of a batch that the topic accepts (`max.message.bytes`), if it is known.
    /// Without it the limit is learned from what the broker accepts and refuses.
    pub max_message_bytes: Option<usize>,
}

/// Service that the spans of a connection belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServiceNaming {
    /// The service of [`Settings::resource`].
    #[default]
    Fixed,
    /// A service named after the application in the client id, without what Kafka's clients
    /// generate; that of the resource when there is no client id.
    ByApplication,
    /// A service named after the whole client id; that of the resource when there is none.
    ByClientId,
}

/// Convention for names and attributes of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpanNaming {
    /// `send T`, `process T`, `messaging.*`: OpenTelemetry's messaging conventions, v1.44.
    #[default]
    OpenTelemetry,
    /// `To_T`, `From_T`, `message_bus.destination`: opentracing-kafka-client 0.1.15.
    OpenTracing,
}

/// Batches that may be changed. A record that passes unmodified is matched with its consumer's span
/// by cluster, topic, partition and offset, which both spans carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InjectionMode {
    /// All batches. Compressed ones are decompressed and compressed again.
    #[default]
    Always,
    /// Batches without compression.
    Uncompressed,
    /// None.
    Never,
}

/// Relation of a consumer span to the span that sent the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpanRelation {
    /// The sender is the parent and a link (`opentracing.ref_type=follows_from`).
    #[default]
    ParentAndLink,
    /// The sender is a link only; the span begins a trace.
    LinksOnly,
}

/// Treatment of records on their way to a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeliveryMode {
    /// Records are read and pass unmodified.
    #[default]
    Observe,
    /// The span id in a record's context is overwritten with that of the consumer span, so that the
    /// application continues from it. Compressed batches are compressed again.
    Patch,
}

/// Topic name in which `*` matches any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern(String);

/// Limits of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Longer frames pass unread.
    pub max_frame_bytes: usize,
    /// Batches that decompress to more pass unread.
    pub max_inflated_bytes: usize,
    /// Maximum size of a request that the broker accepts (`socket.request.max.bytes`); injection
    /// never exceeds it.
    pub max_request_bytes: usize,
    /// Maximum number of requests that wait for their response.
    pub max_in_flight: usize,
    /// Maximum number of spans that wait for a response.
    pub max_open_spans: usize,
    /// Maximum number of partitions whose fetch position is remembered.
    pub max_partitions: usize,
    /// Nanoseconds without a response after which the spans of a request are closed.
    pub request_timeout: u64,
}

/// Kafka's default of `max.message.bytes`: 1 MiB plus the 12 bytes in front of a batch.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 1024 * 1024 + 12;

const MIB: usize = 1024 * 1024;

/// Twice `request.timeout.ms` of the Java client.
const REQUEST_TIMEOUT: u64 = 60_000_000_000;

// === impl Settings ===

impl Settings {
    /// Returns the settings of a topic.
    #[must_use]
    pub fn topic(&self, name: &str) -> &TopicSettings {
        self.topics
            .iter()
            // In order: the user puts exceptions before the rule.
            .find(|(pattern, _)| pattern.matches(name))
            .map_or(&self.default, |(_, settings)| settings)
    }

    /// Returns the batches of a topic that may be changed.
    pub(super) fn injection_mode(&self, topic: &TopicSettings) -> InjectionMode {
        match self.inject {
            InjectionMode::Never => InjectionMode::Never,
            InjectionMode::Always | InjectionMode::Uncompressed => topic.inject,
        }
    }

    /// Returns whether any record may get a context.
    pub(super) fn injects_any(&self) -> bool {
        !self.write.is_empty() && self.any_topic(|topic| self.changes_any_of(topic))
    }

    /// Returns whether some topic is excluded from injection.
    pub(super) fn excludes_any(&self) -> bool {
        let is_excluded = |topic: &TopicSettings| topic.inject == InjectionMode::Never;
        self.topics.iter().any(|(_, topic)| is_excluded(topic))
    }

    /// Returns whether any record may be patched on its way to a consumer.
    pub(super) fn patches_any(&self) -> bool {
        let is_patched = |topic: &TopicSettings| topic.deliver == DeliveryMode::Patch;
        self.any_topic(|topic| is_patched(topic) && self.changes_any_of(topic))
    }

    fn changes_any_of(&self, topic: &TopicSettings) -> bool {
        self.injection_mode(topic) != InjectionMode::Never
    }

    /// Returns whether any commit may have a span.
    pub(super) fn settles_any(&self) -> bool {
        self.any_topic(|topic| topic.settle)
    }

    fn any_topic(&self, predicate: impl Fn(&TopicSettings) -> bool) -> bool {
        predicate(&self.default) || self.topics.iter().any(|(_, topic)| predicate(topic))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            resource: Arc::default(),
            service: ServiceNaming::default(),
            scope: default_scope(),
            naming: SpanNaming::default(),
            read: default_read_formats(),
            write: default_write_formats(),
            match_propagation: true,
            sample_ratio: 1.0,
            inject: InjectionMode::Always,
            inject_unsampled: true,
            topics: Vec::new(),
            default: TopicSettings::default(),
            message_key: false,
            limits: SessionLimits::default(),
        }
    }
}

// === impl TopicSettings ===

impl TopicSettings {
    /// Returns the defaults under a naming convention. opentracing-kafka-client has no commit
    /// spans.
    #[must_use]
    pub const fn of(naming: SpanNaming) -> Self {
        Self {
            inject: InjectionMode::Always,
            relation: SpanRelation::ParentAndLink,
            deliver: DeliveryMode::Observe,
            settle: matches!(naming, SpanNaming::OpenTelemetry),
            max_message_bytes: None,
        }
    }
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self::of(SpanNaming::OpenTelemetry)
    }
}

// === impl SessionLimits ===

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            max_frame_bytes: 64 * MIB,
            max_inflated_bytes: 64 * MIB,
            max_request_bytes: 100 * MIB,
            max_in_flight: 16 * 1024,
            max_open_spans: 64 * 1024,
            max_partitions: 16 * 1024,
            request_timeout: REQUEST_TIMEOUT,
        }
    }
}

// === impl TopicPattern ===

impl TopicPattern {
    /// Returns a pattern in which `*` matches any characters.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// Returns whether the pattern matches the whole name.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(rest) = parts.next().and_then(|first| topic.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        // Matching each part as early as possible leaves the most text for the parts behind it.
        let rest = parts.try_fold(rest, |rest, part| {
            rest.split_once(part).map(|(_, behind)| behind)
        });
        rest.is_some_and(|rest| rest.ends_with(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_matches_whole_names() {
        let matches = |pattern, topic| TopicPattern::new(pattern).matches(topic);
        assert!(matches("orders", "orders"));
        assert!(!matches("orders", "orders-2") && !matches("orders", "order"));
        assert!(matches("*", "") && matches("*", "anything"));
        assert!(matches("orders-*", "orders-eu") && !matches("orders-*", "eu-orders"));
        assert!(matches("*-dlq", "a-dlq-dlq"));
        assert!(matches("a*b*c", "a-bb-c") && !matches("a*b*c", "a-c-b"));
        assert!(!matches("a*a", "a"));
    }

    #[test]
    fn first_matching_pattern_applies() {
        let excluded = |settle| TopicSettings {
            inject: InjectionMode::Never,
            settle,
            ..TopicSettings::default()
        };
        let settings = Settings {
            topics: vec![
                (TopicPattern::new("a-*"), excluded(true)),
                (TopicPattern::new("*"), excluded(false)),
            ],
            ..Settings::default()
        };
        assert!(settings.topic("a-1").settle && !settings.topic("b").settle);
        assert!(settings.injects_any(), "the default still injects");
    }
}
