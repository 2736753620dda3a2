//! Headers put into the records of a batch.

use super::splice::{Bound, Running, splice};
use super::view::{CHECKED, CHECKSUM, LENGTH};
use super::{Batch, Codec, Codecs, Headers, OVERHEAD, Outcome, Reason, Record, Records, checksum};

/// Writes batches anew with more headers in their records. Holds what is used again from batch to batch.
#[derive(Debug, Default)]
pub struct Injector {
    codecs: Codecs,
    headers: Headers,
    plain: Vec<u8>,
    spliced: Vec<u8>,
}

/// How large a batch may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the batch as the broker gets it: the topic's `max.message.bytes`.
    pub max_batch_bytes: usize,
    /// Most bytes of its records inflated, before and after.
    pub max_inflated_bytes: usize,
}

// === impl Injector ===

impl Injector {
    /// Writes `batch` behind what is in `out`, each record with the headers that `choose` gives it; lengths and checksum
    /// are redone, all else is as it was. Nothing is written unless the outcome is [`Outcome::Changed`].
    pub fn inject(
        &mut self,
        batch: Batch<'_>,
        limits: &Limits,
        out: &mut Vec<u8>,
        mut choose: impl FnMut(&Record<'_>, &mut Headers),
    ) -> Outcome {
        let begin = out.len();
        let written = match batch.codec() {
            _ if batch.is_control() => Err(Reason::Control),
            _ if batch.count() <= 0 => Err(Reason::Empty),
            Codec::Unknown(codec) => Err(Reason::Codec(codec)),
            Codec::None => self.inject_plain(batch, limits, out, &mut choose),
            codec @ (Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd) => {
                self.inject_compressed(batch, codec, limits, out, &mut choose)
            }
        };
        match written {
            Ok(changed) if changed > 0 => Outcome::Changed(changed),
            Ok(_) => {
                out.truncate(begin);
                Outcome::Unchanged
            }
            Err(reason) => {
                out.truncate(begin);
                Outcome::Passed(reason)
            }
        }
    }

    /// Gives back memory above so many bytes of each buffer.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.plain.clear();
        self.plain.shrink_to(bytes);
        self.spliced.clear();
        self.spliced.shrink_to(bytes);
        self.codecs.shrink_to(bytes);
    }

    fn inject_plain(
        &mut self,
        batch: Batch<'_>,
        limits: &Limits,
        out: &mut Vec<u8>,
        choose: &mut impl FnMut(&Record<'_>, &mut Headers),
    ) -> Result<u32, Reason> {
        let begin = out.len();
        let old = batch.bytes();
        out.extend_from_slice(old.get(..OVERHEAD).unwrap_or_default());
        let (mut theirs, mut ours) = (Running::new(CHECKED), Running::new(begin + CHECKED));
        let records = Records::new(batch.payload(), batch.count());
        let reason = Reason::TooLarge {
            max: limits.max_batch_bytes,
        };
        let bound = Bound {
            end: begin.saturating_add(limits.max_batch_bytes),
            reason,
        };
        let changed = splice(
            records,
            &mut self.headers,
            bound,
            out,
            choose,
            |read, out| {
                theirs.advance(old, OVERHEAD + read);
                ours.advance(out, out.len());
            },
        )?;
        if changed == 0 {
            return Ok(0);
        }
        theirs.advance(old, old.len());
        if theirs.value() != batch.crc() {
            return Err(Reason::Checksum);
        }
        ours.advance(out, out.len());
        seal(out, begin, ours.value(), limits)?;
        Ok(changed)
    }

    fn inject_compressed(
        &mut self,
        batch: Batch<'_>,
        codec: Codec,
        limits: &Limits,
        out: &mut Vec<u8>,
        choose: &mut impl FnMut(&Record<'_>, &mut Headers),
    ) -> Result<u32, Reason> {
        if !batch.is_intact() {
            return Err(Reason::Checksum);
        }
        let Self {
            codecs,
            headers,
            plain,
            spliced,
        } = self;
        let max = limits.max_inflated_bytes;
        let snappy = codecs.inflate(codec, batch.payload(), max, plain)?;
        spliced.clear();
        let records = Records::new(plain, batch.count());
        let bound = Bound {
            end: max,
            reason: Reason::Inflated { max },
        };
        let changed = splice(records, headers, bound, spliced, choose, |_, _| {})?;
        if changed == 0 {
            return Ok(0);
        }
        let begin = out.len();
        out.extend_from_slice(batch.bytes().get(..OVERHEAD).unwrap_or_default());
        codecs.deflate(codec, snappy, spliced, out)?;
        let crc = checksum(out.get(begin + CHECKED..).unwrap_or_default());
        seal(out, begin, crc, limits)?;
        Ok(changed)
    }
}

/// Writes the length and the checksum of the batch that begins at `begin`.
fn seal(out: &mut [u8], begin: usize, crc: u32, limits: &Limits) -> Result<(), Reason> {
    let too_large = Reason::TooLarge {
        max: limits.max_batch_bytes,
    };
    let batch = out.get_mut(begin..).ok_or(too_large)?;
    if batch.len() > limits.max_batch_bytes {
        return Err(too_large);
    }
    let length = i32::try_from(batch.len() - LENGTH - 4).map_err(|_| too_large)?;
    super::patch::overwrite(batch, LENGTH, &length.to_be_bytes());
    super::patch::overwrite(batch, CHECKSUM, &crc.to_be_bytes());
    Ok(())
}
