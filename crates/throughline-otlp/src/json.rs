//! OTLP's JSON: the mapping of proto3 with ids in hex and enums as numbers (opentelemetry-proto,
//! `docs/specification.md`, section "JSON Protobuf Encoding").
//!
//! The serde implementation of the crate `opentelemetry-proto` is not used: it fails on unknown
//! fields of a value, on `null`, on enums by name and on `NaN`, all of which a receiver must
//! accept. `text` parses the JSON, `read` converts it, with `scalar` for the fields, and `write`
//! holds the types that are written.

mod read;
mod scalar;
mod text;
mod write;

pub(crate) use read::JsonReader;
pub use text::read_json;
pub use write::OtlpResourceSpansJson;
pub(crate) use write::kind_number;
