//! Record batches: reading, header injection, patching, and skipping with a reason.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a test may fail by panicking, and knows its numbers"
)]

mod checks {
    pub(crate) mod batch;
}

use checks::batch::raw::{RawRecord, batch_with_payload, records, update_checksum, write_varint};
use checks::batch::{
    DecodedRecord, KEY, LIMITS, VALUE, check_record_set, check_record_set_and_payload,
    decode_records,
};
use kafka_protocol::records::{Compression, RecordBatchDecoder};
use proptest::prelude::*;
use serde_json::{Value, json};
use throughline_kafka::batch::{
    BatchError, BatchOutcome, CodecPool, CompressionCodec, DecompressedRecords, HeaderInjector,
    HeaderPatcher, InjectionLimits, RecordBatch, RecordBatches, RecordSetEntry, SnappyFraming,
};
use throughline_kafka::types::{Offset, TimestampMs};

const CODECS: [(CompressionCodec, SnappyFraming); 6] = [
    (CompressionCodec::None, SnappyFraming::Raw),
    (CompressionCodec::Gzip, SnappyFraming::Raw),
    (CompressionCodec::Snappy, SnappyFraming::Raw),
    (CompressionCodec::Snappy, SnappyFraming::Xerial),
    (CompressionCodec::Lz4, SnappyFraming::Raw),
    (CompressionCodec::Zstd, SnappyFraming::Raw),
];

fn attributes(codec: CompressionCodec) -> i16 {
    match codec {
        CompressionCodec::None => 0,
        CompressionCodec::Gzip => 1,
        CompressionCodec::Snappy => 2,
        CompressionCodec::Lz4 => 3,
        CompressionCodec::Zstd => 4,
        CompressionCodec::Unknown(number) => i16::from(number),
    }
}

fn batch_of(raw: &[RawRecord], codec: CompressionCodec, snappy: SnappyFraming) -> Vec<u8> {
    let mut payload = Vec::new();
    CodecPool::default()
        .compress(codec, snappy, &records(raw), &mut payload)
        .unwrap();
    batch_with_payload(&payload, attributes(codec), raw.len() as i32)
}

fn expected_records(raw: &[RawRecord]) -> Vec<DecodedRecord> {
    let decoded = |(delta, record): (usize, &RawRecord)| {
        (
            record.timestamp_delta,
            delta as i32,
            record.key.clone(),
            record.value.clone(),
            record.headers.clone(),
        )
    };
    raw.iter().enumerate().map(decoded).collect()
}

fn some_records() -> Vec<RawRecord> {
    let header = |key: &[u8], value: Option<&[u8]>| (key.to_vec(), value.map(<[u8]>::to_vec));
    let odd = vec![
        header(b"a", Some(b"1")),
        header(b"x", None),
        header(b"a", Some(b"2")),
        header(&[0xff, 0xfe], Some(b"")),
    ];
    let full = RawRecord {
        timestamp_delta: -5,
        key: Some(b"k".to_vec()),
        value: Some(vec![7; 300]),
        headers: odd,
    };
    let tombstone = RawRecord {
        timestamp_delta: 1 << 40,
        key: Some(Vec::new()),
        ..RawRecord::default()
    };
    vec![
        full.clone(),
        tombstone,
        RawRecord {
            headers: vec![(KEY.to_vec(), Some(b"old".to_vec())); 70],
            ..full
        },
    ]
}

fn inject(bytes: &[u8], limits: &InjectionLimits) -> (BatchOutcome, Vec<u8>) {
    let mut out = Vec::new();
    let batch = RecordBatch::new(bytes).unwrap();
    let outcome = HeaderInjector::default().inject(batch, limits, &mut out, |_, headers| {
        headers.append(KEY, Some(VALUE));
    });
    (outcome, out)
}

#[test]
fn fields_of_the_batch_header_are_read() {
    let bytes = batch_with_payload(&records(&some_records()), 0x18, 3);
    let batch = RecordBatch::new(&bytes).unwrap();
    assert_eq!(
        (batch.base_offset(), batch.last_offset_delta()),
        (Offset(7), 2)
    );
    assert_eq!(
        (batch.base_timestamp(), batch.max_timestamp()),
        (
            TimestampMs(1_700_000_000_000),
            TimestampMs(1_700_000_000_999)
        )
    );
    assert_eq!(
        (
            batch.producer_id(),
            batch.base_sequence(),
            batch.record_count()
        ),
        (42, 11, 3)
    );
    assert!(
        batch.has_valid_checksum()
            && batch.is_log_append_time()
            && batch.is_transactional()
            && !batch.is_control()
    );
}

