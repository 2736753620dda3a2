//! Frames: a four-byte length, a header and a body. This layer finds where they begin and end, and
//! which API they belong to; it does not look into the body.
//!
//! [`Framer`] splits a stream that arrives in chunks of any size; [`RequestHeader`] and
//! [`ResponseHeader`] parse the header of a complete frame. The format is described in
//! <https://kafka.apache.org/protocol#protocol_messages>.

mod direction;
mod framer;
mod header;

pub use direction::{FrameHeader, FramingError};
pub use framer::{FrameEvent, Framer};
pub use header::{RequestHeader, ResponseHeader};

/// The size of the length in front of every frame, in bytes.
pub const LENGTH_PREFIX_BYTES: usize = 4;
