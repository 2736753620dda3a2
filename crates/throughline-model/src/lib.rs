//! The parts of a trace: ids, the context that travels in messages, and finished spans.
//!
//! Pure: no dependency, no socket, no clock, no randomness, no file. The rest of the workspace
//! builds on it.
//!
//! * [`TraceId`] and [`SpanId`]: never zero, so `Option` of them costs nothing.
//! * [`context`]: the formats that carry a context from one process to the next (W3C Trace Context,
//!   B3, uber-trace-id, baggage), over one [`context::Carrier`] for HTTP headers and Kafka headers.
//! * [`Span`]: a finished span with its links, events, resource and scope; [`SpanGroup`]: spans
//!   with common content; [`SpanSink`]: their receiver.
//! * [`convention`]: attribute names and their well-known values.
//! * [`destination`]: where the call of a client span went.
//! * [`environment`]: OpenTelemetry's environment variables, read through a function.
//! * [`grpc`]: names of status codes.
//! * [`byte_size`] and [`duration`]: sizes, and durations in Go's notation; [`redact`]: secrets
//!   removed from URLs.
#![forbid(unsafe_code)]

pub mod byte_size;
pub mod context;
pub mod convention;
pub mod destination;
pub mod duration;
pub mod environment;
pub mod flag;
pub mod grpc;
mod id;
mod link;
pub mod redact;
mod sink;
mod span;
mod span_group;
mod text;
mod value;

pub use id::{SpanId, TraceId};
pub use link::Link;
pub use sink::{SinkFull, SpanSink};
pub use span::{DroppedCounts, Event, Resource, Scope, Span, SpanKind, Status};
pub use span_group::{GroupContent, GroupedSpan, SpanGroup};
pub use text::Text;
pub use value::{KeyValue, Value};