#[test]
fn duplicate_null_and_odd_headers_survive_in_every_codec() {
    let raw = some_records();
    for (codec, snappy) in CODECS {
        let bytes = batch_of(&raw, codec, snappy);
        assert_eq!(
            decode_records(RecordBatch::new(&bytes).unwrap()),
            Some(expected_records(&raw)),
            "{codec:?}"
        );
        check_record_set(&bytes);
        let (outcome, out) = inject(&bytes, &LIMITS);
        assert_eq!(outcome, BatchOutcome::Changed(3), "{codec:?}");
        if codec == CompressionCodec::Snappy {
            assert_eq!(
                out[61..].starts_with(b"\x82SNAPPY\0"),
                snappy == SnappyFraming::Xerial,
                "the framing is kept"
            );
        }
    }
}

#[test]
fn records_that_the_caller_decompressed_give_the_same_batch_in_every_codec() {
    for (codec, snappy) in CODECS {
        let bytes = batch_of(&some_records(), codec, snappy);
        let batch = RecordBatch::new(&bytes).unwrap();
        let mut decompressed = Vec::new();
        let framing = CodecPool::default()
            .decompress(codec, batch.payload(), usize::MAX, &mut decompressed)
            .unwrap();
        let read = DecompressedRecords {
            bytes: &decompressed,
            snappy: framing,
        };
        let mut out = Vec::new();
        let outcome = HeaderInjector::default().inject_inspected(
            batch,
            Some(read),
            &LIMITS,
            &mut out,
            |_, headers| headers.append(KEY, Some(VALUE)),
        );
        assert_eq!((outcome, out), inject(&bytes, &LIMITS), "{codec:?}");
    }
}

#[test]
fn last_header_of_each_key_is_found() {
    let bytes = batch_of(&some_records(), CompressionCodec::None, SnappyFraming::Raw);
    let mut records = RecordBatch::new(&bytes).unwrap().records().unwrap();
    let record = records.next().unwrap().unwrap();
    let value = |header: Option<throughline_kafka::batch::RecordHeader<'_>>| {
        header.map(|header| header.value.map(<[u8]>::to_vec))
    };
    let found = record
        .last_headers([b"x", b"a", &[0xff, 0xfe], b"b", b"", b"aa"])
        .map(value);
    assert_eq!(
        found,
        [
            Some(None),
            Some(Some(b"2".to_vec())),
            Some(Some(Vec::new())),
            None,
            None,
            None
        ]
    );
    assert_eq!(value(record.last_header(b"a")), Some(Some(b"2".to_vec())));
}

#[test]
fn header_count_can_need_more_bytes() {
    for count in [0, 1, 61, 62, 63, 64, 65, 8_190, 8_191, 8_192] {
        let raw = RawRecord {
            headers: vec![(b"k".to_vec(), None); count],
            ..RawRecord::default()
        };
        check_record_set(&batch_of(
            &[raw],
            CompressionCodec::None,
            SnappyFraming::Raw,
        ));
    }
}

#[test]
fn any_subset_of_records_can_get_headers() {
    for (codec, snappy) in CODECS {
        let before = batch_of(&some_records(), codec, snappy);
        for chosen in 0..8u32 {
            let (mut raw, mut out, mut number) = (some_records(), b"before".to_vec(), 0);
            let batch = RecordBatch::new(&before).unwrap();
            let outcome =
                HeaderInjector::default().inject(batch, &LIMITS, &mut out, |record, headers| {
                    assert_eq!(record.offset_delta, number);
                    if chosen >> number & 1 == 1 {
                        headers.replace(b"a", Some(b"3"));
                        headers.append(KEY, Some(VALUE));
                    }
                    number += 1;
                });
            for record in raw
                .iter_mut()
                .enumerate()
                .filter(|(at, _)| chosen >> at & 1 == 1)
                .map(|(_, record)| record)
            {
                record.headers.retain(|(key, _)| key != b"a");
                record.headers.extend([
                    (b"a".to_vec(), Some(b"3".to_vec())),
                    (KEY.to_vec(), Some(VALUE.to_vec())),
                ]);
            }
            let expected = [b"before".to_vec(), batch_of(&raw, codec, snappy)].concat();
            match chosen.count_ones() {
                0 => assert_eq!(
                    (outcome, &out[..]),
                    (BatchOutcome::Unchanged, &b"before"[..])
                ),
                some => assert_eq!(
                    (outcome, out),
                    (BatchOutcome::Changed(some), expected),
                    "{codec:?} {chosen:b}"
                ),
            }
        }
    }
}

