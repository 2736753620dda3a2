//! A trace in short, as lists show it.

use serde::Serialize;
use throughline_store::Summary;
use utoipa::ToSchema;

use super::micros::Micros;

/// A trace in short.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TraceSummary {
    /// 32 hex digits.
    #[schema(example = "0af7651916cd43dd8448eb211c80319c")]
    pub(crate) trace_id: String,
    /// The service of the root span; of the first span where the root is not there (see `rooted`).
    pub(crate) service: String,
    /// The name of that span.
    pub(crate) operation: String,
    /// Whether a span without a parent is there.
    pub(crate) rooted: bool,
    /// When the first span started, microseconds since the Unix epoch.
    pub(crate) start: Micros,
    /// From the start of the first span to the end of the last, in microseconds.
    pub(crate) duration: Micros,
    /// Spans in it.
    pub(crate) spans: u64,
    /// Spans that failed.
    pub(crate) errors: u64,
    /// The services that made its spans, by number of spans; at most 64.
    pub(crate) services: Vec<ServiceCount>,
    /// The topics that its messages went through, sorted; at most 64.
    pub(crate) topics: Vec<String>,
    /// Spans that begin a fragment: they must have a parent, and none was found (yet).
    pub(crate) open: u64,
    /// Spans whose parent is inferred, not carried.
    pub(crate) woven: u64,
    /// Some of the spans that match the search, the first 20 by start, each 16 hex digits; none when every span would match.
    pub(crate) matched: Vec<String>,
}

/// A service's share of a trace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceCount {
    /// The service.
    pub(crate) name: String,
    /// Its spans.
    pub(crate) spans: u64,
    /// Those that failed.
    pub(crate) errors: u64,
}

impl From<&Summary> for TraceSummary {
    fn from(summary: &Summary) -> Self {
        let count = |count: &throughline_store::ServiceCount| ServiceCount {
            name: count.name.to_string(),
            spans: count.spans,
            errors: count.errors,
        };
        Self {
            trace_id: summary.id.to_string(),
            service: summary.service.to_string(),
            operation: summary.operation.clone(),
            rooted: summary.rooted,
            start: Micros::moment(summary.start),
            duration: Micros::of(summary.duration),
            spans: summary.spans,
            errors: summary.errors,
            services: summary.services.iter().map(count).collect(),
            topics: summary
                .topics
                .iter()
                .map(|topic| topic.to_string())
                .collect(),
            open: summary.open,
            woven: summary.woven,
            matched: summary.matched.iter().map(ToString::to_string).collect(),
        }
    }
}
