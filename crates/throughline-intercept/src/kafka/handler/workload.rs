//! Estimates of the time that the record sets of a frame take: a driver serves other connections
//! elsewhere while one of them decompresses megabytes.

use throughline_kafka::batch::{CompressionCodec, RecordBatches, RecordSetEntry};

use crate::kafka::ClusterHandle;

/// Work that is done with the records of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordWork {
    /// They are decompressed.
    Read,
    /// They are decompressed, changed and compressed.
    Change,
}

/// Estimated work in a frame, in microseconds of one core. The estimate decides where the work is
/// done and nothing else, so that its order of magnitude is enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workload {
    work: RecordWork,
    microseconds: u64,
}

/// Work from which on it moves: some ten times of what moving costs.
const LONG_MICROSECONDS: u64 = 500;

// === impl Workload ===

impl Workload {
    pub(super) const fn new(work: RecordWork) -> Self {
        Self {
            work,
            microseconds: 0,
        }
    }

    /// Adds a record set. Its first batch stands for all of them.
    pub(super) fn add(&mut self, record_set: &[u8]) {
        let codec = match RecordBatches::new(record_set).next() {
            Some(RecordSetEntry::Batch(batch)) => batch.codec(),
            _ => CompressionCodec::None,
        };
        let bytes = u64::try_from(record_set.len()).unwrap_or(u64::MAX);
        let microseconds = bytes.saturating_mul(microseconds_per_mebibyte(codec, self.work)) >> 20;
        self.microseconds = self.microseconds.saturating_add(microseconds);
    }

    /// Runs the work, elsewhere if it takes long.
    pub(super) fn run<C: ClusterHandle, T>(self, work: impl FnOnce() -> T) -> T {
        if self.microseconds >= LONG_MICROSECONDS {
            C::run_long(work)
        } else {
            work()
        }
    }
}

/// Returns the time for a mebibyte as sent, of records that compress to a third.
const fn microseconds_per_mebibyte(codec: CompressionCodec, work: RecordWork) -> u64 {
    match (codec, work) {
        (CompressionCodec::None | CompressionCodec::Unknown(_), _) => 250,
        (CompressionCodec::Lz4 | CompressionCodec::Snappy, RecordWork::Read) => 3_000,
        (CompressionCodec::Lz4 | CompressionCodec::Snappy, RecordWork::Change) => 9_000,
        (CompressionCodec::Zstd, RecordWork::Read) => 5_000,
        (CompressionCodec::Zstd, RecordWork::Change) => 20_000,
        (CompressionCodec::Gzip, RecordWork::Read) => 10_000,
        (CompressionCodec::Gzip, RecordWork::Change) => 100_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::ClusterState;

    thread_local! {
        static MOVED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }

    struct Moving;

    impl ClusterHandle for Moving {
        fn with_state<T>(&self, operation: impl FnOnce(&mut ClusterState) -> T) -> T {
            operation(&mut ClusterState::new(
                crate::kafka::ClusterCapacity::default(),
            ))
        }

        fn run_long<T>(work: impl FnOnce() -> T) -> T {
            MOVED.set(MOVED.get() + 1);
            work()
        }
    }

    /// Returns a record set of one batch, of which only the frame is valid.
    fn record_set(codec: u8, bytes: usize) -> Vec<u8> {
        let mut batch = vec![0; bytes];
        let length = u32::try_from(bytes - 12).unwrap();
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = 2;
        batch[22] = codec;
        batch
    }

    fn is_moved(work: RecordWork, record_sets: &[Vec<u8>]) -> bool {
        let mut workload = Workload::new(work);
        for record_set in record_sets {
            workload.add(record_set);
        }
        let before = MOVED.get();
        assert_eq!(workload.run::<Moving, _>(|| 7), 7);
        MOVED.get() > before
    }

    #[test]
    fn long_work_moves_and_short_work_stays() {
        const GZIP: u8 = 1;
        let (none, gzip) = (record_set(0, 1 << 20), record_set(GZIP, 16 << 10));
        assert!(!is_moved(RecordWork::Change, std::slice::from_ref(&none)));
        assert!(is_moved(RecordWork::Change, &vec![none; 4]));
        assert!(is_moved(RecordWork::Change, std::slice::from_ref(&gzip)));
        assert!(!is_moved(RecordWork::Read, std::slice::from_ref(&gzip)));
        assert!(
            is_moved(RecordWork::Read, &vec![gzip; 10]),
            "many small ones"
        );
        assert!(!is_moved(RecordWork::Change, &[vec![0; 3]]));
    }
}
