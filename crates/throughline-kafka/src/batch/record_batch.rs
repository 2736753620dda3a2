//! Batches in place, and the sequence of batches in a record set.

use super::crc::crc32c;
use super::{CompressionCodec, RecordIter};
use crate::types::{Offset, TimestampMs};

/// The size of a batch without its records, in bytes.
pub const RECORD_BATCH_OVERHEAD: usize = 61;

/// The size of the offset and the length that begin every batch, of any magic.
const LOG_OVERHEAD: usize = 12;

/// The smallest length of a message set: its checksum, magic and attributes.
const MIN_LENGTH: usize = 6;

/// The positions of the length, the magic and the checksum in a batch.
pub(super) const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;
pub(super) const CRC_AT: usize = 17;

/// The first byte that the checksum covers: the attributes.
pub(super) const CRC_COVERAGE_START: usize = 21;

/// The bits of the attributes.
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// A complete batch of magic 2. Only its length has been validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordBatch<'a> {
    bytes: &'a [u8],
}

/// The batches of a record set, in order. The bytes of all entries concatenated are the record set.
#[derive(Debug, Clone)]
pub struct RecordBatches<'a> {
    rest: &'a [u8],
}

/// The beginning of a batch of magic 2 whose records are not compressed. Some clients take the
/// records that are complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TruncatedBatch {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The offset behind the last record that is complete.
    pub end: Offset,
}

/// An entry of a record set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordSetEntry<'a> {
    /// A batch of magic 2.
    Batch(RecordBatch<'a>),
    /// A message set of magic 0 or 1, or a batch of a future magic.
    LegacyMessageSet {
        /// The magic byte.
        magic: i8,
        /// The complete entry.
        bytes: &'a [u8],
    },
    /// The beginning of a batch that the size limit of the fetch has truncated; always the last.
    Partial(&'a [u8]),
    /// Bytes that are not a batch, to the end of the record set.
    Malformed(&'a [u8]),
}

// === impl RecordBatch ===

impl<'a> RecordBatch<'a> {
    /// Creates a view of `bytes`; [`None`] unless they are exactly one batch.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        match RecordBatches::new(bytes).next() {
            Some(RecordSetEntry::Batch(batch)) if batch.bytes.len() == bytes.len() => Some(batch),
            _ => None,
        }
    }

    /// Returns the complete batch.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the offset of the first record. Brokers ignore it in a Produce request.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset(i64::from_be_bytes(self.field(0)))
    }

    /// Returns the CRC-32C of the bytes from the attributes on, as stated in the batch.
    #[must_use]
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.field(CRC_AT))
    }

    /// Returns whether the checksum is correct.
    #[must_use]
    pub fn has_valid_checksum(&self) -> bool {
        crc32c(self.bytes.get(CRC_COVERAGE_START..).unwrap_or_default()) == self.crc()
    }

    /// Returns the attributes.
    #[must_use]
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.field(CRC_COVERAGE_START))
    }

    /// Returns the compression of the records.
    #[must_use]
    pub fn codec(&self) -> CompressionCodec {
        CompressionCodec::from_attributes(self.attributes())
    }

    /// Returns whether the broker has set the timestamps; then all records have the batch's
    /// [`RecordBatch::max_timestamp`].
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes() & LOG_APPEND_TIME != 0
    }

    /// Returns whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL != 0
    }

    /// Returns whether the batch has control records of the broker.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }

    /// Returns the offset of the last record, relative to the base offset.
    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.field(23))
    }

    /// Returns the timestamp to which the records' timestamps are relative.
    #[must_use]
    pub fn base_timestamp(&self) -> TimestampMs {
        TimestampMs(i64::from_be_bytes(self.field(27)))
    }

    /// Returns the latest timestamp.
    #[must_use]
    pub fn max_timestamp(&self) -> TimestampMs {
        TimestampMs(i64::from_be_bytes(self.field(35)))
    }

    /// Returns the id of the producer, -1 when it is not idempotent.
    #[must_use]
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.field(43))
    }

    /// Returns the epoch of the producer, -1 when it is not idempotent.
    #[must_use]
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(self.field(51))
    }

    /// Returns the sequence number of the first record.
    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.field(53))
    }

    /// Returns the number of records, as stated in the batch.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(self.field(57))
    }

    /// Returns the bytes after the header: the records, compressed with [`RecordBatch::codec`].
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(RECORD_BATCH_OVERHEAD..).unwrap_or_default()
    }

    /// Returns the records, unless they are compressed.
    #[must_use]
    pub fn records(&self) -> Option<RecordIter<'a>> {
        (self.codec() == CompressionCodec::None)
            .then(|| RecordIter::new(self.payload(), self.record_count()))
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        // The default is never used: a batch has at least 61 bytes, and all fields are before that.
        self.bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .copied()
            .unwrap_or([0; N])
    }
}

// === impl TruncatedBatch ===

impl TruncatedBatch {
    /// Reads a [`RecordSetEntry::Partial`]; [`None`] unless it has complete records.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let batch = RecordBatch { bytes };
        let has_header = bytes.len() >= RECORD_BATCH_OVERHEAD;
        let is_readable = has_header && bytes.get(MAGIC_AT) == Some(&2) && !batch.is_control();
        let records = batch.records().filter(|_| is_readable)?;
        let last = records.map_while(Result::ok).last()?;
        let (base_offset, delta) = (batch.base_offset(), i64::from(last.offset_delta));
        Some(Self {
            base_offset,
            end: Offset(base_offset.0.saturating_add(delta).saturating_add(1)),
        })
    }
}

// === impl RecordBatches ===

impl<'a> RecordBatches<'a> {
    /// Creates an iterator over the batches of a record set.
    #[must_use]
    pub const fn new(records: &'a [u8]) -> Self {
        Self { rest: records }
    }

    /// Returns the remaining bytes and ends the iteration.
    fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

impl<'a> Iterator for RecordBatches<'a> {
    type Item = RecordSetEntry<'a>;

    fn next(&mut self) -> Option<RecordSetEntry<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        // A fetch is cut at its size limit, which may be within the first bytes of a batch.
        let length = self.rest.get(LENGTH_AT..);
        let Some(length) = length.and_then(|rest| rest.first_chunk()) else {
            return Some(RecordSetEntry::Partial(self.take_rest()));
        };
        let Some(length) = usize::try_from(i32::from_be_bytes(*length))
            .ok()
            .filter(|length| *length >= MIN_LENGTH)
        else {
            return Some(RecordSetEntry::Malformed(self.take_rest()));
        };
        let Some((bytes, rest)) = self.rest.split_at_checked(LOG_OVERHEAD + length) else {
            return Some(RecordSetEntry::Partial(self.take_rest()));
        };
        // The magic has the same position in all formats.
        let magic = bytes.get(MAGIC_AT).copied().unwrap_or_default();
        let magic = magic.cast_signed();
        if magic == 2 && bytes.len() < RECORD_BATCH_OVERHEAD {
            return Some(RecordSetEntry::Malformed(self.take_rest()));
        }
        self.rest = rest;
        Some(if magic == 2 {
            RecordSetEntry::Batch(RecordBatch { bytes })
        } else {
            RecordSetEntry::LegacyMessageSet { magic, bytes }
        })
    }
}

// === impl RecordSetEntry ===

impl<'a> RecordSetEntry<'a> {
    /// Returns the bytes of the entry.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Batch(batch) => batch.bytes(),
            Self::LegacyMessageSet { bytes, .. }
            | Self::Partial(bytes)
            | Self::Malformed(bytes) => bytes,
        }
    }
}
