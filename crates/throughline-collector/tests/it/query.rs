//! The query APIs.

use serde_json::{Value, json};

use crate::running::{JSON, RunningCollector, TRACE, raw, request};

/// Collects the paths at which two values differ, with both sides.
fn differences(path: &str, expected: &Value, actual: &Value, out: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for key in expected
                .keys()
                .chain(actual.keys().filter(|key| !expected.contains_key(*key)))
            {
                let side = |object: &serde_json::Map<String, Value>| {
                    object
                        .get(key)
                        .cloned()
                        .unwrap_or_else(|| json!("<absent>"))
                };
                differences(
                    &format!("{path}.{key}"),
                    &side(expected),
                    &side(actual),
                    out,
                );
            }
        }
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                differences(&format!("{path}[{index}]"), expected, actual, out);
            }
        }
        _ if expected == actual => {}
        _ => out.push(format!("{path}: expected {expected}, got {actual}")),
    }
}

pub(crate) fn assert_same(expected: &str, actual: &Value) {
    let mut out = Vec::new();
    differences(
        "",
        &serde_json::from_str(expected).unwrap(),
        actual,
        &mut out,
    );
    assert!(out.is_empty(), "{}", out.join("\n"));
}

/// Starts a collector with the linked checkout, its second half sent first.
pub(crate) fn with_checkout() -> RunningCollector {
    let collector = RunningCollector::start();
    let mut request: Value =
        serde_json::from_str(include_str!("../fixtures/linked_checkout.otlp.json")).unwrap();
    let groups = request["resourceSpans"].as_array_mut().unwrap();
    groups.reverse();
    for group in groups {
        collector.send(&json!({ "resourceSpans": [group] }));
    }
    collector
}

#[test]
fn the_linked_checkout_equals_jaegers_json_in_every_field() {
    let collector = with_checkout();
    let trace = collector.query(&format!("/api/traces/{TRACE}"));
    assert_same(
        include_str!("../fixtures/linked_checkout.jaeger.json"),
        &trace,
    );
}

#[test]
fn v3_returns_the_linked_checkout_as_sent() {
    let collector = with_checkout();
    let trace = collector.query(&format!("/api/v3/traces/{TRACE}"));
    let mut sent: Value =
        serde_json::from_str(include_str!("../fixtures/linked_checkout.otlp.json")).unwrap();
    let mut got = trace["result"].clone();
    // Groups come in the order of their first span, which does not matter here.
    for groups in [&mut sent["resourceSpans"], &mut got["resourceSpans"]] {
        groups
            .as_array_mut()
            .unwrap()
            .sort_by_key(|group| group["resource"].to_string());
    }
    assert_same(&sent.to_string(), &got);
}

#[test]
fn services_operations_and_dependencies_are_listed() {
    let collector = with_checkout();
    let services = json!(["billing", "eshop", "kafka-consumer", "notification"]);
    assert_eq!(collector.query("/api/services")["data"], services);
    assert_eq!(
        collector.query("/api/v3/services"),
        json!({ "services": services })
    );
    let names = collector.query("/api/services/eshop/operations");
    assert_eq!(
        names,
        json!({
            "data": ["GET", "GET /checkout", "To_eshop-topic"],
            "total": 3, "limit": 0, "offset": 0, "errors": null,
        })
    );
    let operations = collector.query("/api/operations?service=eshop&spanKind=producer");
    assert_eq!(
        operations["data"],
        json!([{ "name": "To_eshop-topic", "spanKind": "producer" }])
    );
    for kind in ["spanKind", "span_kind"] {
        let operations = collector.query(&format!(
            "/api/v3/operations?service=billing&{kind}=internal"
        ));
        assert_eq!(
            operations,
            json!({
                "operations": [{ "name": "BankTransaction.transfer", "spanKind": "internal" }],
            })
        );
    }
    let dependencies = collector.query("/api/dependencies?endTs=1700000060000&lookback=120000");
    let edge =
        |parent: &str, child: &str| json!({ "parent": parent, "child": child, "callCount": 1 });
    assert_eq!(
        dependencies["data"],
        json!([
            edge("eshop", "billing"),
            edge("eshop", "kafka-consumer"),
            edge("kafka-consumer", "notification")
        ])
    );
    assert_eq!(collector.query("/api/dependencies")["data"], json!([]));
}

