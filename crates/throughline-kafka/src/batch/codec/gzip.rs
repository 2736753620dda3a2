//! gzip (RFC 1952): reads any number of members, writes one.

use flate2::read::MultiGzDecoder;
use flate2::{Compress, Compression, FlushCompress, Status};

use super::capped::read_capped;
use crate::batch::BatchError;

/// Deflate, no name, no time, default compression, unknown system.
const MEMBER_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Output space beyond half the input, for input that hardly compresses.
const MIN_OUTPUT_BYTES: usize = 1024;

/// The compressor, created on first use.
#[derive(Default)]
pub(super) struct GzipCodec {
    compress: Option<Compress>,
}

pub(super) fn decompress(bytes: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
    read_capped(MultiGzDecoder::new(bytes), max, out)
}

// === impl GzipCodec ===

impl GzipCodec {
    pub(super) fn compress(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
        let compress = self
            .compress
            .get_or_insert_with(|| Compress::new(Compression::default(), false));
        compress.reset();
        out.extend_from_slice(&MEMBER_HEADER);
        let mut rest = bytes;
        loop {
            // `compress_vec` stops when the output is full; each round continues with more space.
            out.reserve(rest.len() / 2 + MIN_OUTPUT_BYTES);
            let before = compress.total_in();
            let status = compress
                .compress_vec(rest, out, FlushCompress::Finish)
                .map_err(|_| BatchError::CorruptCompression)?;
            let consumed = usize::try_from(compress.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(consumed..).unwrap_or_default();
            if status == Status::StreamEnd {
                break;
            }
        }
        out.extend_from_slice(&crc_fast::crc32_iso_hdlc(bytes).to_le_bytes());
        // RFC 1952, section 2.3.1: the size modulo 2^32.
        let size = u32::try_from(bytes.len() & 0xffff_ffff).unwrap_or(0);
        out.extend_from_slice(&size.to_le_bytes());
        Ok(())
    }
}
