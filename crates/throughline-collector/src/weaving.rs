//! Weaving: parents of spans that were reported without one, found after the fact.
//!
//! ```text
//!  ingest ─► Store::insert           ┌─► OffsetJoin ──────────────────────┐
//!     └────► WeavingFeed ─(queue)─► task                                  ├─► Store::weave
//!                                    └─► ProcessWeaver, one per process ──┘
//!                                    └─► TraceForwarder ─► WovenTraceSink
//! ```
//!
//! Collectors that each have a part of the spans share the ends of records, and the parents that
//! they find, by a [`DecisionLog`].
//!
//! Spans are stored before they are woven, and ingest never waits for it: when the queue is full,
//! spans are not considered, and are counted. A decision is kept beside the spans
//! ([`throughline_store::WovenEdge`]), which stay as they were reported.

mod activity_span;
mod decision_log;
mod delivery_tracker;
mod kept_edges;
mod offset_join;
mod process_identity;
mod process_weaver;
mod recent_requests;
mod record_endpoint;
mod recording;
mod sent_traces;
mod shared_entry;
mod shared_log;
mod task;
#[cfg(test)]
mod test_span;
mod trace_forwarder;
mod trace_sink;
mod unplaced_edges;
mod weaving_feed;
mod woven_processes;

pub use self::decision_log::DecisionLog;
pub(crate) use self::delivery_tracker::DeliveryTracker;
pub use self::process_identity::ProcessIdentity;
pub use self::recording::{JoinedSpans, WeavingProgress, WeavingReport, WovenSpans, weave_spans};
pub(crate) use self::task::{WeavingLinks, WeavingTask};
pub use self::trace_sink::{TraceSinkCounts, WovenTraceSink};
pub(crate) use self::weaving_feed::WeavingFeed;
