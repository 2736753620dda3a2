//! OTLP's JSON: the mapping of proto3 with ids in hex and enums as numbers (opentelemetry-proto, `docs/specification.md`,
//! section "JSON Protobuf Encoding").
//!
//! The serde of the crate `opentelemetry-proto` is not used: it fails on unknown fields of a value, on `null`, on enums by
//! name and on `NaN`, all of which a receiver must take. Here are the shapes that are read, and in [`mod@write`] the ones written.

mod read;
mod write;

pub(crate) use read::RequestJson;
pub use write::ResourceSpansJson;
pub(crate) use write::kind_number;
