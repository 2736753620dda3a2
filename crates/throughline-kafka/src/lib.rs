//! Kafka's wire format, without input or output: no socket, no clock, no task, no notion of a
//! trace. A header to inject is a key and a value.
//!
//! Three layers, each usable alone. Messages are not decoded into owned structures: views point
//! into the original bytes, and bytes that are not understood pass through unmodified.
//!
//! * [`frame`]: splits a byte stream into frames, whatever the size of its chunks.
//! * [`message`]: views of the message bodies, and [`message::BodySplice`], which edits a body.
//! * [`batch`]: record batches: reading records, adding headers, updating lengths and checksum.
//!
//! [`wire`] has the primitive types, [`api`] the table of APIs and versions, [`types`] the
//! newtypes.
#![forbid(unsafe_code)]

pub mod api;
pub mod batch;
pub mod frame;
pub mod message;
pub mod types;
pub mod wire;
