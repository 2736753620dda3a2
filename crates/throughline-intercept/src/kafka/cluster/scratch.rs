//! Scratch space: large buffers and codecs that a session borrows for one frame.

use throughline_kafka::batch::{
    BatchError, CodecPool, CompressionCodec, DecompressedRecords, HeaderInjector, HeaderPatcher,
    RecordBatch, RecordIter, SnappyFraming,
};
use throughline_kafka::message::BodySplice;

/// Compressors, decompressors and buffers for one frame.
#[derive(Debug, Default)]
pub(in crate::kafka) struct Scratch {
    pub(in crate::kafka) injector: HeaderInjector,
    pub(in crate::kafka) patcher: HeaderPatcher,
    pub(in crate::kafka) splice: BodySplice,
    pub(in crate::kafka) reader: BatchReader,
}

/// Reader of the records of a batch, which decompresses them if necessary.
#[derive(Debug, Default)]
pub(in crate::kafka) struct BatchReader {
    codecs: CodecPool,
    decompressed: Vec<u8>,
    /// Framing of the decompressed records; [`None`] when the last batch was not compressed.
    framing: Option<SnappyFraming>,
}

/// Maximum capacity of a buffer that is kept for the next frame.
const MAX_KEPT_BYTES: usize = 1024 * 1024;

// === impl Scratch ===

impl Scratch {
    /// Frees memory above [`MAX_KEPT_BYTES`] before the scratch goes back into the pool.
    pub(in crate::kafka) fn shrink(&mut self) {
        self.injector.shrink_to(MAX_KEPT_BYTES);
        self.patcher.shrink_to(MAX_KEPT_BYTES);
        self.splice.shrink_to(MAX_KEPT_BYTES);
        self.reader.decompressed.clear();
        self.reader.decompressed.shrink_to(MAX_KEPT_BYTES);
    }
}

// === impl BatchReader ===

impl BatchReader {
    /// Returns the records of a batch that decompresses to at most `max_bytes`.
    pub(in crate::kafka) fn records<'a>(
        &'a mut self,
        batch: &RecordBatch<'a>,
        max_bytes: usize,
    ) -> Result<RecordIter<'a>, BatchError> {
        let (codec, payload) = (batch.codec(), batch.payload());
        self.framing = None;
        if codec == CompressionCodec::None {
            return Ok(RecordIter::new(payload, batch.record_count()));
        }
        let framing = self
            .codecs
            .decompress(codec, payload, max_bytes, &mut self.decompressed)?;
        self.framing = Some(framing);
        Ok(RecordIter::new(&self.decompressed, batch.record_count()))
    }

    /// Returns the records of the batch that was read last, if it had to be decompressed.
    pub(in crate::kafka) fn decompressed(&self) -> Option<DecompressedRecords<'_>> {
        let bytes = &self.decompressed;
        self.framing
            .map(|snappy| DecompressedRecords { bytes, snappy })
    }
}
