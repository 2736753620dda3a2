//! Keeps spans and finds traces. Synchronous; uses no socket, no clock and no wire format.
//!
//! [`Store`] is the interface the collector needs; [`MemoryStore`] implements it in memory, bounded
//! by bytes.
//!
//! One engine serves every search: a [`TraceQuery`] holds a [`TraceExpression`] over whole traces,
//! built from [`SpanFilter`]s over single spans. Jaeger's search (one span matches service,
//! operation, tags, duration and time range at once) is such an expression; see [`SpanSearch`].
//!
//! One graph serves every view of the system: [`ServiceGraph`] holds the services, the topics and
//! the edges between them, and the direct dependencies that Jaeger shows.
#![forbid(unsafe_code)]

mod completion;
mod evidence;
mod filter;
mod graph;
mod insert_error;
mod memory;
mod message;
mod search;
mod span_key;
mod span_search;
mod woven;

use std::sync::Arc;

pub use completion::{CompletionKind, CompletionList};
pub use evidence::EvidenceAttributes;
pub use filter::{
    AttributeScope, ComparisonOperator, EqualityLiteral, FieldValue, PatternError, SpanField,
    SpanFilter, TraceExpression, TraceProperties, ValuePredicate,
};
pub use graph::{
    EdgeKind, GraphEdge, LatencyHistogram, ServiceDependency, ServiceGraph, ServiceNode, TopicNode,
};
pub use insert_error::InsertError;
pub use memory::{
    ChangeLog, HashedField, MemoryStore, Prefilter, PrefilterTarget, ValueStatistics, WovenIndex,
    attribute_hashes, field_hash, span_hashes, target_hash, text_attribute_hashes, value_texts,
};
pub use message::{MessageAttributes, describes_message, is_settlement};
pub use search::{
    SearchPage, ServiceSpanCount, SortOrder, SortPosition, TraceBounds, TraceQuery, TraceSummary,
};
pub use span_key::SpanKey;
pub use span_search::{SpanSearch, TagCondition};
use throughline_model::{Span, SpanKind, TraceId};
pub use woven::{
    AlternativeParent, MAX_ALTERNATIVES, WeaveOutcome, WeavingView, WovenEdge, WovenEvidence,
};

/// The interface that the collector needs of a store.
pub trait Store: Send + Sync {
    /// Keeps spans. A span replaces a stored one of the same id, kind, service and local address,
    /// because OTLP allows senders to repeat a request. Spans that share only the id, such as the
    /// two sides of a call of Zipkin's clients, are kept side by side.
    ///
    /// # Errors
    /// [`InsertError`]: none of the spans is kept, and the sender should send them again.
    fn insert(&self, spans: Vec<Span>) -> Result<(), InsertError>;

    /// Does the same; `otlp` is the `ExportTraceServiceRequest` in protobuf that the spans were
    /// decoded from, for stores that write requests down.
    ///
    /// # Errors
    /// As [`Self::insert`].
    fn insert_request(&self, spans: Vec<Span>, otlp: &[u8]) -> Result<(), InsertError> {
        let _ = otlp;
        self.insert(spans)
    }

    /// Keeps the spans of a request in protobuf without decoding them; returns how many there are.
    /// `None`: the store wants spans, or the request has to be decoded to be understood.
    fn insert_undecoded(&self, otlp: &[u8]) -> Option<Result<u64, InsertError>> {
        let _ = otlp;
        None
    }

    /// Keeps spans that may be fragments, as Zipkin's clients send them. A fragment is merged into
    /// the stored span of the same id whose kind and endpoint agree with its own.
    ///
    /// # Errors
    /// As [`Self::insert`].
    fn insert_fragments(&self, fragments: Vec<Span>) -> Result<(), InsertError>;

    /// Makes all spans that were kept so far durable, as far as the store does that.
    ///
    /// # Errors
    /// [`InsertError`]: some of them may be lost if the machine fails.
    fn sync(&self) -> Result<(), InsertError> {
        Ok(())
    }

    /// Keeps decisions about the parents of stored spans, each in place of an earlier one about the
    /// same span.
    fn weave(&self, edges: Vec<WovenEdge>) -> WeaveOutcome;

    /// Does the same where other stores have the rest of the spans: of two spans that are joined,
    /// it is enough that the trace of one is stored, or is joined with a stored one.
    fn weave_shared(&self, edges: Vec<WovenEdge>) -> WeaveOutcome {
        self.weave(edges)
    }

    /// Returns the trace with this id.
    fn trace(&self, id: TraceId, view: WeavingView) -> Option<StoredTrace>;

    /// Returns false if the store certainly has no such span. One that it may have can be missing
    /// in [`Self::trace`] for a while, where files cannot be read.
    fn may_have(&self, key: SpanKey) -> bool {
        let _ = key;
        true
    }

    /// Returns one page of the matching traces as summaries, in the query's order.
    fn search(&self, query: &TraceQuery) -> SearchPage;

