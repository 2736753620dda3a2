//! From the spans of a request to records: one for each process, or several where it is too large.

use std::borrow::Cow;
use std::collections::BTreeMap;

use throughline_collector::ProcessIdentity;
use throughline_model::Span;
use throughline_otlp::encode_protobuf;

/// Maximum length of a key. Names come from senders.
const MAX_KEY_BYTES: usize = 512;

/// A record to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SpanRecord<'a> {
    /// Process of the spans.
    pub(super) key: String,
    /// `ExportTraceServiceRequest` in protobuf.
    pub(super) value: Cow<'a, [u8]>,
}

/// The records of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SpanRecords<'a> {
    pub(super) records: Vec<SpanRecord<'a>>,
    /// Number of spans that are larger than a record.
    pub(super) too_large: u64,
}

// === impl SpanRecords ===

impl<'a> SpanRecords<'a> {
    /// Makes records whose values have at most this size. `otlp` has exactly these spans.
    pub(super) fn of(spans: &[Span], otlp: Option<&'a [u8]>, max_bytes: usize) -> Self {
        let mut processes: BTreeMap<ProcessIdentity<'_>, Vec<&Span>> = BTreeMap::new();
        for span in spans {
            processes
                .entry(ProcessIdentity::of(span))
                .or_default()
                .push(span);
        }
        let mut records = Self::default();
        // Most requests are those of one process, and are written as they came.
        let otlp = otlp.filter(|otlp| processes.len() == 1 && otlp.len() <= max_bytes);
        for (process, spans) in &processes {
            let key = key_of(process);
            match otlp {
                Some(otlp) => records.push(key, Cow::Borrowed(otlp)),
                None => records.push_within(&key, spans, max_bytes),
            }
        }
        records
    }

    fn push(&mut self, key: String, value: Cow<'a, [u8]>) {
        self.records.push(SpanRecord { key, value });
    }

    /// Adds spans as one record, or as two halves where that would be too large.
    fn push_within(&mut self, key: &str, spans: &[&Span], max_bytes: usize) {
        let value = encode_protobuf(spans.iter().copied());
        if value.len() <= max_bytes {
            self.push(key.to_owned(), Cow::Owned(value));
        } else if spans.len() > 1 {
            let (first, second) = spans.split_at(spans.len() / 2);
            self.push_within(key, first, max_bytes);
            self.push_within(key, second, max_bytes);
        } else {
            self.too_large += 1;
        }
    }
}

fn key_of(process: &ProcessIdentity<'_>) -> String {
    let mut key = process.key();
    key.truncate(key.floor_char_boundary(MAX_KEY_BYTES));
    key
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use throughline_model::{
        DroppedCounts, KeyValue, Resource, Scope, SpanId, SpanKind, Status, TraceId,
    };
    use throughline_otlp::decode_protobuf;

    use super::*;

    fn span(id: u64, service: &str, instance: &str, note: &str) -> Span {
        let attributes = [("service.name", service), ("service.instance.id", instance)];
        let attributes = attributes
            .into_iter()
            .filter(|(_, value)| !value.is_empty());
        let attributes = attributes.map(|(key, value)| KeyValue::new(key, value.to_owned()));
        Span {
            trace_id: TraceId::from_hex("463ac35c9f6413ad463ac35c9f6413ad").unwrap(),
            span_id: SpanId::from_hex(&format!("{id:016x}")).unwrap(),
            parent_span_id: None,
            flags: 0,
            trace_state: String::new(),
            name: "GET /".to_owned(),
            kind: SpanKind::Server,
            start: id,
            end: id + 1,
            attributes: vec![KeyValue::new("note", note.to_owned())],
            events: Vec::new(),
            links: Vec::new(),
            status: Status::Unset,
            status_message: Box::default(),
            dropped: DroppedCounts::default(),
            resource: Arc::new(Resource {
                attributes: attributes.collect(),
                schema_url: String::new(),
            }),
            scope: Arc::new(Scope::default()),
        }
    }

    fn decoded(records: &SpanRecords<'_>) -> Vec<(String, Vec<Span>)> {
        let decoded = records.records.iter().map(|record| {
            let spans = decode_protobuf(&record.value).unwrap().spans;
            (record.key.clone(), spans)
        });
        decoded.collect()
    }

    #[test]
    fn spans_of_one_process_share_a_record_and_its_key() {
        let spans = [
            span(1, "shop", "a", ""),
            span(2, "shop", "b", ""),
            span(3, "billing", "", ""),
            span(4, "shop", "a", ""),
        ];
        let records = SpanRecords::of(&spans, Some(b"unused"), 1 << 20);
        let [one, two, three, four] = spans;
        assert_eq!(
            decoded(&records),
            [
                ("billing".to_owned(), vec![three]),
                ("shop/a".to_owned(), vec![one, four]),
                ("shop/b".to_owned(), vec![two]),
            ]
        );
    }

    #[test]
    fn the_request_of_one_process_is_written_as_it_came() {
        let spans = [span(1, "shop", "a", ""), span(2, "shop", "a", "")];
        let records = SpanRecords::of(&spans, Some(b"as it came"), 1 << 20);
        let [record] = &records.records[..] else {
            panic!("{records:?}");
        };
        assert_eq!(*record.value, *b"as it came");
    }

    #[test]
    fn large_requests_are_split_and_too_large_spans_are_counted() {
        let note = "x".repeat(1_000);
        let mut spans: Vec<Span> = (1..=9).map(|id| span(id, "shop", "a", &note)).collect();
        spans.push(span(10, "shop", "a", &"x".repeat(5_000)));
        let otlp = encode_protobuf(&spans);
        let records = SpanRecords::of(&spans, Some(&otlp), 4_000);
        assert_eq!(records.too_large, 1);
        assert!(records.records.iter().all(|it| it.value.len() <= 4_000));
        let written = decoded(&records).into_iter().flat_map(|(_, spans)| spans);
        assert_eq!(written.collect::<Vec<_>>(), spans[..9]);
    }

    #[test]
    fn long_names_have_a_short_key() {
        let spans = [span(1, &"ü".repeat(1_000), "a", "")];
        let records = SpanRecords::of(&spans, None, 1 << 20);
        assert_eq!(records.records[0].key.len(), MAX_KEY_BYTES);
    }
}
