//! zstd frames (RFC 8878), by the C library.

use zstd::stream::read::Decoder;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, ResetDirective, compress_bound};

use super::{BatchError, read_capped};

/// The contexts of both directions, made when they are first needed.
#[derive(Default)]
pub(super) struct Zstd {
    compress: Option<CCtx<'static>>,
    decompress: Option<DCtx<'static>>,
    room: Vec<u8>,
}

// === impl Zstd ===

impl Zstd {
    pub(super) fn inflate(
        &mut self,
        bytes: &[u8],
        max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), BatchError> {
        let context = self.decompress.get_or_insert_with(DCtx::create);
        // A batch that was refused half-way leaves the context in its midst.
        context
            .reset(ResetDirective::SessionOnly)
            .map_err(|_| BatchError::CorruptCompression)?;
        context
            .set_parameter(DParameter::WindowLogMax(MOST_WINDOW_LOG))
            .map_err(|_| BatchError::CorruptCompression)?;
        read_capped(Decoder::with_context(bytes, context), max, out)
    }

    pub(super) fn deflate(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
        let context = self.compress.get_or_insert_with(CCtx::create);
        context
            .set_parameter(CParameter::CompressionLevel(LEVEL))
            .map_err(|_| BatchError::CorruptCompression)?;
        // Aside, and then copied: room in `out` for what does not compress at all would have to be filled with zeros.
        self.room.clear();
        self.room.reserve(compress_bound(bytes.len()));
        context
            .compress2(&mut self.room, bytes)
            .map_err(|_| BatchError::CorruptCompression)?;
        out.extend_from_slice(&self.room);
        Ok(())
    }

    /// The contexts stay, or the next batch would have to make them anew: 1.3 MiB to compress at this level, and the largest
    /// window to decompress.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        self.room.clear();
        self.room.shrink_to(bytes);
    }
}

/// Kafka's default level.
const LEVEL: i32 = 3;

/// Windows to 8 MiB are read, as the format asks of every decoder; the levels to 19 write no larger ones. A larger one
/// would be memory at a stranger's word.
const MOST_WINDOW_LOG: u32 = 23;
