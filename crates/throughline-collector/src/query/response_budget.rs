//! The memory of unread responses. A client that reads slowly keeps its response in memory, and
//! many of them must not add up.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Unit in which memory is reserved.
const UNIT_BYTES: usize = 64 << 10;

/// The memory for responses that clients have not read yet.
#[derive(Debug, Clone)]
pub(super) struct ResponseBudget {
    /// In units of [`UNIT_BYTES`].
    memory: Arc<Semaphore>,
    units: u32,
}

/// A response body with its reservation.
struct ReservedBody {
    body: Vec<u8>,
    _reservation: OwnedSemaphorePermit,
}

impl ResponseBudget {
    /// Creates a budget of `max_bytes`.
    pub(super) fn new(max_bytes: usize) -> Self {
        let units = u32::try_from(max_bytes / UNIT_BYTES).unwrap_or(u32::MAX);
        Self {
            memory: Arc::new(Semaphore::new(units as usize)),
            units,
        }
    }

    /// Reserves memory for a body until its last byte is sent or its client is gone; `None` when
    /// the budget is used up.
    pub(super) fn reserve(&self, body: Vec<u8>) -> Option<Bytes> {
        // A body larger than the whole budget passes when it is the only one. One smaller than a
        // unit always passes, so that a few slow readers do not lock out all others.
        let units = u32::try_from(body.len() / UNIT_BYTES)
            .unwrap_or(u32::MAX)
            .min(self.units);
        // Without waiting: responses in a queue would themselves take the memory.
        let reservation = Arc::clone(&self.memory)
            .try_acquire_many_owned(units)
            .ok()?;
        Some(Bytes::from_owner(ReservedBody {
            body,
            _reservation: reservation,
        }))
    }
}

impl AsRef<[u8]> for ReservedBody {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}
