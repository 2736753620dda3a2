//! Checks of records: each one is there, once, in order, unchanged.

use std::collections::{BTreeMap, BTreeSet};

use super::record::{RecordHeaders, TestRecord};
use super::run::{AckedRecord, ConsumedRecord};

/// Partition and offset of a record.
pub(crate) type RecordPosition = (i32, i64);

/// Trace context of a record, from its `traceparent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordContext {
    pub(crate) trace: String,
    pub(crate) span: String,
    /// The producer sent this context itself.
    pub(crate) from_producer: bool,
}

/// Strictness of the comparison of headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderOrder {
    Kept,
    /// The consumer keeps headers in a map: only values of one name keep their order.
    WithinName,
}

/// Whether a sidecar injected a context into each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContextInjection {
    Injected,
    None,
}

/// Checks that every record was acknowledged once, in input order within each partition.
pub(crate) fn acknowledged_in_order(records: &[TestRecord], acknowledged: &[AckedRecord]) {
    let mut indices: Vec<usize> = acknowledged.iter().map(|ack| ack.index).collect();
    indices.sort_unstable();
    assert!(
        indices.iter().copied().eq(0..records.len()),
        "not acknowledged once each: {indices:?}"
    );
    let mut by_position: Vec<&AckedRecord> = acknowledged.iter().collect();
    by_position.sort_by_key(|ack| (ack.partition, ack.offset));
    for pair in by_position.windows(2) {
        if let [first, second] = pair
            && first.partition == second.partition
        {
            assert_ne!(
                first.offset, second.offset,
                "two records have one offset: {first:?}, {second:?}"
            );
            assert!(
                first.index < second.index,
                "the order is not that of the input: {first:?}, {second:?}"
            );
        }
    }
    for ack in acknowledged {
        assert_eq!(
            ack.partition, records[ack.index].partition,
            "record {}",
            ack.index
        );
    }
}

/// Returns the positions of records that were produced with acks=0 into an empty topic.
pub(crate) fn positions_without_acks(records: &[TestRecord]) -> Vec<AckedRecord> {
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    let position = |(index, record): (usize, &TestRecord)| {
        let offset = next.entry(record.partition).or_default();
        *offset += 1;
        AckedRecord {
            index,
            partition: record.partition,
            offset: *offset - 1,
            committed: true,
        }
    };
    records.iter().enumerate().map(position).collect()
}

/// Returns the expected positions without acknowledgements: one partition, in input order.
pub(crate) fn in_order(consumed: &[ConsumedRecord]) -> BTreeMap<RecordPosition, usize> {
    consumed
        .iter()
        .enumerate()
        .map(|(index, record)| ((record.partition, record.offset), index))
        .collect()
}

/// Returns the expected positions of the records.
pub(crate) fn positions_of(acknowledged: &[AckedRecord]) -> BTreeMap<RecordPosition, usize> {
    acknowledged
        .iter()
        .map(|ack| ((ack.partition, ack.offset), ack.index))
        .collect()
}

/// Checks that consumed records equal sent records: each once, in order, byte-equal. Returns the
/// context of each.
pub(crate) fn arrived(
    records: &[TestRecord],
    positions: &BTreeMap<RecordPosition, usize>,
    consumed: &[ConsumedRecord],
    order: HeaderOrder,
    contexts: ContextInjection,
) -> BTreeMap<RecordPosition, RecordContext> {
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for record in consumed {
        let position = (record.partition, record.offset);
        let before = last.insert(record.partition, record.offset);
        assert!(
            before.is_none_or(|before| before < record.offset),
            "{position:?} came after {before:?}"
        );
        let index = positions
            .get(&position)
            .unwrap_or_else(|| panic!("unexpected record at {position:?}"));
        found.extend(
            check_record(&records[*index], record, order, contexts)
                .map(|context| (position, context)),
        );
    }
    let missing: Vec<&RecordPosition> = positions
        .keys()
        .filter(|(partition, offset)| !has(consumed, *partition, *offset))
        .collect();
    assert!(
        missing.is_empty(),
        "{} records are missing: {missing:?}",
        missing.len()
    );
    found
}

