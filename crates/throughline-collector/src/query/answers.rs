//! Answers on their way: a client that reads slowly keeps ours in memory, and many of them must not add up.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Failure;

/// Memory for the answers that clients are still taking.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    /// In [`UNIT`]s.
    memory: Arc<Semaphore>,
    units: u32,
}

/// An answer, with its share of the memory.
struct Held {
    answer: Vec<u8>,
    _share: OwnedSemaphorePermit,
}

impl Answers {
    /// For `most` bytes at once.
    pub(super) fn new(most: usize) -> Self {
        let units = u32::try_from(most / UNIT).unwrap_or(u32::MAX);
        Self {
            memory: Arc::new(Semaphore::new(units as usize)),
            units,
        }
    }

    /// The answer, which gives its memory back when its last byte is sent or its client is gone. One that is larger than all the
    /// memory passes when it is alone; one smaller than a unit always does, so that a few slow readers do not lock out all others.
    pub(super) fn hold(&self, answer: Vec<u8>) -> Result<Bytes, Failure> {
        let units = u32::try_from(answer.len() / UNIT)
            .unwrap_or(u32::MAX)
            .min(self.units);
        let share = Arc::clone(&self.memory)
            .try_acquire_many_owned(units)
            .map_err(|_| Failure::Busy)?;
        Ok(Bytes::from_owner(Held {
            answer,
            _share: share,
        }))
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

/// Memory is shared out in pieces of so many bytes.
const UNIT: usize = 64 << 10;
