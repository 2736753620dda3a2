//! The primitives of Kafka's wire format, read from a slice: big-endian integers, varints, length-prefixed fields, tagged
//! fields. Not a decoder: nothing is copied, everything remembers where it stood.
//!
//! Follows <https://kafka.apache.org/protocol#protocol_types> and KIP-482 (compact and tagged fields).

mod field;
mod reader;
pub(crate) mod varint;

pub use field::{LengthPrefix, WireField};
pub use reader::{Decode, TaggedField, TaggedFields, WireArray, WireArrayIter, WireReader};

/// Most elements of an array, as Kafka 4.4's own readers have it.
pub const MAX_ARRAY_ELEMENTS: u32 = 1_000_000;

/// Most tagged fields of one structure, as Kafka 4.4's own readers have it.
pub const MAX_TAGGED_FIELDS: u32 = 10_000;

/// Bytes that are not what the protocol says they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at byte {at}")]
pub struct Error {
    /// Where, counted from the beginning of what was given to be read.
    pub at: usize,
    /// What should have been there.
    pub expected: &'static str,
}
