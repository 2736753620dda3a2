//! The operations and records that Kafka spans describe.

use std::fmt;

use rdkafka::message::BorrowedHeaders;

use super::headers::RecordHeaders;

/// The data of a record that is known when its span starts.
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct RecordMetadata<'a> {
    /// The topic; empty for a batch of several topics.
    pub topic: &'a str,
    /// The partition; of a sent record only when the caller chose one.
    pub partition: Option<i32>,
    /// The offset in the partition; of received records only.
    pub offset: Option<i64>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub payload: Option<&'a [u8]>,
    /// The timestamp in milliseconds since 1970; of a sent record only when the caller chose one.
    pub timestamp_ms: Option<i64>,
    /// Whether it has no value, which deletes its key from a compacted topic.
    pub tombstone: bool,
    pub(crate) headers: Option<&'a BorrowedHeaders>,
}

/// An operation of a client (`messaging.operation.*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KafkaOperation {
    /// A record is sent.
    Send,
    /// A record arrives; a span of its own only for [`Handling::Listener`](super::Handling).
    Poll,
    /// A record or batch is handled.
    Process,
    /// Offsets are committed.
    Commit,
}

// === impl RecordMetadata ===

impl<'a> RecordMetadata<'a> {
    /// Returns the metadata of an operation on a topic without a record.
    pub(crate) fn of_topic(topic: &'a str) -> Self {
        Self {
            topic,
            ..Self::default()
        }
    }

    /// Returns the value of the last header of this name, in any case of letters. A header without
    /// a value, as Kafka allows, counts as missing.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        let mut last = None;
        RecordHeaders(self.headers?).visit(&mut |key, value| {
            if key.eq_ignore_ascii_case(name.as_bytes()) {
                last = value;
            }
        });
        last
    }
}

impl fmt::Debug for RecordMetadata<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without key, value and headers, which may be personal data.
        f.debug_struct("RecordMetadata")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("offset", &self.offset)
            .field("timestamp_ms", &self.timestamp_ms)
            .field("tombstone", &self.tombstone)
            .finish_non_exhaustive()
    }
}

// === impl KafkaOperation ===

impl KafkaOperation {
    /// Returns `messaging.operation.name`: the client's own term.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Poll => "poll",
            Self::Process => "process",
            Self::Commit => "commit",
        }
    }

    /// Returns `messaging.operation.type`: the term of the conventions.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Poll => "receive",
            Self::Process => "process",
            Self::Commit => "settle",
        }
    }
}
