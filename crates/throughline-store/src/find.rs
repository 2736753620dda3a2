//! A search for pages of summaries, and its answer.

use std::ops::RangeInclusive;
use std::sync::Arc;

use throughline_model::{SpanId, TraceId};

use crate::Expression;

/// What is looked for, and which page of it. The default finds everything, the newest first.
#[derive(Debug, Clone)]
pub struct Find {
    /// What is asked of a trace; everything when absent.
    pub expression: Option<Expression>,
    /// A topic that a message of the trace went through.
    pub topic: Option<String>,
    /// How long the trace took, in nanoseconds.
    pub duration: RangeInclusive<u64>,
    /// When the trace started, in nanoseconds since the Unix epoch.
    pub start: RangeInclusive<u64>,
    /// What comes first.
    pub order: Order,
    /// At most so many traces.
    pub limit: usize,
    /// Only what comes after this place in the order.
    pub after: Option<Place>,
}

/// What comes first; among equals the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// What started last.
    #[default]
    Newest,
    /// What took longest.
    Duration,
    /// What has most spans.
    Spans,
    /// What has most failed spans.
    Errors,
}

/// A trace's place in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// What it is ordered by.
    pub value: u64,
    /// When it started.
    pub start: u64,
    /// Which it is.
    pub id: TraceId,
}

/// A page of what was found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// In the order asked for.
    pub traces: Vec<Summary>,
    /// The place of the last one, when there are more.
    pub next: Option<Place>,
    /// How many there are on all pages, where that is known without more work.
    pub total: Option<u64>,
}

/// A trace in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Which it is.
    pub id: TraceId,
    /// The service of its root, or of its first span.
    pub service: Arc<str>,
    /// The name of that span.
    pub operation: String,
    /// Whether that span is a root.
    pub rooted: bool,
    /// When it started, in nanoseconds since the Unix epoch.
    pub start: u64,
    /// From its first start to its last end, in nanoseconds.
    pub duration: u64,
    /// Its spans.
    pub spans: u64,
    /// Those that failed.
    pub errors: u64,
    /// Those that begin a fragment.
    pub open: u64,
    /// Those whose parent is inferred.
    pub woven: u64,
    /// The services that made its spans, those with most first; a bounded number.
    pub services: Vec<ServiceCount>,
    /// The topics its messages went through, sorted; a bounded number.
    pub topics: Vec<Arc<str>>,
    /// The first of the spans that were asked for.
    pub matched: Vec<SpanId>,
}

/// A service's share of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCount {
    /// The service.
    pub name: Arc<str>,
    /// Its spans.
    pub spans: u64,
    /// Those that failed.
    pub errors: u64,
}

/// What changed since a moment of the store's own counting.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// The moment now.
    pub now: u64,
    /// Traces that got spans since, the last first; a bounded number.
    pub traces: Vec<TraceId>,
    /// Whether there are more, or it is no longer known which.
    pub more: bool,
}

/// What a query can be completed with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Completions {
    /// Texts with how often they stand in spans, about; those that begin with the text asked for first, then the most frequent.
    pub items: Vec<(String, u64)>,
    /// Whether there are others.
    pub more: bool,
}

/// What is to be completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Names of attributes with their scope.
    Keys,
    /// Values of an attribute.
    Values(String),
    /// Services.
    Services,
    /// Names of spans, of one service or all.
    Operations(Option<String>),
    /// Topics.
    Topics,
}

impl Default for Find {
    fn default() -> Self {
        Self {
            expression: None,
            topic: None,
            duration: 0..=u64::MAX,
            start: 0..=u64::MAX,
            order: Order::Newest,
            limit: usize::MAX,
            after: None,
        }
    }
}

// === impl Completions ===

impl Completions {
    /// Of these texts those that contain the one asked for, in any case.
    pub(crate) fn choose(
        items: Vec<(String, u64)>,
        is_whole: bool,
        text: &str,
        limit: usize,
    ) -> Self {
        let text = text.to_lowercase();
        let mut fitting: Vec<(bool, u64, String)> = items
            .into_iter()
            .filter_map(|(item, count)| {
                let at = item.to_lowercase().find(&text)?;
                Some((at != 0, count, item))
            })
            .collect();
        fitting.sort_unstable_by(|a, b| (a.0, b.1, &a.2).cmp(&(b.0, a.1, &b.2)));
        let more = !is_whole || fitting.len() > limit;
        Self {
            items: fitting
                .into_iter()
                .take(limit)
                .map(|(_, count, item)| (item, count))
                .collect(),
            more,
        }
    }
}