#[test]
fn record_length_can_need_more_bytes() {
    // The new header has 69 bytes: the length grows from one byte to two, from two to three, or
    // keeps its width.
    for value in (0..70).chain(8_100..8_200) {
        let record = |headers| RawRecord {
            value: Some(vec![7; value]),
            headers,
            ..RawRecord::default()
        };
        let before = batch_of(
            &[record(Vec::new()), record(Vec::new())],
            CompressionCodec::None,
            SnappyFraming::Raw,
        );
        let header = || record(vec![(KEY.to_vec(), Some(VALUE.to_vec()))]);
        let after = batch_of(
            &[header(), header()],
            CompressionCodec::None,
            SnappyFraming::Raw,
        );
        assert_eq!(
            inject(&before, &LIMITS),
            (BatchOutcome::Changed(2), after),
            "{value} bytes"
        );
    }
}

#[test]
fn overlong_varints_are_read_and_written_short() {
    let injected = |record: &[u8]| {
        check_record_set_and_payload(&[&[0, 1], record].concat());
        let (outcome, out) = inject(&batch_with_payload(record, 0, 1), &LIMITS);
        assert_eq!(outcome, BatchOutcome::Changed(1), "{record:x?}");
        out[61..].to_vec()
    };
    let short = injected(&[0x0c, 0, 0, 0, 1, 1, 0]);
    let long_length = [0x8c, 0x80, 0x80, 0x00, 0, 0, 0, 1, 1, 0];
    assert_eq!(injected(&long_length), short);
    let long_count = [0x0e, 0, 0, 0, 1, 1, 0x80, 0x00];
    assert_eq!(injected(&long_count), short);
    let own = [0x82, 0x00, b'k', 0x82, 0x80, 0x00, b'v'];
    let out = injected(&[&[0x1a, 0, 0, 0, 1, 1, 2][..], &own].concat());
    assert_eq!(
        out[8..][..own.len()],
        own,
        "original headers keep their encoding"
    );
}

#[test]
fn replaced_header_occurs_once_after_the_others() {
    let bytes = batch_of(&some_records(), CompressionCodec::None, SnappyFraming::Raw);
    let mut out = Vec::new();
    let outcome = HeaderInjector::default().inject(
        RecordBatch::new(&bytes).unwrap(),
        &LIMITS,
        &mut out,
        |record, headers| {
            if record.last_header(KEY).is_some() {
                headers.replace(KEY, Some(VALUE));
                headers.append(b"n", None);
            }
        },
    );
    assert_eq!(outcome, BatchOutcome::Changed(1));
    let mut expected = expected_records(&some_records());
    expected[2].4 = vec![(KEY.to_vec(), Some(VALUE.to_vec())), (b"n".to_vec(), None)];
    assert_eq!(
        decode_records(RecordBatch::new(&out).unwrap()),
        Some(expected)
    );
}

#[test]
fn unsupported_batches_are_skipped_with_a_reason() {
    let plain = records(&some_records());
    let reason = |bytes: &[u8]| match inject(bytes, &LIMITS) {
        (BatchOutcome::Skipped(reason), out) if out.is_empty() => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        reason(&batch_with_payload(&plain, 0x20, 3)),
        BatchError::ControlBatch
    );
    assert_eq!(
        reason(&batch_with_payload(&[], 0, 0)),
        BatchError::NoRecords
    );
    assert_eq!(
        reason(&batch_with_payload(&plain, 6, 3)),
        BatchError::UnknownCodec(6)
    );
    let mut damaged = batch_with_payload(&plain, 0, 3);
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(reason(&damaged), BatchError::ChecksumMismatch);
    let mut damaged = batch_of(&some_records(), CompressionCodec::Zstd, SnappyFraming::Raw);
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(reason(&damaged), BatchError::ChecksumMismatch);
    update_checksum(&mut damaged);
    for codec in 1..=4 {
        assert_eq!(
            reason(&batch_with_payload(b"\x05not compressed", codec, 3)),
            BatchError::CorruptCompression
        );
    }
    assert!(matches!(
        reason(&batch_with_payload(&plain, 0, 4)),
        BatchError::MalformedRecords(_)
    ));
    assert!(matches!(
        reason(&batch_with_payload(&plain, 0, 2)),
        BatchError::MalformedRecords(_)
    ));
}