#[test]
fn search_accepts_jaegers_parameters_with_optional_service() {
    let collector = with_checkout();
    let start = "start=1699999990000000&end=1700000010000000";
    for (parameters, found) in [
        ("", 1),
        ("&service=billing", 1),
        ("&service=billing&operation=BankTransaction.transfer", 1),
        ("&service=eshop&operation=BankTransaction.transfer", 0),
        ("&service=billing&tags=%7B%22error%22%3A%22true%22%7D", 1),
        ("&service=eshop&tags=%7B%22error%22%3A%22true%22%7D", 0),
        ("&tag=partition:2&tag=span.kind:consumer", 1),
        ("&tag=partition:2&tag=span.kind:producer", 0),
        ("&minDuration=500ms", 1),
        ("&minDuration=501ms", 0),
        ("&service=notification&maxDuration=9ms&minDuration=1ms", 0),
        ("&service=notification&maxDuration=10ms", 1),
        ("&limit=1&raw=true&prettyPrint=true&lookback=1h", 1),
    ] {
        let response = collector.query(&format!("/api/traces?{start}{parameters}"));
        assert_eq!(
            response["data"].as_array().unwrap().len(),
            found,
            "{parameters}"
        );
        assert_eq!(response["errors"], Value::Null);
    }
    // Without a start, Jaeger looks back two days.
    assert_eq!(collector.query("/api/traces?service=eshop")["total"], 0);
    let by_id = collector.query(&format!("/api/traces?traceID={TRACE}&traceID=1"));
    assert_eq!(by_id["total"], 1);
    assert_eq!(
        by_id["errors"],
        json!([{ "code": 404, "msg": "trace not found", "traceID": format!("{:032x}", 1) }])
    );
}

#[test]
fn v3_accepts_camel_case_and_snake_case_parameters() {
    let collector = with_checkout();
    let range =
        "query.startTimeMin=2023-11-14T22:13:00Z&query.startTimeMax=2023-11-14T22:14:00.5%2B00:00";
    let snake =
        "query.start_time_min=2023-11-14T22:13:00Z&query.start_time_max=2023-11-14T22:14:00Z";
    for (query, found) in [
        (
            format!(
                "{range}&query.serviceName=billing&query.operationName=BankTransaction.transfer"
            ),
            200,
        ),
        (
            format!(
                "{snake}&query.service_name=billing&query.operation_name=BankTransaction.transfer"
            ),
            200,
        ),
        (format!("{snake}&query.duration_min=501ms"), 404),
        (
            format!(
                "{range}&query.durationMax=1ms&query.serviceName=eshop&query.operationName=GET"
            ),
            404,
        ),
        (
            format!("{range}&query.attributes=%7B%22partition%22%3A%222%22%7D&query.searchDepth=5"),
            200,
        ),
        (
            format!("{snake}&query.num_traces=5&query.raw_traces=true"),
            200,
        ),
    ] {
        let response = collector.get(&format!("/api/v3/traces?{query}"));
        assert_eq!(response.status, found, "{query}: {}", response.text());
        let summaries = collector.query(&format!("/api/v3/trace-summaries?{query}"));
        assert_eq!(
            summaries.get("summaries").is_some(),
            found == 200,
            "{query}: {summaries}"
        );
    }
}

