//! Record batches as a producer would make them: made once, sent many times, so that the load costs next to nothing.

use std::io::Write as _;

use anyhow::{Context, Result};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

/// How the records of a batch are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchCodec {
    None,
    Lz4,
}

/// What a batch holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchShape {
    pub(crate) records: u32,
    pub(crate) value_bytes: usize,
    pub(crate) codec: BatchCodec,
    /// The part of the records that carry a sampled context; the others carry one that is not sampled. None: no headers at all.
    pub(crate) sampled: Option<f64>,
}

/// The bytes before the records of a batch.
const HEADER: usize = 61;
const LZ4: u16 = 3;

impl BatchShape {
    /// Bytes of values in a batch: what an application sends.
    pub(crate) fn payload(&self) -> u64 {
        u64::from(self.records) * u64::try_from(self.value_bytes).unwrap_or(u64::MAX)
    }

    /// The batch (KIP-98, "Message Format").
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
            BatchCodec::Lz4 => (LZ4, lz4(&records)?),
        };
        let last = i32::try_from(self.records)? - 1;
        let mut after_crc = Vec::with_capacity(records.len() + HEADER);
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
        // Half of it repeats, as in JSON: lz4 has something to do, and not too much.
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

/// In frames of independent blocks, the only ones that Java reads.
fn lz4(records: &[u8]) -> Result<Vec<u8>> {
    let info = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(records)?;
    encoder.finish().context("compressing")
}

/// Zigzag, then seven bits a byte.
#[expect(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "the encoding is made of just that"
)]
fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The same numbers in every run (splitmix64).
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    fn chance(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }
}
