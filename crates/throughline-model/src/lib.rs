//! What a trace is made of: ids, the context that travels in messages, finished spans.
//!
//! Pure: no dependency, no socket, no clock, no randomness, no file. Everything else in the workspace builds on it.
//!
//! * [`TraceId`] and [`SpanId`]: never zero, so `Option` of them costs nothing.
//! * [`context`]: the formats that carry a context from one process to the next (W3C Trace Context, B3, uber-trace-id,
//!   baggage), over one [`context::Carrier`] for HTTP headers and Kafka headers.
//! * [`Span`]: a finished span with its links, events, resource and scope, as the store keeps it; [`SpanSink`]: where it goes.
//! * [`convention`]: the names of attributes.
#![forbid(unsafe_code)]

pub mod context;
pub mod convention;
mod id;
mod sink;
mod span;
mod text;
mod value;

pub use id::{SpanId, TraceId};
pub use sink::{Full, SpanSink};
pub use span::{Event, Link, Resource, Scope, Span, SpanKind, Status};
pub use text::Text;
pub use value::{KeyValue, Value};