/// Keeps the first delivery of each record. A group whose coordinator died may lose uncommitted
/// progress and read again: Kafka does not guarantee more, with or without a sidecar.
pub(crate) fn first_deliveries(consumed: Vec<ConsumedRecord>) -> Vec<ConsumedRecord> {
    let mut seen = BTreeSet::new();
    consumed
        .into_iter()
        .filter(|record| seen.insert((record.partition, record.offset)))
        .collect()
}

/// Checks that batches were compressed with `codec`, except for those that would have grown:
/// librdkafka sends such batches uncompressed.
pub(crate) fn codec(consumed: &[ConsumedRecord], codec: &str) {
    let others: Vec<&str> = consumed
        .iter()
        .map(|record| record.codec.as_str())
        .filter(|other| *other != codec)
        .collect();
    assert!(
        others.len() < consumed.len() && others.iter().all(|other| *other == "none"),
        "not {codec}: {others:?}"
    );
}

fn has(consumed: &[ConsumedRecord], partition: i32, offset: i64) -> bool {
    consumed
        .iter()
        .any(|record| record.partition == partition && record.offset == offset)
}

/// Checks that the record is unchanged, except for an injected context. Returns the context.
pub(crate) fn check_record(
    sent: &TestRecord,
    got: &ConsumedRecord,
    order: HeaderOrder,
    contexts: ContextInjection,
) -> Option<RecordContext> {
    let position = (got.partition, got.offset);
    assert_eq!(sent.key, got.key, "the key at {position:?}");
    assert_eq!(sent.value, got.value, "the value at {position:?}");
    if let Some(timestamp) = sent.timestamp {
        assert_eq!(timestamp, got.timestamp, "the timestamp at {position:?}");
    }
    let (mut own, mut headers) = (sent.headers.clone(), got.headers.clone());
    let has_context = own.iter().any(|(name, _)| name == b"traceparent");
    let context = find_context(&headers).map(|context| RecordContext {
        from_producer: has_context,
        ..context
    });
    if contexts == ContextInjection::Injected && !has_context {
        let before = headers.len();
        headers.retain(|(name, _)| name != b"traceparent");
        assert_eq!(
            before - headers.len(),
            1,
            "contexts in the record at {position:?}"
        );
    }
    if order == HeaderOrder::WithinName {
        sort(&mut own);
        sort(&mut headers);
    }
    assert_eq!(
        format_headers(&own),
        format_headers(&headers),
        "the headers at {position:?}"
    );
    match contexts {
        ContextInjection::Injected => {
            Some(context.unwrap_or_else(|| panic!("no context at {position:?}")))
        }
        ContextInjection::None => None,
    }
}

/// Formats headers for a failure message.
fn format_headers(headers: &RecordHeaders) -> Vec<String> {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let value = |value: &Option<Vec<u8>>| {
        value
            .as_deref()
            .map_or_else(|| "null".to_owned(), |bytes| format!("\"{}\"", text(bytes)))
    };
    headers
        .iter()
        .map(|(name, content)| format!("\"{}\": {}", text(name), value(content)))
        .collect()
}

fn sort(headers: &mut RecordHeaders) {
    // A stable sort keeps the order of values of one name.
    headers.sort_by(|(one, _), (other, _)| one.cmp(other));
}

/// Parses the first `traceparent` (W3C Trace Context, version 00).
fn find_context(headers: &RecordHeaders) -> Option<RecordContext> {
    let (_, value) = headers.iter().find(|(name, _)| name == b"traceparent")?;
    let text = String::from_utf8(value.clone()?).ok()?;
    let [version, trace, span, flags] = text.split('-').collect::<Vec<_>>()[..] else {
        panic!("{text}")
    };
    let is_hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte))
    };
    assert!(
        version == "00" && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2),
        "{text}"
    );
    assert!(
        trace.bytes().any(|byte| byte != b'0') && span.bytes().any(|byte| byte != b'0'),
        "{text}"
    );
    Some(RecordContext {
        trace: trace.to_owned(),
        span: span.to_owned(),
        from_producer: false,
    })
}