#[test]
fn batch_above_the_limit_is_skipped() {
    for (codec, snappy) in CODECS {
        let bytes = batch_of(&some_records(), codec, snappy);
        let (_, out) = inject(&bytes, &LIMITS);
        let fits = InjectionLimits {
            max_batch_bytes: out.len(),
            ..LIMITS
        };
        assert_eq!(
            inject(&bytes, &fits),
            (BatchOutcome::Changed(3), out.clone())
        );
        let max = out.len() - 1;
        let short = InjectionLimits {
            max_batch_bytes: max,
            ..LIMITS
        };
        assert_eq!(
            inject(&bytes, &short),
            (
                BatchOutcome::Skipped(BatchError::BatchTooLarge { max }),
                Vec::new()
            ),
            "{codec:?}"
        );
    }
}

#[test]
fn hostile_lengths_are_rejected() {
    let mut huge = Vec::new();
    write_varint(9, &mut huge);
    huge.extend([0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f]);
    for (payload, count) in [
        (&huge[..], i32::MAX),
        (&huge[..], 1),
        (&[0xff; 30][..], 1),
        (&[0x80; 10][..], i32::MAX),
        (&[][..], i32::MAX),
    ] {
        let (outcome, out) = inject(&batch_with_payload(payload, 0, count), &LIMITS);
        assert!(
            matches!(
                outcome,
                BatchOutcome::Skipped(BatchError::MalformedRecords(_))
            ),
            "{outcome:?}"
        );
        assert!(out.is_empty());
    }
}

#[test]
fn decompression_bomb_stops_at_the_limit() {
    let max = 1 << 20;
    let zeros = vec![0; 64 << 20];
    for (codec, snappy) in CODECS.into_iter().skip(1) {
        let mut bomb = Vec::new();
        CodecPool::default()
            .compress(codec, snappy, &zeros, &mut bomb)
            .unwrap();
        let (mut codecs, mut out) = (CodecPool::default(), Vec::new());
        assert_eq!(
            codecs.decompress(codec, &bomb, max, &mut out),
            Err(BatchError::InflatedTooLarge { max }),
            "{codec:?}"
        );
        assert!(
            out.capacity() <= 3 * max,
            "{codec:?} took {} bytes",
            out.capacity()
        );
        let mut good = Vec::new();
        codecs.compress(codec, snappy, b"good", &mut good).unwrap();
        assert_eq!(
            codecs.decompress(codec, &good, max, &mut out),
            Ok(snappy),
            "the codec is usable after a rejected input"
        );
        assert_eq!(out, b"good");
    }
    // A block of 64 bytes that states a decompressed size of 1 GiB.
    let mut block = vec![0x80, 0x80, 0x80, 0x80, 0x04];
    block.resize(64, 0);
    let mut out = Vec::new();
    assert_eq!(
        CodecPool::default().decompress(CompressionCodec::Snappy, &block, usize::MAX, &mut out),
        Err(BatchError::CorruptCompression)
    );
    assert_eq!(out.capacity(), 0);
}

#[test]
fn lz4_output_has_independent_blocks_of_64_kib() {
    let mut out = Vec::new();
    CodecPool::default()
        .compress(
            CompressionCodec::Lz4,
            SnappyFraming::Raw,
            &vec![1; 200_000],
            &mut out,
        )
        .unwrap();
    assert_eq!(out[..4], [0x04, 0x22, 0x4d, 0x18]);
    assert_eq!(out[4] & 0xe0, 0x60, "version 1, independent blocks");
    assert_eq!(out[5], 0x40, "64 KiB");
}

