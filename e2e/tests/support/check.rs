//! What must hold of the records: each one there, once, in order, as it was sent.

use std::collections::{BTreeMap, BTreeSet};

use super::record::{RecordHeaders, TestRecord};
use super::run::{AckedRecord, ConsumedRecord};

/// The place of a record in its topic.
pub(crate) type RecordPosition = (i32, i64);

/// What a record's `traceparent` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordContext {
    pub(crate) trace: String,
    pub(crate) span: String,
    /// It was in the record already when the producer sent it.
    pub(crate) came_along: bool,
}

/// How strictly headers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderOrder {
    Kept,
    /// The consumer keeps headers in a map: only values of one name have an order.
    WithinName,
}

/// Whether records came by way of the sidecar, which gave each a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContextInjection {
    Injected,
    None,
}

/// Every record was acknowledged once, and in each partition in the order of the input.
pub(crate) fn acknowledged_in_order(records: &[TestRecord], acknowledged: &[AckedRecord]) {
    let mut indices: Vec<usize> = acknowledged.iter().map(|ack| ack.index).collect();
    indices.sort_unstable();
    assert!(
        indices.iter().copied().eq(0..records.len()),
        "not acknowledged once each: {indices:?}"
    );
    let mut by_place: Vec<&AckedRecord> = acknowledged.iter().collect();
    by_place.sort_by_key(|ack| (ack.partition, ack.offset));
    for pair in by_place.windows(2) {
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

/// What a producer without acknowledgements would have been told, when the topic was empty.
pub(crate) fn counted(records: &[TestRecord]) -> Vec<AckedRecord> {
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    let place = |(index, record): (usize, &TestRecord)| {
        let offset = next.entry(record.partition).or_default();
        *offset += 1;
        AckedRecord {
            index,
            partition: record.partition,
            offset: *offset - 1,
            committed: true,
        }
    };
    records.iter().enumerate().map(place).collect()
}

/// Where the records must be when nobody has told: as many as were consumed, in order, in one partition.
pub(crate) fn in_order(consumed: &[ConsumedRecord]) -> BTreeMap<RecordPosition, usize> {
    consumed
        .iter()
        .enumerate()
        .map(|(index, record)| ((record.partition, record.offset), index))
        .collect()
}

/// Where the records must be.
pub(crate) fn places(acknowledged: &[AckedRecord]) -> BTreeMap<RecordPosition, usize> {
    acknowledged
        .iter()
        .map(|ack| ((ack.partition, ack.offset), ack.index))
        .collect()
}

/// What was consumed is what was sent: each record once, in order, byte-equal. Gives the context that each has.
pub(crate) fn arrived(
    records: &[TestRecord],
    places: &BTreeMap<RecordPosition, usize>,
    consumed: &[ConsumedRecord],
    order: HeaderOrder,
    contexts: ContextInjection,
) -> BTreeMap<RecordPosition, RecordContext> {
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for record in consumed {
        let place = (record.partition, record.offset);
        let before = last.insert(record.partition, record.offset);
        assert!(
            before.is_none_or(|before| before < record.offset),
            "{place:?} came after {before:?}"
        );
        let index = places
            .get(&place)
            .unwrap_or_else(|| panic!("nobody sent what is at {place:?}"));
        found.extend(
            same(&records[*index], record, order, contexts).map(|context| (place, context)),
        );
    }
    let missing: Vec<&RecordPosition> = places
        .keys()
        .filter(|(partition, offset)| !has(consumed, *partition, *offset))
        .collect();
    assert!(
        missing.is_empty(),
        "{} records never came: {missing:?}",
        missing.len()
    );
    found
}

/// The first delivery of each record. A group whose coordinator died may have lost what it had not committed, and begins there again:
/// Kafka promises it no more, with or without a sidecar.
pub(crate) fn first_deliveries(consumed: Vec<ConsumedRecord>) -> Vec<ConsumedRecord> {
    let mut seen = BTreeSet::new();
    consumed
        .into_iter()
        .filter(|record| seen.insert((record.partition, record.offset)))
        .collect()
}

/// The batches were compressed so, but for those that would only have grown: librdkafka sends such as they are.
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

/// The record is the same, but for one context if the sidecar gave it one. Gives the context.
pub(crate) fn same(
    sent: &TestRecord,
    got: &ConsumedRecord,
    order: HeaderOrder,
    contexts: ContextInjection,
) -> Option<RecordContext> {
    let place = (got.partition, got.offset);
    assert_eq!(sent.key, got.key, "the key at {place:?}");
    assert_eq!(sent.value, got.value, "the value at {place:?}");
    if let Some(timestamp) = sent.timestamp {
        assert_eq!(timestamp, got.timestamp, "the timestamp at {place:?}");
    }
    let (mut own, mut headers) = (sent.headers.clone(), got.headers.clone());
    let has_context = own.iter().any(|(name, _)| name == b"traceparent");
    let context = find_context(&headers).map(|context| RecordContext {
        came_along: has_context,
        ..context
    });
    if contexts == ContextInjection::Injected && !has_context {
        let before = headers.len();
        headers.retain(|(name, _)| name != b"traceparent");
        assert_eq!(
            before - headers.len(),
            1,
            "contexts in the record at {place:?}"
        );
    }
    if order == HeaderOrder::WithinName {
        sort(&mut own);
        sort(&mut headers);
    }
    assert_eq!(legible(&own), legible(&headers), "the headers at {place:?}");
    match contexts {
        ContextInjection::Injected => {
            Some(context.unwrap_or_else(|| panic!("no context at {place:?}")))
        }
        ContextInjection::None => None,
    }
}

/// Headers as a person can compare them.
fn legible(headers: &RecordHeaders) -> Vec<String> {
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
    // Stable: values of one name stay as they are.
    headers.sort_by(|(one, _), (other, _)| one.cmp(other));
}

/// Trace and span of the first `traceparent` (W3C Trace Context, version 00).
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
        came_along: false,
    })
}
