//! Keeps spans, finds traces. Synchronous; knows no socket, no clock and no format.
//!
//! [`Store`] is what the collector needs of a store; [`MemoryStore`] is one in memory, bounded by bytes.
//!
//! Search follows Jaeger: a trace is found when *one* of its spans matches service, operation, attributes, duration and time
//! at once. Unlike Jaeger's, the service is optional and the newest traces come first.
#![forbid(unsafe_code)]

mod memory;
mod query;

use std::sync::Arc;

pub use memory::MemoryStore;
pub use query::{AttributeFilter, Query};
use throughline_model::{Span, SpanKind, TraceId};

/// What the collector needs of a store.
pub trait Store: Send + Sync {
    /// Keeps spans. One that is there already, by trace id and span id, is replaced: OTLP allows senders to repeat themselves.
    fn insert(&self, spans: Vec<Span>);

    /// The trace of this id.
    fn trace(&self, id: TraceId) -> Option<Trace>;

    /// The traces that match, newest first.
    fn search(&self, query: &Query) -> Vec<Trace>;

    /// The services that made the spans kept, sorted.
    fn services(&self) -> Vec<String>;

    /// The operations seen, sorted: of one service or all, of one kind or all.
    fn operations(&self, service: Option<&str>, kind: Option<SpanKind>) -> Vec<Operation>;

    /// Who calls whom, counted over the spans that started from `from` to `until` (nanoseconds since the Unix epoch,
    /// inclusive).
    fn dependencies(&self, from: u64, until: u64) -> Vec<Dependency>;

    /// How much is kept and how much was let go.
    fn occupancy(&self) -> Occupancy;
}

/// A trace: all spans kept of one id, ordered by start.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// The id of them all.
    pub id: TraceId,
    /// At least one.
    pub spans: Vec<Arc<Span>>,
}

/// What a service does: the name and kind of some of its spans.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    /// The spans' name.
    pub name: String,
    /// The spans' kind, as Jaeger writes it; empty when unspecified.
    pub kind: &'static str,
}

/// One service calls another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// The service that calls or sends.
    pub parent: String,
    /// The service that is called or receives.
    pub child: String,
    /// How many spans of the child have their parent, or without one their link, in a span of the parent.
    pub calls: u64,
}

/// How full a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Occupancy {
    /// Traces kept.
    pub traces: usize,
    /// Spans kept.
    pub spans: usize,
    /// Bytes they take, about.
    pub bytes: usize,
    /// Traces let go to make room, since the start.
    pub evicted_traces: u64,
    /// Their spans.
    pub evicted_spans: u64,
}
