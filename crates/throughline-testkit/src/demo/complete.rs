//! Checks whether all spans of a checkout have arrived.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::eshop::{DemoMode, TOPIC};
use crate::legacy_span::{LegacySpan, spans};

/// Service and server span of each request of a checkout.
const SERVER_SPANS: [(&str, &str); 5] = [
    ("eshop", "GET /checkout"),
    ("inventory", "GET /createOrder"),
    ("billing", "GET /payment"),
    ("delivery", "GET /arrangeDelivery"),
    ("notification", "GET /sendEmail"),
];

/// Returns the spans that are missing from these traces (Jaeger's JSON) of one checkout; an empty
/// list means complete.
///
/// Complete means: every server span is there, the spans of the message are there if the mode
/// records them, and every referenced parent is there. Each service exports at its own pace, so the
/// last server's span may arrive before another's.
pub(crate) fn missing_spans(mode: DemoMode, traces: &[Value]) -> Vec<String> {
    let spans: Vec<LegacySpan<'_>> = traces.iter().flat_map(spans).collect();
    let mut missing = Vec::new();
    let mut expect = |service: &str, operation: &str| {
        if !spans
            .iter()
            .any(|span| span.service == service && span.operation == operation)
        {
            missing.push(format!("no span {operation} of {service}"));
        }
    };
    for (service, operation) in SERVER_SPANS {
        expect(service, operation);
    }
    // Mode rest does not instrument Kafka.
    if mode != DemoMode::Rest {
        expect("eshop", &format!("To_{TOPIC}"));
        expect("kafka-consumer", &format!("From_{TOPIC}"));
    }
    // An unknown parent is still in transit: its service exports at its own pace.
    let known: BTreeSet<_> = spans.iter().map(|span| span.id).collect();
    for span in &spans {
        for parent in span
            .parents
            .iter()
            .filter(|parent| !known.contains(*parent))
        {
            missing.push(format!(
                "span {} of {} references span {}, which is missing",
                span.operation, span.service, parent.1
            ));
        }
    }
    missing
}

/// Returns the ids of all spans, to detect late arrivals between two polls.
pub(crate) fn span_ids(traces: &[Value]) -> BTreeSet<String> {
    traces
        .iter()
        .flat_map(spans)
        .map(|span| format!("{}/{}", span.id.0, span.id.1))
        .collect()
}

/// Returns service and span name of each part of a checkout in every mode: its requests and, in
/// both directions, its record.
pub(super) fn parts() -> impl Iterator<Item = (&'static str, &'static str)> {
    SERVER_SPANS.into_iter().chain([
        ("eshop", "To_eshop-topic"),
        ("kafka-consumer", "From_eshop-topic"),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Builds a trace from (service, operation, id, parent id or "").
    fn trace(id: &str, spans: &[(&str, &str, &str, &str)]) -> Value {
        let processes: serde_json::Map<String, Value> = spans
            .iter()
            .map(|(service, ..)| (format!("p-{service}"), json!({"serviceName": service})))
            .collect();
        let spans: Vec<Value> = spans
            .iter()
            .map(|(service, operation, span, parent)| {
                let reference = json!({"refType": "CHILD_OF", "traceID": id, "spanID": parent});
                let references = if parent.is_empty() {
                    vec![]
                } else {
                    vec![reference]
                };
                let process = format!("p-{service}");
                json!({"traceID": id, "spanID": span, "operationName": operation,
                       "processID": process, "references": references})
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
    fn complete_trace_has_no_missing_spans() {
        assert_eq!(
            missing_spans(DemoMode::Linked, &[trace("a", &LINKED)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_missing_span_is_reported() {
        for (index, (service, operation, ..)) in LINKED.iter().enumerate() {
            let mut spans = LINKED.to_vec();
            spans.remove(index);
            let missing = missing_spans(DemoMode::Linked, &[trace("a", &spans)]);
            assert!(
                missing.contains(&format!("no span {operation} of {service}")),
                "{missing:?}"
            );
        }
    }

    #[test]
    fn missing_parent_is_reported() {
        let mut spans = LINKED.to_vec();
        spans.push(("billing", "DBAccess.save2db", "9", "8"));
        let expected = ["span DBAccess.save2db of billing references span 8, which is missing"];
        assert_eq!(
            missing_spans(DemoMode::Linked, &[trace("a", &spans)]),
            expected
        );
    }

    #[test]
    fn mode_rest_is_complete_with_two_traces() {
        let second = [("notification", "GET /sendEmail", "4", "")];
        let traces = [trace("a", &LINKED[..4]), trace("b", &second)];
        assert_eq!(missing_spans(DemoMode::Rest, &traces), Vec::<String>::new());
        assert_eq!(
            missing_spans(DemoMode::Kafka, &traces).len(),
            2,
            "mode kafka requires the To_ and From_ spans"
        );
    }
}
