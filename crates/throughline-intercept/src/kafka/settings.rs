//! What the user decides: whose spans, which formats, how many, and how far injection goes.

use std::sync::Arc;

use throughline_model::context::Format;
use throughline_model::{Resource, Scope};

/// How connections are traced. Shared by all of them, replaced as a whole when the configuration is read again.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who the spans say they are of.
    pub resource: Arc<Resource>,
    /// Whether each client is a service of its own.
    pub service: Service,
    /// The instrumentation that the spans are from.
    pub scope: Arc<Scope>,
    /// Names and attributes of the spans.
    pub naming: Naming,
    /// The formats in which contexts are looked for in records; the first that holds one wins.
    pub read: Vec<Format>,
    /// The formats in which contexts are written into records.
    pub write: Vec<Format>,
    /// Of the traces that begin here, the part that is recorded: 0.0 to 1.0. A context in a record has decided already.
    pub sample_ratio: f64,
    /// The one switch: when off, nothing is injected anywhere.
    pub inject: bool,
    /// Whether a record that is not sampled gets a context that says so. Without it the next hop begins a trace of its own.
    pub inject_unsampled: bool,
    /// Exceptions for topics; the first pattern that matches holds.
    pub topics: Vec<(TopicPattern, TopicSettings)>,
    /// For all other topics.
    pub default: TopicSettings,
    /// Whether record keys that are text are put on spans. Off by default: keys are data.
    pub message_key: bool,
    /// What bounds each connection.
    pub limits: Limits,
}

/// How the records of a topic are traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSettings {
    /// Whether contexts are injected into records that have none.
    pub inject: bool,
    /// How a consumer span relates to the span that sent the record.
    pub relation: Relation,
    /// What is done with records on their way to a consumer.
    pub deliver: Deliver,
    /// Whether commits and acknowledgements make spans.
    pub settle: bool,
}

/// Which service the spans of a connection are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Service {
    /// The one that [`Settings::resource`] names.
    #[default]
    Fixed,
    /// The one that the client's id names; the resource's own when it has none.
    ByClientId,
}

/// Whose names and attributes the spans have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Naming {
    /// `send T`, `process T`, `messaging.*`: OpenTelemetry's messaging conventions, v1.44.
    #[default]
    OpenTelemetry,
    /// `To_T`, `From_T`, `message_bus.destination`: opentracing-kafka-client 0.1.15.
    OpenTracing,
}

/// How a consumer span relates to the span that sent the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Relation {
    /// The sender is the parent, and is linked to as well (`opentracing.ref_type=follows_from`).
    #[default]
    ParentAndLink,
    /// The sender is only linked to; the span begins a trace.
    LinksOnly,
}

/// What is done with records on their way to a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deliver {
    /// They are read, and go on as they came.
    #[default]
    Observe,
    /// The span id in the context of a record becomes that of the consumer span, where it lies, so that the application chains
    /// from it. Batches that are compressed are only read.
    Patch,
}

/// Topics: a name in which `*` stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern(String);

/// What bounds one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longer frames pass unread.
    pub max_frame_bytes: usize,
    /// Batches that inflate to more pass unread.
    pub max_inflated_bytes: usize,
    /// Longest request that the broker takes (`socket.request.max.bytes`); injection never makes one longer.
    pub max_request_bytes: usize,
    /// Requests without an answer that are remembered.
    pub max_in_flight: usize,
    /// Spans that wait for an answer.
    pub max_open_spans: usize,
    /// Partitions of which a consumer's position is remembered.
    pub max_partitions: usize,
    /// After so many nanoseconds without an answer the spans of a request are closed.
    pub request_timeout: u64,
}

/// `max.message.bytes` of a topic that nobody has configured: 1 MiB and the 12 bytes in front of a batch.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 1024 * 1024 + 12;

const MIB: usize = 1024 * 1024;

/// As the Java client's `request.timeout.ms`, and as much again.
const REQUEST_TIMEOUT: u64 = 60_000_000_000;

// === impl Settings ===

impl Settings {
    /// What holds for this topic.
    #[must_use]
    pub fn topic(&self, name: &str) -> &TopicSettings {
        self.topics
            .iter()
            .find(|(pattern, _)| pattern.matches(name))
            .map_or(&self.default, |(_, settings)| settings)
    }

    /// Whether any record may get a context.
    pub(super) fn injects(&self) -> bool {
        let somewhere = self.default.inject || self.topics.iter().any(|(_, topic)| topic.inject);
        self.inject && !self.write.is_empty() && somewhere
    }

    /// Whether there is a topic into which nothing is to be injected.
    pub(super) fn excepts(&self) -> bool {
        self.topics.iter().any(|(_, topic)| !topic.inject)
    }

    /// Whether any record may be changed on its way to a consumer.
    pub(super) fn patches(&self) -> bool {
        self.default.deliver == Deliver::Patch
            || self
                .topics
                .iter()
                .any(|(_, topic)| topic.deliver == Deliver::Patch)
    }

    /// Whether commits are of any use.
    pub(super) fn settles(&self) -> bool {
        self.default.settle || self.topics.iter().any(|(_, topic)| topic.settle)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            resource: Arc::default(),
            service: Service::default(),
            scope: Arc::new(Scope {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                attributes: Vec::new(),
            }),
            naming: Naming::default(),
            read: Format::contexts().collect(),
            write: vec![Format::W3c],
            sample_ratio: 1.0,
            inject: true,
            inject_unsampled: true,
            topics: Vec::new(),
            default: TopicSettings::default(),
            message_key: false,
            limits: Limits::default(),
        }
    }
}

// === impl TopicSettings ===

impl TopicSettings {
    /// What a topic has that nobody configured. opentracing-kafka-client has no spans of commits.
    #[must_use]
    pub const fn of(naming: Naming) -> Self {
        let settle = matches!(naming, Naming::OpenTelemetry);
        Self {
            inject: true,
            relation: Relation::ParentAndLink,
            deliver: Deliver::Observe,
            settle,
        }
    }
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self::of(Naming::OpenTelemetry)
    }
}

// === impl Limits ===

impl Default for Limits {
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
    /// Topics of this name, in which `*` stands for any characters.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// Whether the topic is one of them.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(rest) = parts.next().and_then(|first| topic.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        // Each part as early as it can be found leaves the most to those behind it.
        let found = parts.try_fold(rest, |rest, part| {
            rest.split_once(part).map(|(_, behind)| behind)
        });
        found.is_some_and(|rest| rest.ends_with(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        let matches = |pattern, topic| TopicPattern::new(pattern).matches(topic);
        assert!(
            matches("orders", "orders")
                && !matches("orders", "orders-2")
                && !matches("orders", "order")
        );
        assert!(matches("*", "") && matches("*", "anything"));
        assert!(matches("orders-*", "orders-eu") && !matches("orders-*", "eu-orders"));
        assert!(
            matches("*-dlq", "a-dlq-dlq")
                && matches("a*b*c", "a-bb-c")
                && !matches("a*b*c", "a-c-b")
        );
        assert!(!matches("a*a", "a"));
    }

    #[test]
    fn the_first_pattern_that_matches_holds() {
        let off = TopicSettings {
            inject: false,
            ..TopicSettings::default()
        };
        let topics = vec![
            (TopicPattern::new("a-*"), off.clone()),
            (
                TopicPattern::new("*"),
                TopicSettings {
                    settle: false,
                    ..off
                },
            ),
        ];
        let settings = Settings {
            topics,
            ..Settings::default()
        };
        assert!(settings.topic("a-1").settle && !settings.topic("b").settle);
        assert!(settings.injects(), "the default still does");
    }
}
