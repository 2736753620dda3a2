//! An admitted body, its memory, and its compression.

use std::io::Read as _;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::coding::{ContentCoding, ContentCodings};
use super::error::IngestError;

/// Unit in which memory is reserved.
pub(super) const RESERVATION_UNIT_BYTES: usize = 64 << 10;

/// Size of the chunks in which a body is inflated.
const INFLATE_CHUNK_BYTES: usize = 64 << 10;

/// A body that was admitted, with its reservation.
#[derive(Debug)]
pub(crate) struct AdmittedBody {
    bytes: Vec<u8>,
    reservation: MemoryReservation,
}

/// The permit and the memory of a request, given back when dropped.
#[derive(Debug)]
pub(super) struct MemoryReservation {
    _permit: OwnedSemaphorePermit,
    memory: Arc<Semaphore>,
    units: Vec<OwnedSemaphorePermit>,
    /// Bytes left in the last unit.
    free_bytes: usize,
}

// === impl AdmittedBody ===

impl AdmittedBody {
    pub(super) const fn new(bytes: Vec<u8>, reservation: MemoryReservation) -> Self {
        Self { bytes, reservation }
    }

    /// Returns the bytes of the body.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Removes the first bytes of the body.
    pub(crate) fn skip(&mut self, length: usize) {
        // The reservation keeps its size; the prefix is a few bytes.
        self.bytes.drain(..length.min(self.bytes.len()));
    }

    /// Removes the codings, each up to `max_bytes`.
    pub(super) fn decompress(
        self,
        codings: ContentCodings,
        max_bytes: usize,
    ) -> Result<Self, IngestError> {
        codings
            .removal_order()
            .try_fold(self, |body, coding| body.inflate(coding, max_bytes))
    }

    fn inflate(self, coding: ContentCoding, max_bytes: usize) -> Result<Self, IngestError> {
        let failed = |source| IngestError::Inflate(coding.name(), source);
        let mut reservation = self.reservation;
        let mut inflated = Vec::new();
        let mut chunk = vec![0; INFLATE_CHUNK_BYTES];
        let mut decoder = coding.decoder(&self.bytes).map_err(failed)?;
        loop {
            let length = decoder.read(&mut chunk).map_err(failed)?;
            let Some(data) = chunk.get(..length).filter(|data| !data.is_empty()) else {
                break;
            };
            // Checked for each chunk: a few kilobytes of gzip can inflate to gigabytes.
            if inflated.len() + data.len() > max_bytes {
                return Err(IngestError::TooLarge(max_bytes));
            }
            if !reservation.grow(data.len()) {
                return Err(IngestError::Busy);
            }
            inflated.extend_from_slice(data);
        }
        drop(decoder);
        Ok(Self::new(inflated, reservation))
    }
}

// === impl MemoryReservation ===

impl MemoryReservation {
    pub(super) const fn new(permit: OwnedSemaphorePermit, memory: Arc<Semaphore>) -> Self {
        Self {
            _permit: permit,
            memory,
            units: Vec::new(),
            free_bytes: 0,
        }
    }

    /// Reserves memory for further bytes; returns false when none is left.
    pub(super) fn grow(&mut self, length: usize) -> bool {
        let missing = length.checked_sub(self.free_bytes);
        let Some(missing) = missing.filter(|missing| *missing > 0) else {
            self.free_bytes = self.free_bytes.saturating_sub(length);
            return true;
        };
        let units = missing.div_ceil(RESERVATION_UNIT_BYTES);
        // Without waiting: two bodies that each hold half of the memory would wait for each other
        // for ever.
        let permit = u32::try_from(units)
            .ok()
            .and_then(|units| Arc::clone(&self.memory).try_acquire_many_owned(units).ok());
        let Some(permit) = permit else { return false };
        self.free_bytes = units * RESERVATION_UNIT_BYTES - missing;
        self.units.push(permit);
        true
    }
}