#[test]
fn v3_summaries_have_all_fields() {
    let collector = with_checkout();
    let range = "query.startTimeMin=2023-11-14T22:13:00Z&query.startTimeMax=2023-11-14T22:14:00Z";
    let summaries = collector.query(&format!("/api/v3/trace-summaries?{range}"));
    assert_same(
        r#"{ "summaries": [{
            "traceId": "0af7651916cd43dd8448eb211c80319c", "rootServiceName": "eshop",
            "rootOperationName": "GET /checkout",
            "minStartTimeUnixNano": "1700000000000000000",
            "maxEndTimeUnixNano": "1700000002025000000",
            "spanCount": 7, "errorSpanCount": 1,
            "services": [
                { "name": "billing", "spanCount": 2, "errorSpanCount": 1 },
                { "name": "eshop", "spanCount": 3 },
                { "name": "kafka-consumer", "spanCount": 1 },
                { "name": "notification", "spanCount": 1 }
            ]
        }] }"#,
        &summaries,
    );
}

#[test]
fn invalid_queries_are_rejected_in_the_format_of_each_api() {
    let collector = RunningCollector::start();
    for path in [
        "/api/traces/xyz",
        "/api/traces?limit=0",
        "/api/traces?start=now",
        "/api/traces?minDuration=fast",
        "/api/traces?tags=%5B%5D",
        "/api/traces?tag=x",
        "/api/traces?minDuration=2s&maxDuration=1s",
        "/api/traces?traceID=-",
        "/api/operations?spanKind=x",
        "/api/dependencies?endTs=x",
    ] {
        let response = collector.get(path);
        assert_eq!(
            (response.status, response.header("content-type")),
            (400, Some("application/json")),
            "{path}"
        );
        let json = response.json();
        assert_eq!(
            (&json["data"], &json["errors"][0]["code"]),
            (&Value::Null, &json!(400)),
            "{path}"
        );
    }
    let range = "query.startTimeMin=2023-11-14T22:13:00Z&query.startTimeMax=2023-11-14T22:14:00Z";
    for path in [
        "/api/v3/traces/xyz".to_owned(),
        "/api/v3/traces".to_owned(),
        "/api/v3/operations?spanKind=x".to_owned(),
        "/api/v3/traces?query.startTimeMin=yesterday&query.startTimeMax=today".to_owned(),
        format!("/api/v3/trace-summaries?{range}&query.filter=%7B%7D"),
    ] {
        let response = collector.get(&path);
        assert_eq!(
            (response.status, &response.json()["error"]["httpCode"]),
            (400, &json!(400)),
            "{path}"
        );
    }
}

#[test]
fn v3_accepts_a_time_range_of_all_years() {
    let collector = RunningCollector::start();
    collector.send(&request(TRACE, "00f067aa0ba902b7"));
    let range = "query.startTimeMin=0000-01-01T00:00:00Z&query.startTimeMax=9999-12-31T23:59:59Z";
    assert_eq!(
        collector.query(&format!("/api/v3/trace-summaries?{range}"))["summaries"][0]["traceId"],
        TRACE
    );
}

#[test]
fn unknown_traces_are_answered_404() {
    let collector = RunningCollector::start();
    let response = collector.get("/api/traces/1");
    assert_eq!(
        (response.status, &response.json()["errors"]),
        (404, &json!([{ "code": 404, "msg": "trace not found" }]))
    );
    let response = collector.get("/api/v3/traces/1");
    let expected = json!({ "error": { "httpCode": 404, "message": "No traces found" } });
    assert_eq!((response.status, response.json()), (404, expected));
}

#[test]
fn traces_are_found_by_every_spelling_of_their_id_at_any_time_range() {
    let collector = RunningCollector::start();
    collector.send(&request(
        "0000000000000000463ac35c9f6413ad",
        "00f067aa0ba902b7",
    ));
    for id in [
        "463ac35c9f6413ad",
        "463AC35C9F6413AD",
        "0000000000000000463ac35c9f6413ad",
        "AAAAAAAAAABGOsNcn2QTrQ==",
    ] {
        for api in ["/api/traces", "/api/v3/traces"] {
            assert_eq!(
                collector.get(&format!("{api}/{id}?start=1&end=2")).status,
                200,
                "{api}/{id}"
            );
        }
    }
}

