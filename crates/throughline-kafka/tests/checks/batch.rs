//! Properties of any record set. Shared by the tests and the fuzz target.

#[path = "../support/batch.rs"]
pub(crate) mod raw;

use raw::batch_with_payload;
use throughline_kafka::batch::{
    BatchOutcome, CodecPool, HeaderInjector, HeaderPatcher, InjectionLimits, RecordBatch,
    RecordBatches, RecordIter, RecordSetEntry,
};

pub(crate) const LIMITS: InjectionLimits = InjectionLimits {
    max_batch_bytes: 1 << 20,
    max_uncompressed_bytes: usize::MAX,
    max_inflated_bytes: 1 << 20,
};

pub(crate) const KEY: &[u8] = b"traceparent";
pub(crate) const VALUE: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A decoded record: timestamp delta, offset delta, key, value, headers.
pub(crate) type DecodedRecord = (
    i64,
    i32,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Vec<(Vec<u8>, Option<Vec<u8>>)>,
);

/// Decodes all records of a batch; [`None`] when they are not well-formed.
pub(crate) fn decode_records(batch: RecordBatch<'_>) -> Option<Vec<DecodedRecord>> {
    let mut plain = Vec::new();
    CodecPool::default()
        .decompress(batch.codec(), batch.payload(), 4 << 20, &mut plain)
        .ok()?;
    let mut records = RecordIter::new(&plain, batch.record_count());
    let mut decoded = Vec::new();
    for record in records.by_ref() {
        let record = record.ok()?;
        let headers = record
            .headers()
            .map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)))
            .collect();
        let (key, value) = (
            record.key.map(<[u8]>::to_vec),
            record.value.map(<[u8]>::to_vec),
        );
        decoded.push((
            record.timestamp_delta,
            record.offset_delta,
            key,
            value,
            headers,
        ));
    }
    records.remaining_bytes().is_empty().then_some(decoded)
}

/// Checks the bytes as a record set, and as attributes, record count and payload of a valid batch.
pub(crate) fn check_record_set_and_payload(bytes: &[u8]) {
    check_record_set(bytes);
    if let Some(([attributes, count], payload)) = bytes.split_first_chunk() {
        check_record_set(&batch_with_payload(
            payload,
            i16::from(attributes & 0x3f),
            i32::from(*count),
        ));
    }
}

/// Checks that the entries of a record set are complete, that a changed batch differs by one header
/// in each record, and that any other batch leaves the output unchanged.
pub(crate) fn check_record_set(bytes: &[u8]) {
    let whole: Vec<u8> = RecordBatches::new(bytes)
        .flat_map(|entry| entry.bytes().to_vec())
        .collect();
    assert_eq!(whole, bytes, "the entries concatenated are the record set");
    for entry in RecordBatches::new(bytes) {
        if let RecordSetEntry::Batch(batch) = entry {
            check_batch(batch);
        }
    }
}

fn check_batch(batch: RecordBatch<'_>) {
    let mut injector = HeaderInjector::default();
    let mut out = b"before".to_vec();
    match injector.inject(batch, &LIMITS, &mut out, |_, headers| {
        headers.append(KEY, Some(VALUE));
    }) {
        BatchOutcome::Changed(count) => {
            assert_eq!(Ok(count), u32::try_from(batch.record_count()));
            let after = RecordBatch::new(&out[6..]).expect("one complete batch");
            assert!(after.has_valid_checksum(), "the checksum is updated");
            assert!(
                after.bytes().len() <= LIMITS.max_batch_bytes,
                "the size is limited"
            );
            let mut expected = decode_records(batch).expect("a changed batch is well-formed");
            for (_, _, _, _, headers) in &mut expected {
                headers.push((KEY.to_vec(), Some(VALUE.to_vec())));
            }
            assert_eq!(decode_records(after), Some(expected));
            let header = |bytes: &[u8]| {
                [
                    bytes[..8].to_vec(),
                    bytes[12..17].to_vec(),
                    bytes[21..61].to_vec(),
                ]
            };
            assert_eq!(
                header(after.bytes()),
                header(batch.bytes()),
                "the header differs in length and checksum only"
            );
        }
        BatchOutcome::Unchanged | BatchOutcome::Skipped(_) => assert_eq!(out, b"before"),
    }
    let mut unchanged = Vec::new();
    let outcome = injector.inject(batch, &LIMITS, &mut unchanged, |_, _| {});
    assert!(
        !matches!(outcome, BatchOutcome::Changed(_)) && unchanged.is_empty(),
        "a batch without new headers is unchanged"
    );
    let mut patched = batch.bytes().to_vec();
    let outcome = HeaderPatcher::default().patch(&mut patched, |record, patches| {
        if let Some(header) = record.headers().last() {
            patches.overwrite(record, &header, 0, b"x");
        }
    });
    match outcome {
        BatchOutcome::Changed(_) => {
            assert!(RecordBatch::new(&patched).is_some_and(|batch| batch.has_valid_checksum()));
        }
        BatchOutcome::Unchanged | BatchOutcome::Skipped(_) => assert_eq!(patched, batch.bytes()),
    }
}
