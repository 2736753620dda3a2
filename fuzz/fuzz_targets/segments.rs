//! Arbitrary bytes as a log, and as a segment: reading must end, without a panic, and a log that is
//! cut where its intact part ends reads the same.
#![no_main]

use std::io::Write as _;

use libfuzzer_sys::fuzz_target;
use throughline_segments::{LogRecords, SegmentReader};

fuzz_target!(|bytes: &[u8]| {
    let read = LogRecords::read(bytes);
    let intact = bytes.get(..read.intact_bytes).unwrap_or_default();
    assert_eq!(LogRecords::read(intact).records, read.records);
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("room for it");
    if let Ok(reader) = SegmentReader::open(file.path()) {
        let _damaged = reader.read_all(|_| {});
    }
});
