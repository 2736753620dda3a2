//! Frames: a length in four bytes, a header, a body. Where they begin and end, and whose they are; not what they say.
//!
//! [`Framer`] finds them in a stream that comes in any pieces; [`RequestHeader`] and [`ResponseHeader`] read the header
//! of a whole frame. Follows <https://kafka.apache.org/protocol#protocol_messages>.

mod framer;
mod header;

pub use framer::{FrameEvent, FrameHeader, Framer, FramingError};
pub use header::{RequestHeader, ResponseHeader};

/// Bytes of the length in front of every frame.
pub const LENGTH_PREFIX_BYTES: usize = 4;
