//! Spans in a topic of Kafka.
//!
//! ```text
//!  edge collector ─► TopicWriter ─► topic, a record for each process ─► TopicReader ─► store
//!                                                                       (one per member)
//! ```
//!
//! The value of a record is an `ExportTraceServiceRequest` in protobuf, as the Kafka exporter of
//! OpenTelemetry's collector and Jaeger's pipeline write it (`otlp_proto`). Records are read at
//! least once: an offset is committed after the store has the spans durably, and a span that comes
//! twice is one span.
//!
//! [`DecisionTopic`] is a second topic, by which members share what joins spans across them.
//!
//! This crate is the wall around librdkafka: see `docs/adr/0042-spans-through-kafka.md`.
#![forbid(unsafe_code)]

mod client_events;
mod consumer_close;
mod decision_topic;
mod reader;
mod settings;
mod topic_lookup;
mod trace_topic;
mod writer;

pub use self::decision_topic::DecisionTopic;
pub use self::reader::TopicReader;
pub use self::settings::{RESERVED_PROPERTIES, SpanTopicSettings};
pub use self::topic_lookup::TopicError;
pub use self::trace_topic::TraceTopic;
pub use self::writer::TopicWriter;
