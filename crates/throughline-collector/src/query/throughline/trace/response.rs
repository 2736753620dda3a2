//! The response of the trace API.
//!
//! Every text occurs once, in `strings`; every attribute with its value once, in `pairs`; all else
//! refers to them by index. A *row* is the index of a span in the columns, by start. Lists of
//! several items for each row (`pair` with `pair_end`) are concatenated: the items of row `r` are
//! `pair[pair_end[r-1]..pair_end[r]]`, from 0 for the first row.

use serde::Serialize;
use utoipa::ToSchema;

use crate::query::throughline::microseconds::Microseconds;

/// A whole trace.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct TraceResponse {
    /// 32 hex digits. A woven trace has the id of the reported trace that starts first.
    pub(crate) trace_id: String,
    /// Number of reported traces that the trace consists of; 1 unless it is woven.
    pub(crate) fragments: u64,
    /// Origin of all other times here, in microseconds since the Unix epoch.
    pub(crate) origin: Microseconds,
    /// Time from the start of the first span to the end of the last one that is work, in
    /// microseconds: commits and acknowledgements of messages do not count.
    pub(crate) duration: Microseconds,
    /// Number of spans left out because the trace exceeds the limits of a response.
    pub(crate) omitted: u64,
    /// All texts; the first is empty.
    pub(crate) strings: Vec<String>,
    /// All attributes.
    pub(crate) pairs: AttributePairs,
    /// Resources of the spans.
    pub(crate) resources: Vec<ResourceEntry>,
    /// Instrumentation scopes of the spans.
    pub(crate) scopes: Vec<ScopeEntry>,
    /// Spans.
    pub(crate) spans: SpanColumns,
    /// Parents that are not part of the response.
    pub(crate) missing_parents: MissingParentColumns,
    /// Status messages of the spans that have one.
    pub(crate) status_messages: TextColumns,
    /// `tracestate` of the spans that have one.
    pub(crate) trace_states: TextColumns,
    /// Numbers of attributes, events and links that the sender dropped.
    pub(crate) dropped: DroppedColumns,
    /// Events of the spans.
    pub(crate) events: EventColumns,
    /// Links of the spans.
    pub(crate) links: LinkColumns,
    /// Evidence for the parents of the spans.
    pub(crate) evidence: EvidenceColumns,
    /// Decisions about the parents of spans that were reported without one.
    pub(crate) decisions: DecisionColumns,
    /// Messages that the spans describe.
    pub(crate) messages: MessageColumns,
}

/// Attributes with their values, each once.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct AttributePairs {
    /// Names, in `strings`.
    pub(crate) key: Vec<u32>,
    /// One letter for the type of each value: `s` string, `i` whole number, `d` number,
    /// `b` boolean, `x` bytes, `a` array, `m` map, `n` none.
    pub(crate) kind: String,
    /// Values in JSON. Whole numbers beyond 2^53 and numbers that JSON lacks (`NaN`) are strings;
    /// bytes are in base64.
    #[schema(value_type = Vec<Object>)]
    pub(crate) value: Vec<serde_json::Value>,
}

/// A resource.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResourceEntry {
    /// Service, in `strings`.
    pub(crate) service: u32,
    /// Attributes, in `pairs`.
    pub(crate) pair: Vec<u32>,
}

/// An instrumentation scope.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScopeEntry {
    /// Name, in `strings`.
    pub(crate) name: u32,
    /// Version, in `strings`.
    pub(crate) version: u32,
    /// Attributes, in `pairs`.
    pub(crate) pair: Vec<u32>,
}

/// The spans, by start.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct SpanColumns {
    /// Ids of 16 hex digits each, concatenated.
    pub(crate) id: String,
    /// Row of the parent; -1 without a parent, or when it is missing (`missing_parents`).
    pub(crate) parent: Vec<i32>,
    /// Names, in `strings`.
    pub(crate) name: Vec<u32>,
    /// Indexes in `resources`.
    pub(crate) resource: Vec<u32>,
    /// Indexes in `scopes`.
    pub(crate) scope: Vec<u32>,
    /// 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub(crate) kind: Vec<u8>,
    /// 0 unset, 1 ok, 2 error. An unset status with an attribute `error` that is true is an error.
    pub(crate) status: Vec<u8>,
    /// Starts, from `origin`.
    pub(crate) start: Vec<Microseconds>,
    /// Durations; negative when the end that was sent is before the start.
    pub(crate) duration: Vec<Microseconds>,
    /// End of each row's attributes in `pair`.
    pub(crate) pair_end: Vec<u32>,
    /// Attributes, in `pairs`.
    pub(crate) pair: Vec<u32>,
}

