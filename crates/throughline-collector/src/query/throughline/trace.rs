//! A whole trace in columns, small on the line and quick to turn into typed arrays.
//!
//! Every text stands once, in `strings`; every attribute with its value once, in `pairs`; everything else refers to them by number. A
//! *row* is a span's place in the columns, by start. Lists per row (`pair`, with `pair_end`) lie behind one another: those of row `r` are
//! `pair[pair_end[r-1]..pair_end[r]]`, from 0 for the first.

use serde::{Deserialize, Serialize};
use throughline_store::Store;
use utoipa::{IntoParams, ToSchema};

use super::columns;
use super::micros::Micros;
use super::parameter;
use super::{Failure, Refusal, to_json};
use crate::query::{ids, shared_span};

/// How much of the trace is wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TraceParams {
    /// At most so many spans, the first by start: 250000 when not said, which is the most there is.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 250_000)]
    pub(crate) spans: Option<String>,
}

/// A whole trace.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct TraceAnswer {
    /// 32 hex digits.
    pub(crate) trace_id: String,
    /// The moment that all other times here are counted from: microseconds since the Unix epoch.
    pub(crate) origin: Micros,
    /// From the start of the first span to the end of the last, in microseconds.
    pub(crate) duration: Micros,
    /// Spans of the trace that are not here, because there are more than are given at once.
    pub(crate) omitted: u64,
    /// All texts; the first is empty.
    pub(crate) strings: Vec<String>,
    /// All attributes.
    pub(crate) pairs: Pairs,
    /// Who made the spans.
    pub(crate) resources: Vec<ResourceEntry>,
    /// The instrumentations that made the spans.
    pub(crate) scopes: Vec<ScopeEntry>,
    /// The spans.
    pub(crate) spans: Spans,
    /// Parents that are not here.
    pub(crate) missing_parents: MissingParents,
    /// What failed spans say.
    pub(crate) status_messages: RowTexts,
    /// The `tracestate` of spans that ran under one.
    pub(crate) trace_states: RowTexts,
    /// Attributes, events and links that senders dropped.
    pub(crate) dropped: Dropped,
    /// What happened at moments of spans.
    pub(crate) events: Events,
    /// References to other spans.
    pub(crate) links: Links,
    /// How parents were found.
    pub(crate) evidence: Evidence,
    /// What spans say of messages.
    pub(crate) messages: Messages,
}

/// Attributes with their values, each once.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Pairs {
    /// The attributes' names, in `strings`.
    pub(crate) key: Vec<u32>,
    /// A letter for the type of each value: `s` text, `i` whole number, `d` number, `b` truth, `x` bytes, `a` list, `m` map, `n` none.
    pub(crate) kind: String,
    /// The values in JSON: whole numbers beyond 2^53 and numbers that JSON has not (`NaN`) as text, bytes in base64.
    #[schema(value_type = Vec<Object>)]
    pub(crate) value: Vec<serde_json::Value>,
}

/// Who made spans.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResourceEntry {
    /// The service, in `strings`.
    pub(crate) service: u32,
    /// Attributes, in `pairs`.
    pub(crate) pair: Vec<u32>,
}

/// An instrumentation that made spans.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScopeEntry {
    /// Its name, in `strings`.
    pub(crate) name: u32,
    /// Its version, in `strings`.
    pub(crate) version: u32,
    /// Attributes, in `pairs`.
    pub(crate) pair: Vec<u32>,
}

/// The spans, by start.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Spans {
    /// Ids, 16 hex digits each, one behind the other.
    pub(crate) id: String,
    /// The row of the parent; -1 without one, or where it is not here (`missing_parents`).
    pub(crate) parent: Vec<i32>,
    /// Names, in `strings`.
    pub(crate) name: Vec<u32>,
    /// Places in `resources`.
    pub(crate) resource: Vec<u32>,
    /// Places in `scopes`.
    pub(crate) scope: Vec<u32>,
    /// 0 not said, 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub(crate) kind: Vec<u8>,
    /// 0 not said, 1 ok, 2 failed.
    pub(crate) status: Vec<u8>,
    /// Starts, from `origin`.
    pub(crate) start: Vec<Micros>,
    /// How long they took.
    pub(crate) duration: Vec<Micros>,
    /// Where each row's attributes end in `pair`.
    pub(crate) pair_end: Vec<u32>,
    /// Attributes, in `pairs`.
    pub(crate) pair: Vec<u32>,
}

