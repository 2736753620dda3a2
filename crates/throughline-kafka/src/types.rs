//! Newtypes for the numbers and ids that are easily swapped: most of them are plain integers of the
//! same width on the wire.

use std::fmt;

use crate::wire::{Decode, Error, WireReader};

/// The number that pairs a response with its request on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CorrelationId(pub i32);

/// The id of a topic (KIP-516): it changes when a topic is deleted and created again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

/// The number of a partition within its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionIndex(pub i32);

/// The position of a record in its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

/// Milliseconds since 1970, -1 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampMs(pub i64);

/// The id of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub i32);

// === impl TopicId ===

impl TopicId {
    /// The absent id, Kafka's `Uuid.ZERO_UUID`.
    pub const ZERO: Self = Self([0; 16]);
}

// === impl Decode ===

impl<'a> Decode<'a> for TopicId {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        reader.uuid().map(Self)
    }
}

impl<'a> Decode<'a> for PartitionIndex {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        reader.i32().map(Self)
    }
}

impl<'a> Decode<'a> for Offset {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        reader.i64().map(Self)
    }
}

impl<'a> Decode<'a> for TimestampMs {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        reader.i64().map(Self)
    }
}

impl<'a> Decode<'a> for NodeId {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        reader.i32().map(Self)
    }
}

// === impl Display ===

impl fmt::Display for PartitionIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