#[test]
fn record_set_keeps_legacy_and_partial_entries() {
    let batch = batch_of(&some_records(), CompressionCodec::None, SnappyFraming::Raw);
    let mut old = batch.clone();
    old[16] = 1;
    let set = [&batch[..], &old, &batch, &batch[..40]].concat();
    let kinds: Vec<_> = RecordBatches::new(&set)
        .map(|entry| match entry {
            RecordSetEntry::Batch(_) => "batch",
            RecordSetEntry::LegacyMessageSet { magic: 1, .. } => "old",
            RecordSetEntry::LegacyMessageSet { .. } => "other",
            RecordSetEntry::Partial(_) => "partial",
            RecordSetEntry::Malformed(_) => "malformed",
        })
        .collect();
    assert_eq!(kinds, ["batch", "old", "batch", "partial"]);
    check_record_set(&set);
    check_record_set(&[0xff; 30]);
}

#[test]
fn patch_changes_only_the_value_and_the_checksum() {
    let mut raw = some_records();
    raw[0].headers.push((KEY.to_vec(), Some(VALUE.to_vec())));
    let before = batch_of(&raw, CompressionCodec::None, SnappyFraming::Raw);
    let mut after = before.clone();
    let outcome = HeaderPatcher::default().patch(&mut after, |record, patches| {
        if let Some(header) = record
            .last_header(KEY)
            .filter(|header| header.value == Some(VALUE))
        {
            assert!(patches.overwrite(record, &header, 36, b"00f067aa0ba902b7"));
            assert!(!patches.overwrite(record, &header, 40, b"00f067aa0ba902b7"));
        }
    });
    assert_eq!(
        (outcome, after.len()),
        (BatchOutcome::Changed(1), before.len())
    );
    raw[0].headers[4].1 = Some(b"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01".to_vec());
    assert_eq!(
        after,
        batch_of(&raw, CompressionCodec::None, SnappyFraming::Raw)
    );
}

fn any_record() -> impl Strategy<Value = RawRecord> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    let headers = proptest::collection::vec(("[a-z]{1,8}", bytes()), 0..5);
    (any::<i32>(), bytes(), bytes(), headers).prop_map(|(timestamp_delta, key, value, headers)| {
        RawRecord {
            timestamp_delta: i64::from(timestamp_delta),
            key,
            value,
            headers: headers
                .into_iter()
                .map(|(key, value)| (key.into_bytes(), value))
                .collect(),
        }
    })
}

