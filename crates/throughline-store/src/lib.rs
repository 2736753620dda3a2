//! Keeps spans, finds traces. Synchronous; knows no socket, no clock and no format.
//!
//! [`Store`] is what the collector needs of a store; [`MemoryStore`] is one in memory, bounded by bytes.
//!
//! Search follows Jaeger: a trace is found when *one* of its spans matches service, operation, attributes, duration and time
//! at once. Unlike Jaeger's, the service is optional and the newest traces come first.
#![forbid(unsafe_code)]

mod filter;
mod find;
mod memory;
pub mod message;
mod query;
mod system;

use std::sync::Arc;

pub use filter::{Comparison, Equal, Expression, Facts, Field, Filter, Piece, Scope, Test, Wrong};
pub use find::{Changes, Completions, Find, Found, Order, Place, ServiceCount, Summary, Wanted};
pub use memory::MemoryStore;
pub use message::Message;
pub use query::{AttributeFilter, Query};
pub use system::{Edge, EdgeKind, Histogram, ServiceNode, System, TopicNode};
use throughline_model::{Span, SpanId, SpanKind, TraceId};

/// What the collector needs of a store.
pub trait Store: Send + Sync {
    /// Keeps spans. One that is there already, by trace id and span id, is replaced: OTLP allows senders to repeat themselves.
    fn insert(&self, spans: Vec<Span>);

    /// The trace of this id.
    fn trace(&self, id: TraceId) -> Option<Trace>;

    /// The traces that match, newest first.
    fn search(&self, query: &Query) -> Vec<Trace>;

    /// A page of the traces that match, in short and in order.
    fn find(&self, find: &Find) -> Found;

    /// The trace of this id in short.
    fn summary(&self, id: TraceId) -> Option<Summary>;

    /// One span.
    fn span(&self, trace: TraceId, span: SpanId) -> Option<Arc<Span>>;

    /// Spans of this trace that link to others.
    fn links_from(&self, id: TraceId, limit: usize) -> Vec<Arc<Span>>;

    /// Spans of other traces that link to this one.
    fn links_to(&self, id: TraceId, limit: usize) -> Vec<Arc<Span>>;

    /// Services, topics, and what went between them, by the spans that started from `from` to `until` (inclusive).
    fn system(&self, from: u64, until: u64) -> System;

    /// Names and values that contain `text`.
    fn complete(&self, wanted: &Wanted, text: &str, limit: usize) -> Completions;

    /// What changed since a moment of the store's own counting, which begins at 0.
    fn changes(&self, since: u64) -> Changes;

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
