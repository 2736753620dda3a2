//! Limits of one process.

/// Limits of the state that the connections of a process share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterCapacity {
    /// Maximum number of topics, groups and clients that are remembered.
    pub max_names: usize,
    /// Maximum number of sent records whose span ends are remembered.
    pub max_sent: usize,
    /// Maximum number of deliveries that wait for their commit. At the limit the consumer with the
    /// most deliveries loses its oldest ones.
    pub max_deliveries: usize,
    /// Time, in nanoseconds, that a delivery waits for its commit.
    pub delivery_timeout: u64,
    /// Maximum number of sent records whose producer may send them again, after a failure or the
    /// end of its connection. At the limit the oldest are not recognised any more.
    pub max_attempted: usize,
    /// Time, in nanoseconds, within which a producer may send a batch again.
    pub retry_timeout: u64,
    /// Maximum number of bytes of frames that are buffered at once.
    pub max_held_bytes: usize,
    /// Maximum number of spans per second.
    pub max_spans_per_second: u32,
}

const SECOND: u64 = 1_000_000_000;
const MIB: usize = 1024 * 1024;

// === impl ClusterCapacity ===

impl Default for ClusterCapacity {
    fn default() -> Self {
        Self {
            max_names: 64 * 1024,
            max_sent: 256 * 1024,
            max_deliveries: 128 * 1024,
            // Twice `max.poll.interval.ms` of the Java client.
            delivery_timeout: 600 * SECOND,
            max_attempted: 16 * 1024,
            // `delivery.timeout.ms` of the Java client.
            retry_timeout: 120 * SECOND,
            max_held_bytes: 256 * MIB,
            max_spans_per_second: 10_000,
        }
    }
}
