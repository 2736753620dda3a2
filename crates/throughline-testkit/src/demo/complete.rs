//! Whether all spans of a checkout are in, told from the spans themselves.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::eshop::{Mode, TOPIC};

/// What is still missing from these traces (Jaeger's JSON) of one checkout; nothing when they are complete.
///
/// Complete means: the first and the last server of the story have ended their spans, the message's spans are there if
/// the mode makes them, and every parent that a span names is there.
pub(super) fn missing(mode: Mode, traces: &[Value]) -> Vec<String> {
    let spans: Vec<Span<'_>> = traces.iter().flat_map(spans).collect();
    let mut missing = Vec::new();
    let mut expect = |service: &str, operation: &str| {
        if !spans.iter().any(|span| span.service == service && span.operation == operation) {
            missing.push(format!("no span {operation} of {service}"));
        }
    };
    expect("eshop", "GET /checkout");
    expect("notification", "GET /sendEmail");
    if mode != Mode::Rest {
        expect("eshop", &format!("To_{TOPIC}"));
        expect("kafka-consumer", &format!("From_{TOPIC}"));
    }
    let known: BTreeSet<_> = spans.iter().map(|span| span.id).collect();
    for span in &spans {
        for parent in span.parents.iter().filter(|parent| !known.contains(*parent)) {
            missing.push(format!(
                "span {} of {} names a span {} that is not there",
                span.operation, span.service, parent.1
            ));
        }
    }
    missing
}

/// The ids of all spans, to see whether more came in between two looks.
pub(super) fn span_ids(traces: &[Value]) -> BTreeSet<String> {
    traces.iter().flat_map(spans).map(|span| format!("{}/{}", span.id.0, span.id.1)).collect()
}

/// What of a span matters here.
struct Span<'a> {
    /// Trace id and span id.
    id: (&'a str, &'a str),
    service: &'a str,
    operation: &'a str,
    /// What it refers to, as trace id and span id.
    parents: Vec<(&'a str, &'a str)>,
}

fn spans(trace: &Value) -> impl Iterator<Item = Span<'_>> {
    list(trace, "spans").iter().map(|span| {
        let process = format!("/processes/{}/serviceName", text(span, "processID"));
        Span {
            id: (text(span, "traceID"), text(span, "spanID")),
            service: trace.pointer(&process).and_then(Value::as_str).unwrap_or_default(),
            operation: text(span, "operationName"),
            parents: list(span, "references").iter().map(|r| (text(r, "traceID"), text(r, "spanID"))).collect(),
        }
    })
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
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
        let processes: serde_json::Map<String, Value> =
            spans.iter().map(|(service, ..)| (format!("p-{service}"), json!({"serviceName": service}))).collect();
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

    const LINKED: [(&str, &str, &str, &str); 4] = [
        ("eshop", "GET /checkout", "1", ""),
        ("eshop", "To_eshop-topic", "2", "1"),
        ("kafka-consumer", "From_eshop-topic", "3", "2"),
        ("notification", "GET /sendEmail", "4", "3"),
    ];

    #[test]
    fn nothing_is_missing_from_a_whole_trace() {
        assert_eq!(missing(Mode::Linked, &[trace("a", &LINKED)]), Vec::<String>::new());
    }

    #[test]
    fn each_end_of_the_story_is_missed() {
        for (index, (service, operation, ..)) in LINKED.iter().enumerate() {
            let mut spans = LINKED.to_vec();
            spans.remove(index);
            let missing = missing(Mode::Linked, &[trace("a", &spans)]);
            assert!(missing.contains(&format!("no span {operation} of {service}")), "{missing:?}");
        }
    }

    #[test]
    fn a_parent_that_is_not_in_yet_is_missed() {
        let mut spans = LINKED.to_vec();
        spans.push(("inventory", "GET /createOrder", "6", "5"));
        let expected = ["span GET /createOrder of inventory names a span 5 that is not there"];
        assert_eq!(missing(Mode::Linked, &[trace("a", &spans)]), expected);
    }

    #[test]
    fn without_kafka_spans_two_traces_are_a_whole_story() {
        let (first, second) = ([LINKED[0]], [("notification", "GET /sendEmail", "4", "")]);
        let traces = [trace("a", &first), trace("b", &second)];
        assert_eq!(missing(Mode::Rest, &traces), Vec::<String>::new());
        assert_eq!(missing(Mode::Kafka, &traces).len(), 2, "To_ and From_ are missed in mode kafka");
    }
}
