//! Trace summaries, as lists show them.

use serde::Serialize;
use throughline_store::{ServiceSpanCount, TraceSummary};
use utoipa::ToSchema;

use super::microseconds::Microseconds;

/// The summary of a trace.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TraceSummary)]
pub(crate) struct TraceSummaryJson {
    /// 32 hex digits.
    #[schema(example = "0af7651916cd43dd8448eb211c80319c")]
    pub(crate) trace_id: String,
    /// Service of the root span, or of the first span when the root is missing (see `rooted`).
    pub(crate) service: String,
    /// Name of that span.
    pub(crate) operation: String,
    /// Where the call of that span went, if it is a client, without what its name says already:
    /// `billing:8080/payment`. Null for other spans.
    pub(crate) destination: Option<String>,
    /// True when the trace has a span without a parent.
    pub(crate) rooted: bool,
    /// Start of the first span, in microseconds since the Unix epoch.
    pub(crate) start: Microseconds,
    /// Time from the start of the first span to the end of the last one that is work, in
    /// microseconds: commits and acknowledgements of messages do not count.
    pub(crate) duration: Microseconds,
    /// Time from the end of the work to that of the last commit or acknowledgement, in
    /// microseconds; null when none is later.
    pub(crate) settled_after: Option<Microseconds>,
    /// Number of spans.
    pub(crate) spans: u64,
    /// Number of failed spans.
    pub(crate) errors: u64,
    /// Services of the trace, by falling number of spans; at most 64.
    pub(crate) services: Vec<ServiceCountJson>,
    /// Topics of the trace's messages, sorted; at most 64.
    pub(crate) topics: Vec<String>,
    /// Spans that begin a fragment: they must have a parent, and none has been found yet.
    pub(crate) open: u64,
    /// Spans whose parent is inferred rather than carried in a message.
    pub(crate) woven: u64,
    /// Number of reported traces that the trace consists of; 1 unless it is woven.
    pub(crate) fragments: u64,
    /// Ids of the first 20 spans that match the search, by start, each 16 hex digits; empty when
    /// every span would match.
    pub(crate) matched: Vec<String>,
}

/// The spans of one service in a trace.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServiceCount)]
pub(crate) struct ServiceCountJson {
    /// Service name.
    pub(crate) name: String,
    /// Number of spans.
    pub(crate) spans: u64,
    /// Number of failed spans.
    pub(crate) errors: u64,
}

impl From<&TraceSummary> for TraceSummaryJson {
    fn from(summary: &TraceSummary) -> Self {
        let service = |service: &ServiceSpanCount| ServiceCountJson {
            name: service.name.to_string(),
            spans: service.spans,
            errors: service.errors,
        };
        let topics = summary.topics.iter();
        Self {
            trace_id: summary.id.to_string(),
            service: summary.service.to_string(),
            operation: summary.operation.clone(),
            destination: summary.destination.clone(),
            rooted: summary.rooted,
            start: Microseconds::since_epoch(summary.start),
            duration: Microseconds::of(summary.duration),
            settled_after: summary.settled_after.map(Microseconds::of),
            spans: summary.spans,
            errors: summary.errors,
            services: summary.services.iter().map(service).collect(),
            topics: topics.map(|topic| topic.to_string()).collect(),
            open: summary.open,
            // The name in the API is older than the one in the code.
            woven: summary.inferred,
            fragments: summary.fragments,
            matched: summary.matched.iter().map(ToString::to_string).collect(),
        }
    }
}
