//! The events of one process, as its proxy sees them.

/// Nanoseconds since an epoch that the caller chooses; all events of a process share it.
pub type Nanos = i64;

/// Name of an inbound event, unique in its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InboundId(pub u64);

/// Name of an outbound event, unique in its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutboundId(pub u64);

/// The operation of an inbound or outbound event: a hash of peer, method and route or topic. Equal
/// values are the same operation; the engine never looks inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationKey(pub u64);

/// Position of a record in the queue of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueuePosition {
    /// Identifies (consumer, topic, partition).
    pub queue: u64,
    /// The record's offset. Records of one fetch arrive together, so the offset gives the order.
    pub offset: i64,
}

/// How an inbound event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum InboundOutcome {
    /// The response was sent completely, or the record was committed.
    Completed,
    /// The caller left. The handler may still be running.
    Abandoned,
}

/// A request that arrived, or a record that was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundStart {
    pub id: InboundId,
    pub at: Nanos,
    pub operation: OperationKey,
    /// For records: the place in their partition.
    pub position: Option<QueuePosition>,
    /// Keyed hashes of values in the message. At most [`MAX_TOKENS`](crate::MAX_TOKENS) are kept.
    pub tokens: Vec<u64>,
}

/// A request that was made, or a record that was produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundStart {
    pub id: OutboundId,
    /// When the message was made: for a record its timestamp, not the time of the frame.
    pub at: Nanos,
    pub operation: OperationKey,
    /// Keyed hashes of values in the message. At most [`MAX_TOKENS`](crate::MAX_TOKENS) are kept.
    pub tokens: Vec<u64>,
    /// Whether it is a record: nobody waits for its acknowledgement.
    pub is_record: bool,
    /// The parent, where the message itself names it.
    pub exact: Option<InboundId>,
}

/// One observation at the proxy of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeaveEvent {
    InboundStarted(InboundStart),
    InboundEnded {
        id: InboundId,
        at: Nanos,
        outcome: InboundOutcome,
    },
    OutboundStarted(OutboundStart),
    /// The response arrived, or the broker acknowledged the record.
    OutboundEnded {
        id: OutboundId,
        at: Nanos,
    },
}

// === impl WeaveEvent ===

impl WeaveEvent {
    /// Returns the time of the event.
    #[must_use]
    pub const fn at(&self) -> Nanos {
        match self {
            Self::InboundStarted(start) => start.at,
            Self::OutboundStarted(start) => start.at,
            Self::InboundEnded { at, .. } | Self::OutboundEnded { at, .. } => *at,
        }
    }
}
