//! Builds record batches once, to be sent many times, so that the load generator costs next to
//! nothing.

use std::io::Write as _;

use anyhow::{Context, Result};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

/// Compression of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchCodec {
    None,
    Lz4,
}

/// Format of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchShape {
    pub(crate) records: u32,
    pub(crate) value_bytes: usize,
    pub(crate) codec: BatchCodec,
    /// Share of records with a sampled context; the others have an unsampled one. Without a share,
    /// records have no headers.
    pub(crate) sampled: Option<f64>,
}

/// Length of the batch header.
const BATCH_HEADER_BYTES: usize = 61;
const LZ4_ATTRIBUTE: u16 = 3;

impl BatchShape {
    /// Returns the bytes of all values of a batch.
    pub(crate) fn payload(&self) -> u64 {
        u64::from(self.records) * u64::try_from(self.value_bytes).unwrap_or(u64::MAX)
    }

    /// Builds the batch (KIP-98, "Message Format").
    pub(crate) fn batch(&self, timestamp: i64) -> Result<Vec<u8>> {
        let mut random = SplitMix64(0x9e37_79b9_7f4a_7c15);
        let mut records = Vec::new();
        for offset in 0..self.records {
            let record = self.record(offset, &mut random)?;
            put_varint(&mut records, i64::try_from(record.len())?);
            records.extend(record);
        }
        let (attributes, records) = match self.codec {
            BatchCodec::None => (0, records),
            BatchCodec::Lz4 => (LZ4_ATTRIBUTE, lz4(&records)?),
        };
        let last = i32::try_from(self.records)? - 1;
        let mut after_crc = Vec::with_capacity(records.len() + BATCH_HEADER_BYTES);
        after_crc.extend(attributes.to_be_bytes());
        after_crc.extend(last.to_be_bytes());
        after_crc.extend(timestamp.to_be_bytes());
        after_crc.extend(timestamp.to_be_bytes());
        after_crc.extend((-1_i64).to_be_bytes()); // no idempotent producer
        after_crc.extend((-1_i16).to_be_bytes());
        after_crc.extend((-1_i32).to_be_bytes());
        after_crc.extend((last + 1).to_be_bytes());
        after_crc.extend(records);
        let mut batch = Vec::with_capacity(after_crc.len() + 21);
        batch.extend(0_i64.to_be_bytes());
        batch.extend(i32::try_from(after_crc.len() + 9)?.to_be_bytes());
        batch.extend((-1_i32).to_be_bytes());
        batch.push(2);
        batch.extend(crc_fast::crc32_iscsi(&after_crc).to_be_bytes());
        batch.extend(after_crc);
        Ok(batch)
    }

    fn record(&self, offset: u32, random: &mut SplitMix64) -> Result<Vec<u8>> {
        let mut record = vec![0];
        put_varint(&mut record, 0);
        put_varint(&mut record, i64::from(offset));
        put_varint(&mut record, 8);
        record.extend(random.next().to_be_bytes());
        put_varint(&mut record, i64::try_from(self.value_bytes)?);
        let end = record.len() + self.value_bytes;
        // Half of the value repeats, as in JSON, so that lz4 has a realistic amount of work.
        while record.len() < end {
            record.extend(b"\"order\":\"");
            record.extend(&random.next().to_be_bytes());
        }
        record.truncate(end);
        let Some(sampled) = self.sampled else {
            put_varint(&mut record, 0);
            return Ok(record);
        };
        let flags = if random.chance() < sampled {
            "01"
        } else {
            "00"
        };
        let context = format!(
            "00-{:016x}{:016x}-{:016x}-{flags}",
            random.next(),
            random.next(),
            random.next() | 1
        );
        put_varint(&mut record, 1);
        put_varint(&mut record, 11);
        record.extend(b"traceparent");
        put_varint(&mut record, i64::try_from(context.len())?);
        record.extend(context.as_bytes());
        Ok(record)
    }
}

/// Compresses into independent blocks, the only LZ4 frames that Kafka's Java classes read.
fn lz4(records: &[u8]) -> Result<Vec<u8>> {
    let info = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(records)?;
    encoder.finish().context("compressing")
}

/// Writes a zigzag varint.
#[expect(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "the encoding is defined by these casts"
)]
fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A deterministic random generator (splitmix64).
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from 0 to 1.
    fn chance(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }
}
