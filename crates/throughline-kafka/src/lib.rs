//! Kafka bytes and nothing else. Pure: no socket, no clock, no task, and no idea of what a trace is: a header to inject
//! is a key and a value.
//!
//! Three layers, each of use alone; nothing is decoded into owned structures, what is not understood passes as it came:
//!
//! * [`frame`]: bytes in any chunking to frames; what is not wanted goes by without being held.
//! * [`message`]: views that find what matters in an untouched body, and [`message::Splice`], which changes it.
//! * [`batch`]: record batches; headers put into records, lengths and checksum redone.
//!
//! [`wire`] has the primitives, [`api`] the keys and versions.
#![forbid(unsafe_code)]

pub mod api;
pub mod batch;
pub mod frame;
pub mod message;
pub mod types;
pub mod wire;
