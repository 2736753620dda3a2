use super::*;

fn trace(spans: &serde_json::Value) -> TreeTrace {
    let processes = serde_json::json!({
        "p1": { "serviceName": "eshop" }, "p2": { "serviceName": "consumer" },
    });
    serde_json::from_value(
        serde_json::json!({ "traceID": "t", "spans": spans, "processes": processes }),
    )
    .unwrap()
}

fn span(
    id: &str,
    name: &str,
    process: &str,
    times: (u64, u64),
    reference: Option<(&str, &str)>,
) -> serde_json::Value {
    let reference = reference
        .map(|(kind, id)| serde_json::json!({ "refType": kind, "traceID": "t", "spanID": id }));
    serde_json::json!({
        "spanID": id, "operationName": name, "processID": process,
        "startTime": times.0, "duration": times.1,
        "references": reference.into_iter().collect::<Vec<_>>(), "tags": [],
    })
}

#[test]
fn children_are_indented_and_follows_from_is_marked() {
    let trace = trace(&serde_json::json!([
        span(
            "c",
            "From_topic",
            "p2",
            (1_400_000, 2_000),
            Some(("FOLLOWS_FROM", "b"))
        ),
        span("a", "GET /checkout", "p1", (1_000_000, 300_000), None),
        span(
            "b",
            "To_topic",
            "p1",
            (1_200_000, 1_500),
            Some(("CHILD_OF", "a"))
        ),
        span(
            "d",
            "GET",
            "p1",
            (1_100_000, 50_000),
            Some(("CHILD_OF", "a"))
        ),
    ]));
    assert_eq!(
        render(&trace, ColorMode::Plain),
        "trace t: 4 spans of 2 services, 402ms\n\
         \x20     +0s    300ms  eshop GET /checkout\n\
         \x20  +100ms     50ms  \u{251c}\u{2500} eshop GET\n\
         \x20  +200ms    1.5ms  \u{2514}\u{2500} eshop To_topic\n\
         \x20  +400ms      2ms     \u{2514}~> consumer From_topic\n"
    );
}

#[test]
fn errors_and_linked_traces_are_shown() {
    let mut spans = serde_json::json!([span("a", "x", "p1", (0, 1), None)]);
    spans[0]["tags"] = serde_json::json!([
        { "key": "error", "value": true }, { "key": "otel.status_description", "value": "declined" }
    ]);
    spans[0]["references"] =
        serde_json::json!([{ "refType": "FOLLOWS_FROM", "traceID": "u", "spanID": "b" }]);
    let text = render(&trace(&spans), ColorMode::Plain);
    assert!(
        text.ends_with("eshop x  ! declined  ~> trace u\n"),
        "{text}"
    );
}

#[test]
fn every_span_is_shown_once_even_in_a_cycle_of_parents() {
    let trace = trace(&serde_json::json!([
        span("a", "one", "p1", (0, 1), Some(("CHILD_OF", "b"))),
        span("b", "two", "p1", (0, 1), Some(("CHILD_OF", "a"))),
        span("c", "three", "p1", (0, 1), Some(("CHILD_OF", "c"))),
        span("d", "four", "p1", (0, 1), Some(("CHILD_OF", "missing"))),
    ]));
    assert_eq!(render(&trace, ColorMode::Plain).lines().count(), 5);
}

#[test]
fn very_deep_trace_is_rendered_without_stack_overflow() {
    let spans: Vec<_> = (0..20_000u64)
        .map(|depth| {
            let parent = depth.saturating_sub(1).to_string();
            span(
                &depth.to_string(),
                "x",
                "p1",
                (depth, 1),
                (depth > 0).then_some(("CHILD_OF", parent.as_str())),
            )
        })
        .collect();
    let text = render(&trace(&spans.into()), ColorMode::Plain);
    assert_eq!(text.lines().count(), 20_001);
    assert!(text.lines().all(|line| line.len() < 400));
}

fn tagged(id: &str, parent: Option<&str>, tags: &serde_json::Value) -> serde_json::Value {
    let mut span = span(
        id,
        "GET",
        "p1",
        (1_000, 5),
        parent.map(|id| ("CHILD_OF", id)),
    );
    let tags = tags.as_object().unwrap().iter();
    span["tags"] = tags
        .map(|(key, value)| serde_json::json!({ "key": key, "value": value }))
        .collect();
    span
}

#[test]
fn inferred_unknown_and_missing_parents_are_marked_and_carried_ones_are_not() {
    let evidence = "throughline.parent.evidence";
    let confidence = "throughline.parent.confidence";
    let trace = trace(&serde_json::json!([
        tagged("a", None, &serde_json::json!({})),
        tagged("b", Some("a"), &serde_json::json!({ evidence: "header" })),
        tagged(
            "c",
            Some("a"),
            &serde_json::json!({ evidence: "sole", confidence: 0.9996 })
        ),
        tagged(
            "d",
            Some("a"),
            &serde_json::json!({ evidence: "order", confidence: 0.62 })
        ),
        tagged("e", Some("gone"), &serde_json::json!({})),
        tagged("f", None, &serde_json::json!({ evidence: "open" })),
    ]));
    let text = render(&trace, ColorMode::Plain);
    let marks: Vec<&str> = text
        .lines()
        .filter_map(|line| Some(line.split_once("  ? ")?.1))
        .collect();
    assert_eq!(
        marks,
        [
            "inferred 99.9 % (only one request was in flight)",
            "inferred 62 % (matched by order among several requests in flight)",
            "parent gone is missing",
            "cause unknown",
        ],
        "{text}"
    );
}

#[test]
fn a_client_shows_where_it_went() {
    let tags = serde_json::json!({
        "span.kind": "client", "server.address": "billing", "server.port": 8080,
        "url.path": "/payment\u{202e}",
    });
    let trace = trace(&serde_json::json!([tagged("a", None, &tags)]));
    let text = render(&trace, ColorMode::Plain);
    assert!(
        text.ends_with("eshop GET \u{2192} billing:8080/payment\\u{202e}\n"),
        "{text}"
    );
}

#[test]
fn the_duration_is_that_of_the_work() {
    let mut commit = tagged(
        "b",
        Some("a"),
        &serde_json::json!({ "messaging.operation.type": "settle" }),
    );
    commit["startTime"] = 5_000_000.into();
    let trace = trace(&serde_json::json!([
        span("a", "x", "p1", (0, 222_000), None),
        commit,
    ]));
    let text = render(&trace, ColorMode::Plain);
    assert!(
        text.starts_with("trace t: 2 spans of 1 service, 222ms, committed after 4.78"),
        "{text}"
    );
}