#[test]
fn other_origins_cannot_read_responses() {
    let collector = with_checkout();
    let request = |extra: &str| {
        raw(
            collector.addresses.query,
            format!("GET /api/services HTTP/1.1\r\nconnection: close\r\n{extra}\r\n\r\n")
                .as_bytes(),
        )
    };
    let foreign = request("host: localhost\r\norigin: https://evil.example");
    assert!(
        foreign.starts_with("HTTP/1.1 200 ") && !foreign.to_lowercase().contains("access-control"),
        "{foreign}"
    );
    let rebound = request("host: evil.example:16686");
    assert!(
        rebound.starts_with("HTTP/1.1 403 ") && !rebound.contains("eshop"),
        "{rebound}"
    );
}

#[test]
fn the_page_is_served_for_page_paths_only() {
    let collector = RunningCollector::start();
    for path in [
        "/",
        "/search?service=eshop",
        "/trace/0af7651916cd43dd8448eb211c80319c",
        "/compare/1/2",
    ] {
        let response = collector.get(path);
        assert_eq!(
            (response.status, response.header("content-type")),
            (200, Some("text/html; charset=utf-8")),
            "{path}"
        );
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        assert!(
            response
                .header("content-security-policy")
                .unwrap()
                .contains("default-src 'self'")
        );
        assert_eq!(response.header("cache-control"), Some("no-cache"));
        assert!(response.text().contains("Throughline"));
        assert!(
            !response.text().contains("=\"/"),
            "addresses are relative, for proxies with a base path: {path}"
        );
    }
    let deep = "/x".repeat(10_000);
    for path in [
        "/api/nothing",
        "/assets/gone.js",
        "/favicon.gone",
        "/../Cargo.toml",
        &deep,
    ] {
        assert_eq!(collector.get(path).status, 404, "{path}");
    }
    assert_eq!(
        collector
            .post(collector.addresses.query, "/", &[JSON], b"{}")
            .status,
        405
    );
}

#[test]
fn tags_are_found_where_they_are_and_as_the_apis_show_them() {
    let collector = RunningCollector::start();
    let attribute = |key: &str, value: Value| json!({ "key": key, "value": value });
    let text = |text: &str| json!({ "stringValue": text });
    let list = json!({ "arrayValue": { "values": [text("book"), { "intValue": "7" }] } });
    let span = json!({
        "traceId": TRACE, "spanId": "00f067aa0ba902b7", "name": "GET /checkout",
        "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000250000000",
        "attributes": [attribute("items", list), attribute("count", json!({ "intValue": "5" }))],
        "links": [{
            "traceId": TRACE, "spanId": "00f067aa0ba902b8",
            "attributes": [attribute("reason", text("retry"))],
        }],
    });
    let scope = json!({ "name": "shop", "attributes": [attribute("team", text("cart"))] });
    collector.send(&json!({
        "resourceSpans": [{ "scopeSpans": [{ "scope": scope, "spans": [span] }] }],
    }));
    // `["book",7]` as the legacy API shows the list, then its elements; 5 in both spellings.
    for (key, value, is_found) in [
        ("items", "%5B%22book%22%2C7%5D", true),
        ("items", "book", true),
        ("items", "%5B%22book%22%5D", false),
        ("count", "5", true),
        ("count", "5.0", true),
        ("count", "5.5", false),
        ("reason", "retry", true),
        ("team", "cart", true),
        ("team", "other", false),
    ] {
        let legacy = collector.query(&format!("/api/traces?start=0&tag={key}:{value}"));
        let found = legacy["data"].as_array().unwrap().len() == 1;
        assert_eq!(found, is_found, "{key}={value}");
        // The form of the gateway, with its brackets escaped as clients send them.
        let range = "query.startTimeMin=2023-11-14T22:13:00Z&\
                     query.startTimeMax=2023-11-14T22:14:00Z";
        let path = format!("/api/v3/traces?{range}&query.attributes%5B{key}%5D={value}");
        let status = if is_found { 200 } else { 404 };
        assert_eq!(collector.get(&path).status, status, "{key}={value}");
    }
}

