//! Whether all spans of a checkout are in, told from the spans themselves.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::eshop::{DemoMode, TOPIC};

/// Who answers what in one checkout.
const SERVERS: [(&str, &str); 5] = [
    ("eshop", "GET /checkout"),
    ("inventory", "GET /createOrder"),
    ("billing", "GET /payment"),
    ("delivery", "GET /arrangeDelivery"),
    ("notification", "GET /sendEmail"),
];

/// What is still missing from these traces (Jaeger's JSON) of one checkout; nothing when they are complete.
///
/// Complete means: every server of the story has ended its span, the message's spans are there if the mode makes them,
/// and every parent that a span names is there. Each service sends its spans in its own time, so that the last server's
/// may well come in before another's.
pub(super) fn missing(mode: DemoMode, traces: &[Value]) -> Vec<String> {
    let spans: Vec<JaegerSpan<'_>> = traces.iter().flat_map(spans).collect();
    let mut missing = Vec::new();
    let mut expect = |service: &str, operation: &str| {
        if !spans
            .iter()
            .any(|span| span.service == service && span.operation == operation)
        {
            missing.push(format!("no span {operation} of {service}"));
        }
    };
    for (service, operation) in SERVERS {
        expect(service, operation);
    }
    if mode != DemoMode::Rest {
        expect("eshop", &format!("To_{TOPIC}"));
        expect("kafka-consumer", &format!("From_{TOPIC}"));
    }
    let known: BTreeSet<_> = spans.iter().map(|span| span.id).collect();
    for span in &spans {
        for parent in span
            .parents
            .iter()
            .filter(|parent| !known.contains(*parent))
        {
            missing.push(format!(
                "span {} of {} names a span {} that is not there",
                span.operation, span.service, parent.1
            ));
        }
    }
    missing
}

/// When the first span of a trace began, in microseconds since the epoch.
pub(super) fn begin(trace: &Value) -> Option<u64> {
    list(trace, "spans")
        .iter()
        .filter_map(|span| span.get("startTime")?.as_u64())
        .min()
}

/// The ids of all spans, to see whether more came in between two looks.
pub(super) fn span_ids(traces: &[Value]) -> BTreeSet<String> {
    traces
        .iter()
        .flat_map(spans)
        .map(|span| format!("{}/{}", span.id.0, span.id.1))
        .collect()
}

/// What is told of a checkout however it is traced: its requests and, both ways, its record.
pub(super) fn parts() -> impl Iterator<Item = (&'static str, &'static str)> {
    SERVERS.into_iter().chain([
        ("eshop", "To_eshop-topic"),
        ("kafka-consumer", "From_eshop-topic"),
    ])
}

/// What of a span matters here.
pub(super) struct JaegerSpan<'a> {
    /// Trace id and span id.
    pub(super) id: (&'a str, &'a str),
    pub(super) service: &'a str,
    pub(super) operation: &'a str,
    /// What it refers to, as trace id and span id.
    pub(super) parents: Vec<(&'a str, &'a str)>,
    tags: &'a [Value],
}

// === impl Span ===

impl<'a> JaegerSpan<'a> {
    /// The text of a tag.
    pub(super) fn tag(&self, key: &str) -> Option<&'a str> {
        self.tags
            .iter()
            .find(|tag| text(tag, "key") == key)
            .and_then(|tag| tag.get("value")?.as_str())
    }
}

pub(super) fn spans(trace: &Value) -> impl Iterator<Item = JaegerSpan<'_>> {
    list(trace, "spans").iter().map(|span| {
        let process = format!("/processes/{}/serviceName", text(span, "processID"));
        JaegerSpan {
            id: (text(span, "traceID"), text(span, "spanID")),
            service: trace
                .pointer(&process)
                .and_then(Value::as_str)
                .unwrap_or_default(),
            operation: text(span, "operationName"),
            parents: list(span, "references")
                .iter()
                .map(|r| (text(r, "traceID"), text(r, "spanID")))
                .collect(),
            tags: list(span, "tags"),
        }
    })
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A trace of spans given as (service, operation, id, parent's id or "").
    fn trace(id: &str, spans: &[(&str, &str, &str, &str)]) -> Value {
        let processes: serde_json::Map<String, Value> = spans
            .iter()
            .map(|(service, ..)| (format!("p-{service}"), json!({"serviceName": service})))
            .collect();
        let spans: Vec<Value> = spans
            .iter()
            .map(|(service, operation, span, parent)| {
                let reference = json!({"refType": "CHILD_OF", "traceID": id, "spanID": parent});
                let references = if parent.is_empty() { vec![] } else { vec![reference] };
                json!({"traceID": id, "spanID": span, "operationName": operation, "processID": format!("p-{service}"),
                       "references": references})
            })
            .collect();
        json!({"traceID": id, "spans": spans, "processes": processes})
    }

    const LINKED: [(&str, &str, &str, &str); 7] = [
        ("eshop", "GET /checkout", "1", ""),
        ("inventory", "GET /createOrder", "5", "1"),
        ("billing", "GET /payment", "6", "1"),
        ("delivery", "GET /arrangeDelivery", "7", "1"),
        ("eshop", "To_eshop-topic", "2", "1"),
        ("kafka-consumer", "From_eshop-topic", "3", "2"),
        ("notification", "GET /sendEmail", "4", "3"),
    ];

    #[test]
    fn nothing_is_missing_from_a_whole_trace() {
        assert_eq!(
            missing(DemoMode::Linked, &[trace("a", &LINKED)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_part_of_the_story_is_missed() {
        for (index, (service, operation, ..)) in LINKED.iter().enumerate() {
            let mut spans = LINKED.to_vec();
            spans.remove(index);
            let missing = missing(DemoMode::Linked, &[trace("a", &spans)]);
            assert!(
                missing.contains(&format!("no span {operation} of {service}")),
                "{missing:?}"
            );
        }
    }

    #[test]
    fn a_parent_that_is_not_in_yet_is_missed() {
        let mut spans = LINKED.to_vec();
        spans.push(("billing", "DBAccess.save2db", "9", "8"));
        let expected = ["span DBAccess.save2db of billing names a span 8 that is not there"];
        assert_eq!(missing(DemoMode::Linked, &[trace("a", &spans)]), expected);
    }

    #[test]
    fn without_kafka_spans_two_traces_are_a_whole_story() {
        let second = [("notification", "GET /sendEmail", "4", "")];
        let traces = [trace("a", &LINKED[..4]), trace("b", &second)];
        assert_eq!(missing(DemoMode::Rest, &traces), Vec::<String>::new());
        assert_eq!(
            missing(DemoMode::Kafka, &traces).len(),
            2,
            "To_ and From_ are missed in mode kafka"
        );
    }
}
