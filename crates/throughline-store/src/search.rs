//! The query that the search engine takes, and the page of summaries it returns.

use std::ops::RangeInclusive;
use std::sync::Arc;

use throughline_model::{SpanId, TraceId};

use crate::{TraceExpression, WeavingView};

/// A search for traces and the page of it to return. The default matches every trace, newest first.
#[derive(Debug, Clone)]
pub struct TraceQuery {
    /// Condition on the trace; every trace matches when absent.
    pub expression: Option<TraceExpression>,
    /// Topic that a message of the trace went through.
    pub topic: Option<String>,
    /// Range of the trace's duration, in nanoseconds.
    pub duration: RangeInclusive<u64>,
    /// Range of the start of the trace's first span, in nanoseconds since the Unix epoch.
    pub start: RangeInclusive<u64>,
    /// Order of the results.
    pub order: SortOrder,
    /// Maximum number of traces.
    pub limit: usize,
    /// No further trace is added once the traces found hold this number of spans.
    pub max_spans: usize,
    /// Only traces after this position in the order.
    pub after: Option<SortPosition>,
    /// Whether traces that were joined are found as one.
    pub view: WeavingView,
}

/// The order of search results. Traces with equal values come newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SortOrder {
    /// Latest start first.
    #[default]
    Newest,
    /// Longest duration first.
    Duration,
    /// Most spans first.
    Spans,
    /// Most failed spans first.
    Errors,
}

/// A trace's position in an order. Pages run from the greatest position to the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortPosition {
    /// Value that the order compares.
    pub value: u64,
    /// Start of the trace.
    pub start: u64,
    /// Id of the trace.
    pub id: TraceId,
}

/// One page of search results.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchPage<T = TraceSummary> {
    /// Matching traces, in the requested order.
    pub traces: Vec<T>,
    /// Position of the last trace of this page, when there are more.
    pub next: Option<SortPosition>,
    /// Number of matches on all pages, when it is known without further work.
    pub total: Option<u64>,
}

/// The summary of a trace, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSummary {
    /// Id of the trace.
    pub id: TraceId,
    /// Service of the root span, or of the first span when the root is missing.
    pub service: Arc<str>,
    /// Name of that span.
    pub operation: String,
    /// Where the call of that span went, if it is a client: see
    /// [`throughline_model::destination`].
    pub destination: Option<String>,
    /// True when that span is a root.
    pub rooted: bool,
    /// Start of the first span, in nanoseconds since the Unix epoch.
    pub start: u64,
    /// Time from the first start to the end of the work, in nanoseconds.
    pub duration: u64,
    /// Time from the end of the work to that of the last commit or acknowledgement, if it is later.
    pub settled_after: Option<u64>,
    /// Number of spans.
    pub spans: u64,
    /// Number of failed spans.
    pub errors: u64,
    /// Number of spans that begin a fragment: they have a parent that nobody knows.
    pub open: u64,
    /// Number of spans with an inferred parent.
    pub inferred: u64,
    /// Number of reported traces that the trace consists of; 1 unless it is woven.
    pub fragments: u64,
    /// Services by falling number of spans; a bounded number.
    pub services: Vec<ServiceSpanCount>,
    /// Topics of the trace's messages, sorted; a bounded number.
    pub topics: Vec<Arc<str>>,
    /// First spans that match the query; a bounded number.
    pub matched: Vec<SpanId>,
}

/// A reported trace and the range in which its spans started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceBounds {
    /// Id of the trace.
    pub id: TraceId,
    /// Start of the first span, in nanoseconds since the Unix epoch.
    pub first_start: u64,
    /// Start of the last span.
    pub last_start: u64,
}

/// The spans of one service in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpanCount {
    /// Service name.
    pub name: Arc<str>,
    /// Number of spans.
    pub spans: u64,
    /// Number of failed spans.
    pub errors: u64,
}

impl Default for TraceQuery {
    fn default() -> Self {
        Self {
            expression: None,
            topic: None,
            duration: 0..=u64::MAX,
            start: 0..=u64::MAX,
            order: SortOrder::Newest,
            limit: usize::MAX,
            max_spans: usize::MAX,
            after: None,
            view: WeavingView::Woven,
        }
    }
}

impl<T> Default for SearchPage<T> {
    fn default() -> Self {
        Self {
            traces: Vec::new(),
            next: None,
            total: None,
        }
    }
}
