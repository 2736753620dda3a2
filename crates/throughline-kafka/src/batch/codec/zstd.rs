//! zstd frames (RFC 8878), with the C library.

use zstd::stream::read::Decoder;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, ResetDirective, compress_bound};

use super::capped::read_capped;
use crate::batch::BatchError;

/// Kafka's default compression level.
const LEVEL: i32 = 3;

/// The maximum window, 8 MiB: RFC 8878 recommends that every decoder supports it, and levels up to
/// 19 use no larger one. A larger window would let the input decide how much memory is allocated.
const MAX_WINDOW_LOG: u32 = 23;

/// The contexts of both directions, created on first use.
#[derive(Default)]
pub(super) struct ZstdCodec {
    compress: Option<CCtx<'static>>,
    decompress: Option<DCtx<'static>>,
    buffer: Vec<u8>,
}

// === impl ZstdCodec ===

impl ZstdCodec {
    pub(super) fn decompress(
        &mut self,
        bytes: &[u8],
        max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), BatchError> {
        let context = self.decompress.get_or_insert_with(DCtx::create);
        // A batch that was rejected at the limit leaves the context in the middle of a frame.
        context
            .reset(ResetDirective::SessionOnly)
            .map_err(|_| BatchError::CorruptCompression)?;
        context
            .set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))
            .map_err(|_| BatchError::CorruptCompression)?;
        read_capped(Decoder::with_context(bytes, context), max, out)
    }

    pub(super) fn compress(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
        let context = self.compress.get_or_insert_with(CCtx::create);
        context
            .set_parameter(CParameter::CompressionLevel(LEVEL))
            .map_err(|_| BatchError::CorruptCompression)?;
        // Compressing directly behind `out` would need zero-filled space for the worst case;
        // copying the compressed bytes costs less.
        self.buffer.clear();
        self.buffer.reserve(compress_bound(bytes.len()));
        context
            .compress2(&mut self.buffer, bytes)
            .map_err(|_| BatchError::CorruptCompression)?;
        out.extend_from_slice(&self.buffer);
        Ok(())
    }

    /// Releases the memory of the buffer beyond `bytes`. The contexts are kept, because recreating
    /// them costs 1.3 MiB to compress at this level and the largest window to decompress.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        self.buffer.clear();
        self.buffer.shrink_to(bytes);
    }
}