    /// Returns the first matching traces with their spans, in the query's order.
    fn search_traces(&self, query: &TraceQuery) -> Vec<StoredTrace>;

    /// Returns the summary of the trace with this id.
    fn summary(&self, id: TraceId, view: WeavingView) -> Option<TraceSummary>;

    /// Returns one span.
    fn span(&self, key: SpanKey) -> Option<Arc<Span>>;

    /// Returns spans of this trace that link to other traces.
    fn links_from(&self, id: TraceId, view: WeavingView, limit: usize) -> Vec<Arc<Span>>;

    /// Returns spans of other traces that link to this trace.
    fn links_to(&self, id: TraceId, view: WeavingView, limit: usize) -> Vec<Arc<Span>>;

    /// Returns the graph of services and topics, counted over the spans that started from `from`
    /// to `until` (nanoseconds since the Unix epoch, inclusive).
    fn service_graph(&self, from: u64, until: u64) -> ServiceGraph;

    /// Returns stored names or values that contain `text`.
    fn complete(&self, kind: &CompletionKind, text: &str, limit: usize) -> CompletionList;

    /// Returns the traces that changed after a revision of the store; revisions count from 0.
    fn changes(&self, since: u64, view: WeavingView) -> TraceChanges;

    /// Returns the services of the stored spans, sorted.
    fn services(&self) -> Vec<String>;

    /// Returns the operations of one service or all, and of one span kind or all, sorted.
    fn operations(&self, service: Option<&str>, kind: Option<SpanKind>) -> Vec<ServiceOperation>;

    /// Returns the number of traces and spans stored and evicted.
    fn occupancy(&self) -> StoreOccupancy;

    /// Returns whether traces were evicted since the start.
    fn has_evicted(&self) -> bool {
        self.occupancy().evicted_traces > 0
    }

    /// Returns how recent the spans are in a store that other processes write; `None` for one that
    /// has all that it was given.
    fn freshness(&self) -> Option<StoreFreshness> {
        None
    }
}

/// A trace: all stored spans of one id, ordered by start; in a woven trace those of all traces
/// that were joined, with one id and with the parents that were found. Of several spans that were
/// sent with one id, the caller's keeps it; the others have ids made up from it and from their
/// endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTrace {
    /// Trace id of all the spans.
    pub id: TraceId,
    /// At least one span.
    pub spans: Vec<Arc<Span>>,
    /// Decisions about the spans, with ids as reported; none in the raw view.
    pub edges: Vec<WovenEdge>,
    /// Number of reported traces that the trace consists of; 1 unless it is woven.
    pub fragments: usize,
}

/// An operation: the name and kind that some spans of a service share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceOperation {
    /// Span name.
    pub name: String,
    /// Span kind in Jaeger's spelling; empty when unspecified.
    pub kind: &'static str,
}

/// The traces that changed after a revision of the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraceChanges {
    /// Current revision.
    pub revision: u64,
    /// Traces that received spans since, latest change first; a bounded number.
    pub traces: Vec<TraceId>,
    /// True when there are more changes, or when the log no longer reaches back that far.
    pub more: bool,
}

/// How recent the spans are that a store read from others. Times are in nanoseconds since the Unix
/// epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreFreshness {
    /// Start of the latest span; `None` without spans. Other spans that started earlier may still
    /// come.
    pub last_start: Option<u64>,
    /// Time of the last look for new spans that succeeded.
    pub refreshed: u64,
    /// True when a later look failed.
    pub is_failing: bool,
}

/// The fill level of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreOccupancy {
    /// Stored traces.
    pub traces: usize,
    /// Stored spans.
    pub spans: usize,
    /// Estimated memory in bytes.
    pub bytes: usize,
    /// Traces evicted since the start.
    pub evicted_traces: u64,
    /// Spans of the evicted traces.
    pub evicted_spans: u64,
    /// Spans that a decision joins with a parent.
    pub woven_spans: usize,
    /// Traces that consist of several reported ones.
    pub woven_traces: usize,
    /// Joins that were lost with an evicted trace.
    pub evicted_joins: u64,
    /// Totals of the objects; [`None`] for a store that has no object store.
    pub objects: Option<ObjectTotals>,
}

/// The objects of a store, and their copies in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ObjectTotals {
    /// Size of the copies, and of the files that are not uploaded yet.
    pub bytes: u64,
    /// Size of the files that are not uploaded yet.
    pub waiting_bytes: u64,
    /// Files that were opened and there, since the start.
    pub hits: u64,
    /// Files that were opened and had to be downloaded.
    pub misses: u64,
    /// Copies that were removed to make room.
    pub evictions: u64,
    /// Downloaded bytes.
    pub downloaded_bytes: u64,
    /// Downloads that failed.
    pub download_failures: u64,
    /// Uploaded bytes.
    pub uploaded_bytes: u64,
    /// Uploads that failed, each of which is repeated.
    pub upload_failures: u64,
    /// Deletions that failed, each of which is repeated.
    pub delete_failures: u64,
}
