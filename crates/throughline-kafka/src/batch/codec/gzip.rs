//! gzip (RFC 1952): any members are read, one is written.

use flate2::read::MultiGzDecoder;
use flate2::{Compress, Compression, FlushCompress, Status};

use super::{BatchError, read_capped};

/// The compressor, made when it is first needed.
#[derive(Default)]
pub(super) struct Gzip {
    compress: Option<Compress>,
}

pub(super) fn inflate(bytes: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
    read_capped(MultiGzDecoder::new(bytes), max, out)
}

// === impl Gzip ===

impl Gzip {
    pub(super) fn deflate(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
        let compress = self
            .compress
            .get_or_insert_with(|| Compress::new(Compression::default(), false));
        compress.reset();
        out.extend_from_slice(&HEADER);
        let mut rest = bytes;
        loop {
            out.reserve(rest.len() / 2 + ROOM);
            let before = compress.total_in();
            let status = compress
                .compress_vec(rest, out, FlushCompress::Finish)
                .map_err(|_| BatchError::CorruptCompression)?;
            let taken = usize::try_from(compress.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            if status == Status::StreamEnd {
                break;
            }
        }
        out.extend_from_slice(&crc_fast::crc32_iso_hdlc(bytes).to_le_bytes());
        // By the standard, the size modulo 2^32.
        let size = u32::try_from(bytes.len() & 0xffff_ffff).unwrap_or(0);
        out.extend_from_slice(&size.to_le_bytes());
        Ok(())
    }
}

/// Deflate, no name, no time, default compression, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Room for what does not compress at all.
const ROOM: usize = 1024;
