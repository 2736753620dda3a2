//! What must hold for any record set at all. Shared by the property tests and the fuzz target.

#[path = "../support/batch.rs"]
pub(crate) mod raw;

use raw::around;
use throughline_kafka::batch::{
    BatchOutcome, CodecPool, HeaderInjector, HeaderPatcher, InjectionLimits, RecordBatch,
    RecordBatches, RecordIter, RecordSetEntry,
};

pub(crate) const LIMITS: InjectionLimits = InjectionLimits {
    max_batch_bytes: 1 << 20,
    max_inflated_bytes: 1 << 20,
};

pub(crate) const KEY: &[u8] = b"traceparent";
pub(crate) const VALUE: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What a record says, with its headers.
pub(crate) type Told = (
    i64,
    i32,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Vec<(Vec<u8>, Option<Vec<u8>>)>,
);

/// All that the records of a batch say, inflated where need be; [`None`] when they are not well-formed.
pub(crate) fn told(batch: RecordBatch<'_>) -> Option<Vec<Told>> {
    let mut plain = Vec::new();
    CodecPool::default()
        .decompress(batch.codec(), batch.payload(), 4 << 20, &mut plain)
        .ok()?;
    let mut records = RecordIter::new(&plain, batch.record_count());
    let mut told = Vec::new();
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
        told.push((
            record.timestamp_delta,
            record.offset_delta,
            key,
            value,
            headers,
        ));
    }
    records.remaining_bytes().is_empty().then_some(told)
}

/// The bytes as a record set, and as the records of a batch that is intact: a byte of attributes, one of count, then they.
pub(crate) fn any_record_set_and_payload(bytes: &[u8]) {
    any_record_set(bytes);
    if let Some(([attributes, count], payload)) = bytes.split_first_chunk() {
        any_record_set(&around(
            payload,
            i16::from(attributes & 0x3f),
            i32::from(*count),
        ));
    }
}

/// Borders lose nothing; a batch that is changed says the same and one header more in each record; one that is not
/// changed leaves no trace in the output.
pub(crate) fn any_record_set(bytes: &[u8]) {
    let whole: Vec<u8> = RecordBatches::new(bytes)
        .flat_map(|entry| entry.bytes().to_vec())
        .collect();
    assert_eq!(whole, bytes, "batches put together are the record set");
    for entry in RecordBatches::new(bytes) {
        if let RecordSetEntry::Batch(batch) = entry {
            any_batch(batch);
        }
    }
}

fn any_batch(batch: RecordBatch<'_>) {
    let mut injector = HeaderInjector::default();
    let mut out = b"before".to_vec();
    match injector.inject(batch, &LIMITS, &mut out, |_, headers| {
        headers.append(KEY, Some(VALUE))
    }) {
        BatchOutcome::Changed(count) => {
            assert_eq!(Ok(count), u32::try_from(batch.record_count()));
            let after = RecordBatch::new(&out[6..]).expect("one whole batch");
            assert!(after.has_valid_checksum(), "the checksum is redone");
            assert!(
                after.bytes().len() <= LIMITS.max_batch_bytes,
                "the limit holds"
            );
            let mut expected = told(batch).expect("a batch that was changed can be read");
            for (_, _, _, _, headers) in &mut expected {
                headers.push((KEY.to_vec(), Some(VALUE.to_vec())));
            }
            assert_eq!(told(after), Some(expected));
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
                "the header is the same but for length and checksum"
            );
        }
        BatchOutcome::Unchanged | BatchOutcome::Skipped(_) => assert_eq!(out, b"before"),
    }
    let mut none = Vec::new();
    let outcome = injector.inject(batch, &LIMITS, &mut none, |_, _| {});
    assert!(
        !matches!(outcome, BatchOutcome::Changed(_)) && none.is_empty(),
        "nothing to inject is no change"
    );
    let mut patched = batch.bytes().to_vec();
    let outcome = HeaderPatcher::default().patch(&mut patched, |record, patches| {
        if let Some(header) = record.headers().last() {
            patches.overwrite(record, &header, 0, b"x");
        }
    });
    match outcome {
        BatchOutcome::Changed(_) => {
            assert!(RecordBatch::new(&patched).is_some_and(|batch| batch.has_valid_checksum()))
        }
        BatchOutcome::Unchanged | BatchOutcome::Skipped(_) => assert_eq!(patched, batch.bytes()),
    }
}
