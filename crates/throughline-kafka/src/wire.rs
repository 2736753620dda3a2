//! The primitive types of Kafka's wire format: big-endian integers, varints, length-prefixed
//! fields, arrays and tagged fields.
//!
//! Reading copies nothing: fields borrow from the input and know their position in it. The format
//! is described in <https://kafka.apache.org/protocol#protocol_types> and in KIP-482 (compact and
//! tagged fields).

mod array;
mod field;
mod reader;
mod tagged;
pub(crate) mod varint;

pub use array::{WireArray, WireArrayIter};
pub use field::{LengthPrefix, WireField};
pub use reader::{Decode, WireReader};
pub use tagged::{TaggedField, TaggedFields};

/// The maximum number of elements in an array; Kafka 4.4's own readers have the same limit.
pub const MAX_ARRAY_ELEMENTS: u32 = 1_000_000;

/// The maximum number of tagged fields in a structure; Kafka 4.4's own readers have the same limit.
pub const MAX_TAGGED_FIELDS: u32 = 10_000;

/// The input does not follow the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at byte {at}")]
pub struct Error {
    /// The position in the input, in bytes from its start.
    pub at: usize,
    /// The value that the protocol requires at this position.
    pub expected: &'static str,
}
