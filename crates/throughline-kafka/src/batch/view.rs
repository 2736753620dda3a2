//! A batch where it lies, and the sequence of them in a record set.

use super::{CompressionCodec, RecordIter, checksum};
use crate::types::{Offset, TimestampMs};

/// Bytes of a batch in front of its records.
pub const RECORD_BATCH_OVERHEAD: usize = 61;

/// Offset and length: what stands in front of every batch, of any magic.
const LOG_OVERHEAD: usize = 12;

/// Where the checksum stands, and where what it covers begins.
pub(super) const CHECKSUM: usize = 17;
pub(super) const CHECKED: usize = 21;
pub(super) const LENGTH: usize = 8;

/// A whole batch of magic 2. Nothing of it has been checked but its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordBatch<'a> {
    bytes: &'a [u8],
}

/// The batches of a record set, in order. What is given out, put together, is the record set.
#[derive(Debug, Clone)]
pub struct RecordBatches<'a> {
    rest: &'a [u8],
}

/// One of a record set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordSetEntry<'a> {
    /// A batch that can be read.
    Batch(RecordBatch<'a>),
    /// A message set of magic 0 or 1, or of a magic to come.
    LegacyMessageSet { magic: i8, bytes: &'a [u8] },
    /// The beginning of a batch, cut where the fetch had enough; always the last.
    Partial(&'a [u8]),
    /// Bytes that are no batch, to the end.
    Malformed(&'a [u8]),
}

// === impl RecordBatch ===

impl<'a> RecordBatch<'a> {
    /// The batch that is all of `bytes`; [`None`] when they are anything else.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        match RecordBatches::new(bytes).next() {
            Some(RecordSetEntry::Batch(batch)) if batch.bytes.len() == bytes.len() => Some(batch),
            _ => None,
        }
    }

    /// All of it.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The offset of its first record; in a produce request a number of no meaning.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset(i64::from_be_bytes(self.fixed(0)))
    }

    /// The epoch of the partition's leader; not covered by the checksum.
    #[must_use]
    pub fn partition_leader_epoch(&self) -> i32 {
        i32::from_be_bytes(self.fixed(12))
    }

    /// CRC-32C of all from the attributes on, as it is written.
    #[must_use]
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.fixed(CHECKSUM))
    }

    /// Whether the checksum is right.
    #[must_use]
    pub fn has_valid_checksum(&self) -> bool {
        checksum(self.bytes.get(CHECKED..).unwrap_or_default()) == self.crc()
    }

    /// The attributes as they are written.
    #[must_use]
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.fixed(CHECKED))
    }

    /// How the records are compressed.
    #[must_use]
    pub fn codec(&self) -> CompressionCodec {
        CompressionCodec::of(self.attributes())
    }

    /// Whether the broker set the timestamps: then each is the batch's [`Batch::max_timestamp`].
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes() & 0x08 != 0
    }

    /// Whether it belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes() & 0x10 != 0
    }

    /// Whether its records are the broker's own.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes() & 0x20 != 0
    }

    /// The last record's offset, from the base.
    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.fixed(23))
    }

    /// What the records' timestamps count from, in milliseconds since 1970.
    #[must_use]
    pub fn base_timestamp(&self) -> TimestampMs {
        TimestampMs(i64::from_be_bytes(self.fixed(27)))
    }

    /// The latest timestamp, in milliseconds since 1970.
    #[must_use]
    pub fn max_timestamp(&self) -> TimestampMs {
        TimestampMs(i64::from_be_bytes(self.fixed(35)))
    }

    /// The producer's id, -1 when it is not idempotent.
    #[must_use]
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.fixed(43))
    }

    /// The producer's epoch.
    #[must_use]
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(self.fixed(51))
    }

    /// The first record's number in the producer's sequence.
    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.fixed(53))
    }

    /// How many records there are, by the header's word.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(self.fixed(57))
    }

    /// What follows the header: the records, compressed as [`Batch::codec`] says.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(RECORD_BATCH_OVERHEAD..).unwrap_or_default()
    }

    /// The records, if they are not compressed.
    #[must_use]
    pub fn records(&self) -> Option<RecordIter<'a>> {
        (self.codec() == CompressionCodec::None)
            .then(|| RecordIter::new(self.payload(), self.record_count()))
    }

    fn fixed<const N: usize>(&self, at: usize) -> [u8; N] {
        // There are always 61 bytes.
        self.bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .copied()
            .unwrap_or([0; N])
    }
}

// === impl RecordBatches ===

impl<'a> RecordBatches<'a> {
    /// The batches of this record set.
    #[must_use]
    pub const fn new(records: &'a [u8]) -> Self {
        Self { rest: records }
    }

    /// All that is left.
    fn take(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

impl<'a> Iterator for RecordBatches<'a> {
    type Item = RecordSetEntry<'a>;

    fn next(&mut self) -> Option<RecordSetEntry<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(length) = self.rest.get(LENGTH..).and_then(|rest| rest.first_chunk()) else {
            return Some(RecordSetEntry::Partial(self.take()));
        };
        // A message set has at least its checksum, its magic and its attributes.
        let Some(length) = usize::try_from(i32::from_be_bytes(*length))
            .ok()
            .filter(|length| *length >= 6)
        else {
            return Some(RecordSetEntry::Malformed(self.take()));
        };
        let Some((bytes, rest)) = self.rest.split_at_checked(LOG_OVERHEAD + length) else {
            return Some(RecordSetEntry::Partial(self.take()));
        };
        let magic = bytes.get(16).copied().unwrap_or_default().cast_signed();
        if magic == 2 && bytes.len() < RECORD_BATCH_OVERHEAD {
            return Some(RecordSetEntry::Malformed(self.take()));
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
    /// The bytes of it, whatever it is.
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
