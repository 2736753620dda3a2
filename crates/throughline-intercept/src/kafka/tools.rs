//! What is large and is needed for a moment only: (de)compressors and buffers, shared by the connections of a process.

use throughline_kafka::batch::{
    BatchError, CodecPool, CompressionCodec, HeaderInjector, HeaderPatcher, RecordBatch, RecordIter,
};
use throughline_kafka::message::BodySplice;

/// Compressors, decompressors, and buffers.
#[derive(Debug, Default)]
pub(super) struct Tools {
    pub(super) injector: HeaderInjector,
    pub(super) patcher: HeaderPatcher,
    pub(super) splice: BodySplice,
    pub(super) reader: BatchReader,
}

/// Reads the records of batches, inflated if need be.
#[derive(Debug, Default)]
pub(super) struct BatchReader {
    codecs: CodecPool,
    inflated: Vec<u8>,
}

/// What a buffer may keep while nobody uses it.
const KEPT: usize = 1024 * 1024;

// === impl Tools ===

impl Tools {
    /// Before it is put away.
    pub(super) fn tidy(&mut self) {
        self.injector.shrink_to(KEPT);
        self.splice.shrink_to(KEPT);
        self.reader.inflated.clear();
        self.reader.inflated.shrink_to(KEPT);
    }
}

// === impl BatchReader ===

impl BatchReader {
    /// The records of a batch, which inflate to no more than `max` bytes.
    pub(super) fn records<'a>(
        &'a mut self,
        batch: &RecordBatch<'a>,
        max: usize,
    ) -> Result<RecordIter<'a>, BatchError> {
        match batch.codec() {
            CompressionCodec::None => Ok(RecordIter::new(batch.payload(), batch.record_count())),
            codec @ (CompressionCodec::Gzip
            | CompressionCodec::Snappy
            | CompressionCodec::Lz4
            | CompressionCodec::Zstd
            | CompressionCodec::Unknown(_)) => {
                self.codecs
                    .decompress(codec, batch.payload(), max, &mut self.inflated)?;
                Ok(RecordIter::new(&self.inflated, batch.record_count()))
            }
        }
    }
}
