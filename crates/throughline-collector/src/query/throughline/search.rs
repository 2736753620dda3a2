//! Finds traces: a page of summaries, in the order asked for.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::summary::TraceSummary;

/// What is looked for. Service, operation, errors and the `key=value` pairs of `q` must hold together on *one span* of a trace; topic,
/// durations and times are those of the *whole trace*; a TraceQL query in `q` must hold besides.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchParams {
    /// A query: TraceQL (`{ span.http.response.status_code >= 500 } && { topic = "orders" }`), logfmt (`http.route=/pay error=true`), or a
    /// bare trace id or span id.
    pub(crate) q: Option<String>,
    /// The trace started then or later: microseconds since the Unix epoch.
    #[param(value_type = Option<u64>)]
    pub(crate) start: Option<String>,
    /// The trace started then or earlier: microseconds since the Unix epoch.
    #[param(value_type = Option<u64>)]
    pub(crate) end: Option<String>,
    /// The service that made the span.
    pub(crate) service: Option<String>,
    /// The span's name.
    pub(crate) operation: Option<String>,
    /// The trace took at least so long: `100ms`, `1.5s`, or a number of microseconds.
    pub(crate) min_duration: Option<String>,
    /// The trace took at most so long.
    pub(crate) max_duration: Option<String>,
    /// `true`: the span failed.
    #[param(value_type = Option<bool>)]
    pub(crate) errors: Option<String>,
    /// A message of the trace went through this topic.
    pub(crate) topic: Option<String>,
    /// What comes first.
    #[param(value_type = Option<Order>)]
    pub(crate) order: Option<String>,
    /// Traces on a page: 20 when not said, 1500 at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1500)]
    pub(crate) limit: Option<String>,
    /// `next` of the page before; everything else must be asked for as it was.
    pub(crate) cursor: Option<String>,
}

/// What comes first.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Order {
    /// The trace that started last. The default.
    Newest,
    /// The trace that took longest.
    Duration,
    /// The trace with most spans.
    Spans,
    /// The trace with most failed spans.
    Errors,
}

/// A page of what was found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SearchAnswer {
    /// The traces, in the order asked for.
    pub(crate) traces: Vec<TraceSummary>,
    /// The `cursor` of the next page; null when this is the last.
    pub(crate) next: Option<String>,
    /// How many traces match on all pages together; null when finding out would have taken longer than the page.
    pub(crate) total: Option<u64>,
    /// The `since` to ask `/api/throughline/live` with for what comes after this answer.
    pub(crate) live: String,
}
