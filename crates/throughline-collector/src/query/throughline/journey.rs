//! A request across traces: what this trace links to, and what links to it.

mod walk;

use serde::{Deserialize, Serialize};
use throughline_store::Store;
use utoipa::{IntoParams, ToSchema};

use self::walk::Walk;
use super::micros::Micros;
use super::parameter;
use super::summary::TraceSummary;
use super::{Failure, Refusal, to_json};
use crate::query::ids;

/// How far to go.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct JourneyParams {
    /// Links to follow one after the other: 3 when not said, 10 at most.
    #[param(value_type = Option<u32>, minimum = 0, maximum = 10)]
    pub(crate) hops: Option<String>,
    /// No further trace is added once the traces have so many spans: 20000 when not said, 250000 at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 250_000)]
    pub(crate) spans: Option<String>,
}

/// A request across traces.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JourneyAnswer {
    /// The trace asked for, then others, nearest first; at most 100.
    pub(crate) traces: Vec<JourneyTrace>,
    /// The links between them; at most 1000.
    pub(crate) links: Vec<JourneyLink>,
    /// Linked traces that are not (or no longer) stored; at most 100.
    pub(crate) missing: Vec<String>,
    /// Whether there is more than is given: more hops, spans, traces or links.
    pub(crate) more: bool,
}

/// A trace of the journey.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JourneyTrace {
    /// How many links away from the trace asked for.
    pub(crate) hop: u32,
    /// The trace in short.
    #[serde(flatten)]
    pub(crate) summary: TraceSummary,
}

/// A link from an effect back to its cause.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JourneyLink {
    /// The span that is linked to: it sent the message.
    pub(crate) cause: JourneySpan,
    /// The span that holds the link: it got the message.
    pub(crate) effect: JourneySpan,
    /// The topic, when one of the two says it.
    pub(crate) topic: Option<String>,
    /// The partition.
    pub(crate) partition: Option<i64>,
    /// The offset.
    pub(crate) offset: Option<i64>,
    /// The consumer group.
    pub(crate) group: Option<String>,
    /// Messages behind this one in its partition when it was delivered.
    pub(crate) lag: Option<i64>,
    /// How long the message waited in the topic, in microseconds.
    pub(crate) queue: Option<Micros>,
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
    /// What is known of the span; null when it is not stored.
    pub(crate) span: Option<JourneySpanDetail>,
}

/// What is known of a span at the end of a link.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JourneySpanDetail {
    /// Its service.
    pub(crate) service: String,
    /// Its name.
    pub(crate) operation: String,
    /// When it started, microseconds since the Unix epoch.
    pub(crate) start: Micros,
    /// How long it took, in microseconds.
    pub(crate) duration: Micros,
    /// Whether it failed.
    pub(crate) failed: bool,
}

/// What is asked of the store.
pub(super) fn question(
    id: &str,
    params: &JourneyParams,
) -> Result<impl FnOnce(&dyn Store) -> Result<Vec<u8>, Failure> + use<>, Refusal> {
    let id = ids::parse(id)?;
    let hops = parameter::count("hops", params.hops.as_deref(), 0..=HOPS_MAX)?.unwrap_or(HOPS);
    let spans = parameter::count("spans", params.spans.as_deref(), 1..=SPANS_MAX)?.unwrap_or(SPANS);
    Ok(move |store: &dyn Store| {
        let first = store
            .summary(id)
            .ok_or(Failure::Missing(super::NOT_STORED))?;
        to_json(&Walk::new(store, hops, spans).go(&first))
    })
}

/// Links followed one after the other when nobody says how many.
const HOPS: usize = 3;

const HOPS_MAX: usize = 10;

/// Spans of all traces when nobody says how many.
const SPANS: usize = 20_000;

const SPANS_MAX: usize = 250_000;
