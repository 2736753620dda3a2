//! The counters among Envoy's stats.

use throughline_intercept::correlate::Evidence;
use throughline_intercept::kafka::{SessionEvent, SkipReason};

/// A counter. Network filters have no labels, so each reason has a counter of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Kafka connections.
    Connections,
    /// Kafka connections that pass untraced, after an internal error.
    ConnectionsUntraced,
    /// Pauses in reading from a client, whose requests wait for the response to an earlier one.
    ReadsPaused,
    /// Kafka requests.
    Requests,
    /// Records that got a context.
    RecordsInjected,
    /// Records that are not sampled.
    RecordsUnsampled,
    /// Records that their producer sent again.
    RecordsRetried,
    /// Deliveries that were not committed in time.
    RecordsUnsettled,
    /// Partitions whose original batch was sent after a refusal.
    BatchesReplayed,
    /// Streams that are not Kafka.
    FramingFailed,
    /// Frames or batches that passed unmodified though they might have been read or changed.
    Skipped(SkipReason),
    /// Spans that were made.
    Spans,
    /// Spans that were due and were not made or not queued.
    SpansDropped,
    /// Brokers in responses that no listener is configured for.
    BrokersUnmapped,
    /// Panics in a hook.
    Panics,
    /// Connections that were closed because a panic had lost bytes of theirs.
    PanicsClosed,
    /// HTTP requests to the service.
    InboundRequests,
    /// HTTP requests of the service.
    OutboundRequests,
    /// HTTP requests that Envoy's tracer has no span for.
    RequestsWithoutSpan,
    /// HTTP requests of the service, by the evidence for their parent.
    Parents(Evidence),
}

/// The ids that Envoy has given to counters.
#[derive(Debug, Default)]
pub struct CounterIds(Vec<(Counter, usize)>);

const SINGLE: [Counter; 17] = [
    Counter::Connections,
    Counter::ConnectionsUntraced,
    Counter::ReadsPaused,
    Counter::Requests,
    Counter::RecordsInjected,
    Counter::RecordsUnsampled,
    Counter::RecordsRetried,
    Counter::RecordsUnsettled,
    Counter::BatchesReplayed,
    Counter::FramingFailed,
    Counter::Spans,
    Counter::SpansDropped,
    Counter::BrokersUnmapped,
    Counter::Panics,
    Counter::PanicsClosed,
    Counter::InboundRequests,
    Counter::OutboundRequests,
];

// === impl Counter ===

impl Counter {
    /// Returns all counters.
    pub fn all() -> impl Iterator<Item = Self> {
        let skipped = SkipReason::ALL.into_iter().map(Self::Skipped);
        let parents = Evidence::ALL.into_iter().map(Self::Parents);
        SINGLE
            .into_iter()
            .chain([Self::RequestsWithoutSpan])
            .chain(skipped)
            .chain(parents)
    }

    /// Returns the name, which follows the metrics namespace.
    #[must_use]
    pub fn name(self) -> String {
        let name = match self {
            Self::Connections => "kafka_connections",
            Self::ConnectionsUntraced => "kafka_connections_untraced",
            Self::ReadsPaused => "kafka_reads_paused",
            Self::Requests => "kafka_requests",
            Self::RecordsInjected => "kafka_records_injected",
            Self::RecordsUnsampled => "kafka_records_unsampled",
            Self::RecordsRetried => "kafka_records_retried",
            Self::RecordsUnsettled => "kafka_records_unsettled",
            Self::BatchesReplayed => "kafka_batches_replayed",
            Self::FramingFailed => "kafka_framing_failed",
            Self::Skipped(reason) => return format!("kafka_skipped_{}", reason.name()),
            Self::Spans => "spans",
            Self::SpansDropped => "spans_dropped",
            Self::BrokersUnmapped => "kafka_brokers_unmapped",
            Self::Panics => "panics",
            Self::PanicsClosed => "panics_closed",
            Self::InboundRequests => "http_inbound",
            Self::OutboundRequests => "http_outbound",
            Self::RequestsWithoutSpan => "http_without_span",
            Self::Parents(evidence) => {
                return format!("http_parents_{}", evidence.name().replace('-', "_"));
            }
        };
        name.to_owned()
    }

    /// Returns the counter of a session's event, and the amount; none for an event that is not
    /// counted.
    #[must_use]
    pub fn of_event(event: &SessionEvent) -> Option<(Self, u64)> {
        let counted = match event {
            SessionEvent::Request(_) => (Self::Requests, 1),
            SessionEvent::Injected { records } => (Self::RecordsInjected, (*records).into()),
            SessionEvent::Skipped { reason, .. } => (Self::Skipped(*reason), 1),
            SessionEvent::VersionUnsupported { .. } => (Self::Skipped(SkipReason::Version), 1),
            SessionEvent::Unsampled { records } => (Self::RecordsUnsampled, (*records).into()),
            SessionEvent::SpansDropped { spans, .. } => (Self::SpansDropped, (*spans).into()),
            SessionEvent::Unsettled { records } => (Self::RecordsUnsettled, (*records).into()),
            SessionEvent::Replayed { partitions } => (Self::BatchesReplayed, (*partitions).into()),
            SessionEvent::Retried { records } => (Self::RecordsRetried, (*records).into()),
            SessionEvent::FramingFailed { .. } | SessionEvent::ClientSpeaksTls => {
                (Self::FramingFailed, 1)
            }
            SessionEvent::Held { .. }
            | SessionEvent::Lag { .. }
            | SessionEvent::InjectionRejected { .. }
            | SessionEvent::RequestRefused { .. }
            | SessionEvent::PropagationObserved(_) => return None,
            // Sessions may add events that are not counted.
            _ => return None,
        };
        Some(counted)
    }
}

// === impl CounterIds ===

impl CounterIds {
    /// Defines all counters. A counter that `define` gives no id is not counted.
    pub fn define(define: impl Fn(&str) -> Option<usize>) -> Self {
        let defined =
            Counter::all().filter_map(|counter| Some((counter, define(&counter.name())?)));
        Self(defined.collect())
    }

    /// Returns the id of a counter.
    #[must_use]
    pub fn id(&self, counter: Counter) -> Option<usize> {
        let found = self.0.iter().find(|(known, _)| *known == counter);
        found.map(|(_, id)| *id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_plain() {
        let names: Vec<String> = Counter::all().map(Counter::name).collect();
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        let is_plain = |name: &String| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(names.iter().all(is_plain), "{names:?}");
    }

    #[test]
    fn every_counter_has_the_id_that_it_was_given() {
        let ids = CounterIds::define(|name| Some(name.len()));
        for counter in Counter::all() {
            assert_eq!(ids.id(counter), Some(counter.name().len()));
        }
        assert_eq!(CounterIds::default().id(Counter::Panics), None);
    }
}