#[test]
fn schema_urls_dropped_counts_and_status_messages_survive_api_v3() {
    let collector = RunningCollector::start();
    let sent = json!({ "resourceSpans": [{
        "resource": { "attributes": [
            { "key": "service.name", "value": { "stringValue": "shop" } },
        ] },
        "schemaUrl": "https://opentelemetry.io/schemas/1.37.0",
        "scopeSpans": [{
            "scope": { "name": "lib", "version": "2" },
            "schemaUrl": "https://opentelemetry.io/schemas/1.20.0",
            "spans": [
                {
                    "traceId": TRACE, "spanId": "0000000000000001", "name": "ok", "kind": 1,
                    "startTimeUnixNano": "1700000000000000001",
                    "endTimeUnixNano": "1700000000000000009",
                    "droppedAttributesCount": 3, "droppedEventsCount": 5, "droppedLinksCount": 7,
                    "status": { "code": 1, "message": "cached" },
                },
                {
                    "traceId": TRACE, "spanId": "0000000000000002", "name": "unset", "kind": 1,
                    "startTimeUnixNano": "1700000000000000002",
                    "endTimeUnixNano": "1700000000000000003",
                    "status": { "message": "noted" },
                },
            ],
        }],
    }] });
    collector.send(&sent);
    let answer = collector.query(&format!("/api/v3/traces/{TRACE}"));
    assert_same(&sent.to_string(), &answer["result"]);
}

#[test]
fn jaegers_metrics_are_counted_by_service_and_operation() {
    let collector = with_checkout();
    // A step ends a second after the checkout's start, and the range with it.
    let range = "endTs=1700000001000&lookback=2000&step=1000&ratePer=2000";
    let family = |path: &str| collector.query(&format!("/api/metrics/{path}&{range}"));
    let last = |family: &Value| {
        let points = family["metrics"][0]["metricPoints"].as_array().unwrap();
        points.last().unwrap()["gaugeValue"]["doubleValue"]
            .as_f64()
            .unwrap()
    };
    let calls = family("calls?service=billing");
    assert_eq!(
        (&calls["name"], &calls["type"]),
        (&json!("service_call_rate"), &json!("GAUGE"))
    );
    let label = json!([{ "name": "service_name", "value": "billing" }]);
    assert_eq!(calls["metrics"][0]["labels"], label);
    // One call of a server in two seconds.
    assert!((last(&calls) - 0.5).abs() < 1e-9, "{calls}");
    let latencies = family("latencies?service=billing&quantile=0.95");
    assert!((last(&latencies) - 80.0).abs() < 3.0, "{latencies}");
    let errors = family("errors?service=billing&spanKind=SPAN_KIND_INTERNAL&groupByOperation=true");
    assert_eq!(errors["name"], "service_operation_error_rate");
    let operation = json!({ "name": "operation", "value": "BankTransaction.transfer" });
    assert_eq!(errors["metrics"][0]["labels"][1], operation);
    assert!((last(&errors) - 1.0).abs() < 1e-9, "{errors}");
    assert!((last(&family("errors?service=billing"))).abs() < 1e-9);
    assert_eq!(collector.query("/api/metrics/minstep")["data"], 1);
    for path in [
        "calls",
        "latencies?service=billing",
        "calls?service=x&step=0",
    ] {
        let response = collector.get(&format!("/api/metrics/{path}"));
        assert_eq!(
            (response.status, &response.json()["errors"][0]["code"]),
            (400, &json!(400))
        );
    }
    assert_eq!(collector.get("/api/metrics/speed?service=x").status, 404);
}

#[test]
fn a_file_in_otlp_is_converted_to_jaegers_json() {
    let collector = with_checkout();
    let file = include_str!("../fixtures/linked_checkout.otlp.json");
    let to = collector.addresses.query;
    let converted = collector.post(to, "/api/transform", &[JSON], file.as_bytes());
    assert_eq!(converted.status, 200);
    let stored = collector.query(&format!("/api/traces/{TRACE}"));
    assert_eq!(
        converted.json()["data"][0]["spans"],
        stored["data"][0]["spans"]
    );
    let refused = collector.post(to, "/api/transform", &[JSON], b"[");
    assert_eq!(refused.status, 400);
}