/// Parents that are not here.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct MissingParents {
    /// The children's rows.
    pub(crate) row: Vec<u32>,
    /// The parents' ids, 16 hex digits each.
    pub(crate) id: Vec<String>,
}

/// Texts of some rows.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct RowTexts {
    /// The rows.
    pub(crate) row: Vec<u32>,
    /// The texts, in `strings`.
    pub(crate) text: Vec<u32>,
}

/// What senders dropped.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Dropped {
    /// The rows.
    pub(crate) row: Vec<u32>,
    /// How many attributes, events and links.
    pub(crate) count: Vec<u32>,
}

/// What happened at moments of spans.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Events {
    /// The spans' rows.
    pub(crate) row: Vec<u32>,
    /// When, from `origin`; may be below zero.
    pub(crate) time: Vec<Micros>,
    /// Names, in `strings`.
    pub(crate) name: Vec<u32>,
    /// Where each event's attributes end in `pair`.
    pub(crate) pair_end: Vec<u32>,
    /// Attributes, in `pairs`.
    pub(crate) pair: Vec<u32>,
}

/// References to other spans.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Links {
    /// The rows of the spans that refer.
    pub(crate) row: Vec<u32>,
    /// The other spans' traces, 32 hex digits in `strings`.
    pub(crate) trace: Vec<u32>,
    /// The other spans, 16 hex digits in `strings`.
    pub(crate) span: Vec<u32>,
    /// The other spans' rows; -1 for one that is not here.
    pub(crate) target: Vec<i32>,
    /// Where each link's attributes end in `pair`.
    pub(crate) pair_end: Vec<u32>,
    /// Attributes, in `pairs`.
    pub(crate) pair: Vec<u32>,
}

/// How parents were found (`throughline.parent.evidence`).
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Evidence {
    /// The rows.
    pub(crate) row: Vec<u32>,
    /// `header`, `request-id`, `thread`, `sole`, `open` and so on, in `strings`.
    pub(crate) name: Vec<u32>,
    /// How sure the parent is, 0 to 1; null where nobody said.
    pub(crate) confidence: Vec<Option<f64>>,
    /// Whether the parent is inferred, not carried: to be drawn dashed.
    pub(crate) inferred: Vec<bool>,
}

/// What spans say of messages, in whichever convention they say it.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Messages {
    /// The rows.
    pub(crate) row: Vec<u32>,
    /// Topics, in `strings`; empty when not said.
    pub(crate) topic: Vec<u32>,
    /// Consumer groups, in `strings`; empty when not said.
    pub(crate) group: Vec<u32>,
    /// Partitions.
    pub(crate) partition: Vec<Option<i64>>,
    /// Offsets.
    pub(crate) offset: Vec<Option<i64>>,
    /// Messages behind this one in its partition when it was delivered.
    pub(crate) lag: Vec<Option<i64>>,
    /// How long the message waited in the topic: from the end of the producer's span to the start of this one, else as the span says.
    pub(crate) queue: Vec<Option<Micros>>,
    /// The row of the producer's span, as parent or by link; -1 for one that is not here.
    pub(crate) producer: Vec<i32>,
}

/// What is asked of the store.
pub(super) fn question(
    id: &str,
    params: &TraceParams,
) -> Result<impl FnOnce(&dyn Store) -> Result<Vec<u8>, Failure> + use<>, Refusal> {
    let id = ids::parse(id)?;
    let spans =
        parameter::count("spans", params.spans.as_deref(), 1..=SPANS_MAX)?.unwrap_or(SPANS_MAX);
    Ok(move |store: &dyn Store| {
        let trace = store.trace(id).ok_or(Failure::Missing(super::NOT_STORED))?;
        let trace = shared_span::parted(trace);
        to_json(&columns::of(&trace, spans))
    })
}

/// Spans of one answer.
const SPANS_MAX: usize = 250_000;
