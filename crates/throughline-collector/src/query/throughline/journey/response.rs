//! The response of the journey API.

use serde::Serialize;
use utoipa::ToSchema;

use crate::query::throughline::microseconds::Microseconds;
use crate::query::throughline::trace_summary::TraceSummaryJson;

/// A request across traces.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JourneyResponse {
    /// Requested trace, then the others, nearest first; at most 100.
    pub(crate) traces: Vec<JourneyTrace>,
    /// Links between the traces; at most 1000.
    pub(crate) links: Vec<JourneyLink>,
    /// Linked traces that are not stored, or were evicted; at most 100.
    pub(crate) missing: Vec<String>,
    /// True when there are further hops, spans, traces or links.
    pub(crate) more: bool,
}

/// A trace of the journey.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JourneyTrace {
    /// Number of links between this trace and the requested one.
    pub(crate) hop: u32,
    /// Summary of the trace.
    #[serde(flatten)]
    pub(crate) summary: TraceSummaryJson,
}

/// A link from an effect back to its cause.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JourneyLink {
    /// Span that the link points to: it sent the message.
    pub(crate) cause: JourneySpan,
    /// Span that holds the link: it received the message.
    pub(crate) effect: JourneySpan,
    /// Topic, if one of the two names it.
    pub(crate) topic: Option<String>,
    /// Partition.
    pub(crate) partition: Option<i64>,
    /// Offset.
    pub(crate) offset: Option<i64>,
    /// Consumer group.
    pub(crate) group: Option<String>,
    /// Number of messages behind this one in its partition, at delivery.
    pub(crate) lag: Option<i64>,
    /// Time that the message waited in the topic, in microseconds.
    pub(crate) queue: Option<Microseconds>,
    /// Attributes of the link.
    #[schema(value_type = Object)]
    pub(crate) attributes: serde_json::Map<String, serde_json::Value>,
}

/// One end of a link.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JourneySpan {
    /// 32 hex digits.
    pub(crate) trace_id: String,
    /// 16 hex digits.
    pub(crate) span_id: String,
    /// Details of the span; null when it is not stored.
    pub(crate) span: Option<JourneySpanDetail>,
}

/// The details of a span at the end of a link.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JourneySpanDetail {
    /// Service of the span.
    pub(crate) service: String,
    /// Name of the span.
    pub(crate) operation: String,
    /// Start, in microseconds since the Unix epoch.
    pub(crate) start: Microseconds,
    /// Duration, in microseconds.
    pub(crate) duration: Microseconds,
    /// True when the span failed.
    pub(crate) failed: bool,
}