/// Parents that are not part of the response.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct MissingParentColumns {
    /// Rows of the children.
    pub(crate) row: Vec<u32>,
    /// Ids of the parents, 16 hex digits each.
    pub(crate) id: Vec<String>,
}

/// Texts of some rows.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct TextColumns {
    /// Rows.
    pub(crate) row: Vec<u32>,
    /// Texts, in `strings`.
    pub(crate) text: Vec<u32>,
}

/// Numbers of items that the sender dropped.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct DroppedColumns {
    /// Rows.
    pub(crate) row: Vec<u32>,
    /// Numbers of attributes, events and links.
    pub(crate) count: Vec<u32>,
}

/// The events of the spans.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct EventColumns {
    /// Rows of the spans.
    pub(crate) row: Vec<u32>,
    /// Times, from `origin`; may be negative.
    pub(crate) time: Vec<Microseconds>,
    /// Names, in `strings`.
    pub(crate) name: Vec<u32>,
    /// End of each event's attributes in `pair`.
    pub(crate) pair_end: Vec<u32>,
    /// Attributes, in `pairs`.
    pub(crate) pair: Vec<u32>,
}

/// The links of the spans.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct LinkColumns {
    /// Rows of the linking spans.
    pub(crate) row: Vec<u32>,
    /// Traces of the linked spans, 32 hex digits in `strings`.
    pub(crate) trace: Vec<u32>,
    /// Linked spans, 16 hex digits in `strings`.
    pub(crate) span: Vec<u32>,
    /// Rows of the linked spans; -1 for a span that is not part of the response.
    pub(crate) target: Vec<i32>,
    /// End of each link's attributes in `pair`.
    pub(crate) pair_end: Vec<u32>,
    /// Attributes, in `pairs`.
    pub(crate) pair: Vec<u32>,
}

/// The evidence for parents (`throughline.parent.evidence`).
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct EvidenceColumns {
    /// Rows.
    pub(crate) row: Vec<u32>,
    /// Kinds of evidence, such as `header`, `request-id`, `sole`, `offset`, `timing` or `open`, in
    /// `strings`.
    pub(crate) name: Vec<u32>,
    /// Confidence in the parent, 0 to 1; null when not recorded.
    pub(crate) confidence: Vec<Option<f64>>,
    /// True when the parent is inferred rather than carried; drawn dashed.
    pub(crate) inferred: Vec<bool>,
}

/// Decisions about the parents of spans that were reported without one: the parent that was chosen
/// and up to three alternatives, the likeliest first. Several lines may be about one row.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct DecisionColumns {
    /// Rows of the spans that were decided about.
    pub(crate) row: Vec<u32>,
    /// Traces of the possible parents as reported, 32 hex digits in `strings`; empty for no parent.
    pub(crate) trace: Vec<u32>,
    /// Possible parents, 16 hex digits in `strings`; empty for no parent.
    pub(crate) span: Vec<u32>,
    /// Rows of the possible parents; -1 for a span that is not part of the response.
    pub(crate) target: Vec<i32>,
    /// Services of the possible parents, in `strings`; empty when they are not stored any more.
    pub(crate) service: Vec<u32>,
    /// Names of the possible parents, in `strings`.
    pub(crate) name: Vec<u32>,
    /// Probability, 0 to 1.
    pub(crate) confidence: Vec<f64>,
    /// True for the parent that the span has in the response.
    pub(crate) chosen: Vec<bool>,
}

/// The messages that spans describe, in whichever convention.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct MessageColumns {
    /// Rows.
    pub(crate) row: Vec<u32>,
    /// Topics, in `strings`; empty when unknown.
    pub(crate) topic: Vec<u32>,
    /// Consumer groups, in `strings`; empty when unknown.
    pub(crate) group: Vec<u32>,
    /// Partitions.
    pub(crate) partition: Vec<Option<i64>>,
    /// Offsets.
    pub(crate) offset: Vec<Option<i64>>,
    /// True for a commit or acknowledgement, which the duration leaves out.
    pub(crate) settles: Vec<bool>,
    /// Numbers of messages behind this one in its partition, at delivery.
    pub(crate) lag: Vec<Option<i64>>,
    /// Time that the message waited in the topic: from the end of the producer's span to the start
    /// of this one, or as recorded by the span when the producer is unknown.
    pub(crate) queue: Vec<Option<Microseconds>>,
    /// Row of the producer's span, found as parent or by link; -1 when it is not part of the
    /// response.
    pub(crate) producer: Vec<i32>,
}