/// Decodes a batch with another implementation, which keeps only the last header of each key.
fn decode_elsewhere(bytes: &[u8]) -> Vec<DecodedRecord> {
    let mut input = bytes::Bytes::copy_from_slice(bytes);
    let set = RecordBatchDecoder::decode(&mut input).unwrap();
    let bytes = |value: &Option<bytes::Bytes>| value.as_ref().map(|value| value.to_vec());
    let decoded = set.records.iter().map(|record| {
        let headers = record
            .headers
            .iter()
            .map(|(key, value)| (key.as_bytes().to_vec(), bytes(value)))
            .collect();
        (
            record.timestamp - 1_700_000_000_000,
            (record.offset - 7) as i32,
            bytes(&record.key),
            bytes(&record.value),
            headers,
        )
    });
    decoded.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn injected_batches_are_decoded_elsewhere(
        mut raw in proptest::collection::vec(any_record(), 1..30), codec in 0..CODECS.len(),
    ) {
        for record in &mut raw {
            record.headers.sort();
            record.headers.dedup_by(|one, other| one.0 == other.0);
        }
        let (codec, snappy) = CODECS[codec];
        let bytes = batch_of(&raw, codec, snappy);
        check_record_set(&bytes);
        prop_assert_eq!(decode_elsewhere(&bytes), expected_records(&raw));
        let (outcome, out) = inject(&bytes, &LIMITS);
        prop_assert_eq!(outcome, BatchOutcome::Changed(raw.len() as u32));
        for record in &mut raw {
            record.headers.push((KEY.to_vec(), Some(VALUE.to_vec())));
        }
        prop_assert_eq!(decode_elsewhere(&out), expected_records(&raw));
    }

    #[test]
    fn truncated_or_damaged_batches_never_panic(
        raw in proptest::collection::vec(any_record(), 1..5),
        codec in 0..CODECS.len(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (codec, snappy) = CODECS[codec];
        let mut bytes = batch_of(&raw, codec, snappy);
        check_record_set(&bytes[..at.index(bytes.len())]);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        check_record_set(&bytes);
        update_checksum(&mut bytes);
        check_record_set(&bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check_record_set_and_payload(&bytes);
    }
}

/// The other implementation compresses with the C libraries that clients use.
#[test]
fn records_compressed_elsewhere_are_read() {
    use kafka_protocol::records::{RecordBatchEncoder, RecordEncodeOptions};
    let plain = batch_of(
        &[RawRecord {
            value: Some(vec![9; 100_000]),
            ..RawRecord::default()
        }],
        CompressionCodec::None,
        SnappyFraming::Raw,
    );
    let set = RecordBatchDecoder::decode(&mut bytes::Bytes::from(plain)).unwrap();
    for compression in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let mut out = bytes::BytesMut::new();
        RecordBatchEncoder::encode(
            &mut out,
            set.records.iter(),
            &RecordEncodeOptions {
                version: 2,
                compression,
            },
        )
        .unwrap();
        let decoded = decode_records(RecordBatch::new(&out).unwrap()).unwrap();
        assert_eq!(decoded[0].3, Some(vec![9; 100_000]), "{compression:?}");
        check_record_set(&out);
    }
}

/// Returns record batches that Apache Kafka's own classes wrote; the program is in `goldens/`.
fn java_goldens() -> Vec<Value> {
    include_str!("goldens/batches.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn from_hex(text: &Value) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    text.as_str()
        .unwrap()
        .as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn batches_have_the_values_that_java_wrote_in_every_codec() {
    let lines = java_goldens();
    assert_eq!(lines.len(), 9);
    for line in &lines {
        let bytes = from_hex(&line["batch"]);
        let batch = RecordBatch::new(&bytes).unwrap();
        assert_eq!(
            format!("{:?}", batch.codec()).to_lowercase(),
            line["codec"].as_str().unwrap()
        );
        assert!(batch.has_valid_checksum() && batch.is_transactional() && !batch.is_control());
        assert_eq!((batch.producer_id(), batch.base_sequence()), (42, 11));
        let decoded = decode_records(batch).unwrap();
        assert_eq!(
            decoded.len(),
            usize::try_from(line["count"].as_u64().unwrap()).unwrap()
        );
        check_record_set(&bytes);
        if line["name"] == "small" {
            assert_eq!(to_json(&decoded, batch.base_timestamp().0), line["records"]);
        }
    }
}

fn to_json(decoded: &[DecodedRecord], base: i64) -> Value {
    let record = |(time, _, key, value, headers): &DecodedRecord| {
        let bytes = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(to_hex);
        let headers: Vec<_> = headers
            .iter()
            .map(|(key, value)| json!([to_hex(key), bytes(value)]))
            .collect();
        json!([base + time, bytes(key), bytes(value), headers])
    };
    decoded.iter().map(record).collect()
}

#[test]
fn injected_records_are_the_bytes_that_java_writes() {
    let mut injected = 0;
    for line in java_goldens().iter().filter(|line| line["name"] == "small") {
        let (bytes, expected) = (from_hex(&line["batch"]), from_hex(&line["injected"]));
        let mut out = Vec::new();
        let outcome = HeaderInjector::default().inject(
            RecordBatch::new(&bytes).unwrap(),
            &LIMITS,
            &mut out,
            |_, headers| {
                headers.append(KEY, Some(VALUE));
            },
        );
        assert_eq!(outcome, BatchOutcome::Changed(3), "{}", line["codec"]);
        let (batch, expected) = (
            RecordBatch::new(&out).unwrap(),
            RecordBatch::new(&expected).unwrap(),
        );
        let mut plain = Vec::new();
        CodecPool::default()
            .decompress(batch.codec(), batch.payload(), 1 << 20, &mut plain)
            .unwrap();
        assert_eq!(plain, expected.payload(), "{}", line["codec"]);
        if batch.codec() == CompressionCodec::None {
            assert_eq!(batch, expected);
        }
        injected += 1;
    }
    assert_eq!(injected, 5);
}

/// The inputs that fuzzing starts from, and every one that once went wrong.
#[test]
fn the_fuzz_seeds_hold() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/kafka_batch");
    let mut count = 0;
    for entry in std::fs::read_dir(seeds).unwrap() {
        check_record_set_and_payload(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 7, "the seeds are gone");
}
