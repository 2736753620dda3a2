//! OTLP's JSON: the mapping of proto3 with ids in hex and enums as numbers (opentelemetry-proto,
//! `docs/specification.md`, section "JSON Protobuf Encoding").
//!
//! The serde implementation of the crate `opentelemetry-proto` is not used: it fails on unknown
//! fields of a value, on `null`, on enums by name and on `NaN`, all of which a receiver must
//! accept. `read` holds the types that are parsed, with `scalar` for the fields, and `write` those
//! that are written.

mod read;
mod scalar;
mod write;

pub(crate) use read::RequestInput;
pub use write::OtlpResourceSpansJson;
pub(crate) use write::kind_number;
