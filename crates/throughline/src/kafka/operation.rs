//! The operations and records that Kafka spans describe.

/// The data of a record that is known when its span starts.
#[derive(Debug, Clone, Copy)]
pub struct RecordMetadata<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition; of a sent record only when the caller chose one.
    pub partition: Option<i32>,
    /// The offset in the partition; of received records only.
    pub offset: Option<i64>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// Whether it has no value, which deletes its key from a compacted topic.
    pub tombstone: bool,
}

/// An operation of a client (`messaging.operation.*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KafkaOperation {
    Send,
    Poll,
    Process,
    Commit,
}

// === impl KafkaOperation ===

impl KafkaOperation {
    /// Returns `messaging.operation.name`: the client's own term.
    pub(crate) const fn name(self) -> &'static str {
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
