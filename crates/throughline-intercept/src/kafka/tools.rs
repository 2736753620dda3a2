//! What is large and is needed for a moment only: (de)compressors and buffers, shared by the connections of a process.

use throughline_kafka::batch::{Batch, Codec, Codecs, Injector, Patcher, Reason, Records};
use throughline_kafka::message::Splice;

/// Compressors, decompressors, and buffers.
#[derive(Debug, Default)]
pub(super) struct Tools {
    pub(super) injector: Injector,
    pub(super) patcher: Patcher,
    pub(super) splice: Splice,
    pub(super) reader: BatchReader,
}

/// Reads the records of batches, inflated if need be.
#[derive(Debug, Default)]
pub(super) struct BatchReader {
    codecs: Codecs,
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
        batch: &Batch<'a>,
        max: usize,
    ) -> Result<Records<'a>, Reason> {
        match batch.codec() {
            Codec::None => Ok(Records::new(batch.payload(), batch.count())),
            codec
            @ (Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd | Codec::Unknown(_)) => {
                self.codecs
                    .inflate(codec, batch.payload(), max, &mut self.inflated)?;
                Ok(Records::new(&self.inflated, batch.count()))
            }
        }
    }
}
