//! Our own API.

use serde_json::{Value, json};

use crate::query::{assert_same, with_checkout};
use crate::running::{RunningCollector, TRACE, raw, request};

const FAR: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Returns a span of one service in OTLP's JSON, with further fields.
fn span(service: &str, more: &Value) -> Value {
    let mut span = json!({
        "traceId": TRACE, "spanId": "0000000000000001", "name": "work", "kind": 1,
        "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000001000000",
    });
    for (key, value) in more.as_object().unwrap() {
        span[key] = value.clone();
    }
    let resource =
        json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": service } }] });
    json!({ "resource": resource, "scopeSpans": [{ "spans": [span] }] })
}

fn send(collector: &RunningCollector, spans: &[Value]) {
    collector.send(&json!({ "resourceSpans": spans }));
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// Percent-encodes a text for a query string.
fn encoded(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| {
            if keep(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[test]
fn summaries_list_services_and_topics() {
    let collector = with_checkout();
    let mut found = collector.query("/api/throughline/search");
    assert!(
        found["live"]
            .as_str()
            .is_some_and(|live| live.contains('.'))
    );
    found["live"] = Value::Null;
    assert_same(
        r#"{ "traces": [{
            "trace_id": "0af7651916cd43dd8448eb211c80319c", "service": "eshop",
            "operation": "GET /checkout", "destination": null, "rooted": true,
            "start": 1700000000000000, "duration": 2025000, "settled_after": null,
            "spans": 7, "errors": 1,
            "services": [
                { "name": "eshop", "spans": 3, "errors": 0 },
                { "name": "billing", "spans": 2, "errors": 1 },
                { "name": "kafka-consumer", "spans": 1, "errors": 0 },
                { "name": "notification", "spans": 1, "errors": 0 }
            ],
            "topics": ["eshop-topic"], "open": 0, "woven": 0, "fragments": 1, "matched": []
        }], "next": null, "total": 1, "live": null }"#,
        &found,
    );
}

#[test]
fn search_supports_every_parameter() {
    let collector = with_checkout();
    for (parameters, found) in [
        ("service=billing", 1),
        (
            "service=billing&operation=BankTransaction.transfer&errors=true",
            1,
        ),
        ("service=eshop&errors=true", 0),
        ("topic=eshop-topic", 1),
        ("topic=other", 0),
        ("min_duration=2s&max_duration=2025000", 1),
        ("min_duration=2025001", 0),
        ("max_duration=2.024s", 0),
        ("start=1700000000000000&end=1700000000000000", 1),
        ("start=1700000000000001", 0),
        ("end=1699999999999999", 0),
        ("service=&q=&topic=", 1),
    ] {
        let response = collector.query(&format!("/api/throughline/search?{parameters}"));
        assert_eq!(
            response["traces"].as_array().unwrap().len(),
            found,
            "{parameters}"
        );
        assert_eq!(response["total"], found, "{parameters}");
    }
}

#[test]
fn search_supports_the_query_line() {
    let collector = with_checkout();
    for (query, found) in [
        ("partition=2 span.kind=consumer", 1),
        ("partition=2 span.kind=producer", 0),
        ("error=true", 1),
        ("http.response.status_code=200", 1),
        (TRACE, 1),
        ("0000000000000005", 1),
        ("0000000000000009", 0),
        ("{ span.http.response.status_code = 200 }", 1),
        (
            "{ span.http.response.status_code = \"200\" && .cached = false && span.load < 0.5 }",
            1,
        ),
        ("{ span.http.response.status_code >= 300 }", 0),
        ("{ .order = 9007199254740993 }", 1),
        (
            "{ .items = \"book\" } && { topic = \"eshop-topic\" && kind = producer }",
            1,
        ),
        ("{ name =~ \"GET /.*\" && duration > 400ms }", 1),
        ("{ name =~ \"GET /\" }", 0),
        ("{ status = error && statusMessage = \"slow bank\" }", 1),
        (
            "{ service = \"billing\" && !(kind = server) && .nothing = nil }",
            1,
        ),
        (
            "{ trace:duration > 2s && rootName = \"GET /checkout\" \
             && event:name = \"order accepted\" }",
            1,
        ),
        ("{ event.total = 12.5 }", 1),
        (
            "{ link:traceID = \"4bf92f3577b34da6a3ce929d0e0e4736\" \
             && link.messaging.kafka.offset = 41 }",
            1,
        ),
        ("{ kind = server } | count() = 3", 1),
        ("{ kind = server } | count() > 3", 0),
        ("{ .nothing != 1 } || { .nothing =~ \"x\" }", 0),
        (
            "{ service = \"billing\" } << { name = \"GET /checkout\" }",
            1,
        ),
        (
            "{ service = \"billing\" } >> { name = \"GET /checkout\" }",
            0,
        ),
        ("{} | by(service) | count() > 2", 1),
        ("{ duration * 2 > 999ms } | avg(duration) = 500ms", 1),
        ("count() > 7", 0),
    ] {
        let response = collector.query(&format!("/api/throughline/search?q={}", encoded(query)));
        assert_eq!(
            response["traces"].as_array().unwrap().len(),
            found,
            "{query}"
        );
    }
    let matched = collector.query("/api/throughline/search?service=billing&errors=true");
    assert_eq!(matched["traces"][0]["matched"], json!(["0000000000000004"]));
}

#[test]
fn pages_in_every_order_cover_all_traces() {
    let collector = RunningCollector::start();
    for number in 1..=25u64 {
        let (start, end) = (
            1_700_000_000_000_000_000 + number,
            1_700_000_000_000_000_000 + number * 1000 % 7000,
        );
        let fields = json!({
            "traceId": format!("{number:032x}"),
            "startTimeUnixNano": start.to_string(), "endTimeUnixNano": end.to_string(),
            "status": if number.is_multiple_of(3) { json!({ "code": 2 }) } else { json!({}) },
        });
        send(&collector, &[span("eshop", &fields)]);
    }
    for (order, field) in [
        ("newest", "start"),
        ("duration", "duration"),
        ("spans", "spans"),
        ("errors", "errors"),
    ] {
        let mut ids = Vec::new();
        let mut values = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = collector.query(&format!(
                "/api/throughline/search?order={order}&limit=4&service=eshop&cursor={cursor}"
            ));
            for trace in page["traces"].as_array().unwrap() {
                ids.push(trace["trace_id"].to_string());
                values.push(trace[field].as_f64().unwrap());
            }
            let Some(next) = page["next"].as_str() else {
                break;
            };
            cursor = next.to_owned();
        }
        assert!(values.is_sorted_by(|a, b| a >= b), "{order}: {values:?}");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 25, "{order}");
    }
}

#[test]
fn pages_of_a_structural_query_cover_all_matches() {
    let collector = RunningCollector::start();
    for number in 1..=9u64 {
        let fields = json!({ "traceId": format!("{number:032x}"), "name": "call" });
        let mut child = span("billing", &fields);
        child["scopeSpans"][0]["spans"][0]["spanId"] = json!("00000000000000aa");
        let parent = span("eshop", &fields);
        let id = parent["scopeSpans"][0]["spans"][0]["spanId"].clone();
        child["scopeSpans"][0]["spans"][0]["parentSpanId"] = id;
        send(&collector, &[parent, child]);
    }
    let query = encoded("{ service = \"eshop\" } > { service = \"billing\" }");
    for order in ["newest", "duration"] {
        let mut ids = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = collector.query(&format!(
                "/api/throughline/search?q={query}&order={order}&limit=4&cursor={cursor}"
            ));
            for trace in page["traces"].as_array().unwrap() {
                assert_eq!(trace["matched"], json!(["00000000000000aa"]));
                ids.push(trace["trace_id"].to_string());
            }
            let Some(next) = page["next"].as_str() else {
                assert!(page["total"].is_null(), "{page}");
                break;
            };
            cursor = next.to_owned();
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 9, "{order}");
    }
}

#[test]
fn errors_name_the_parameter_and_the_position() {
    let collector = RunningCollector::start();
    for (path, parameter, words) in [
        ("search?limit=0", json!("limit"), "from 1 to 1500"),
        ("search?start=now", json!("start"), "microseconds"),
        ("search?min_duration=fast", json!("min_duration"), "100ms"),
        (
            "search?min_duration=2s&max_duration=1s",
            json!("max_duration"),
            "swap",
        ),
        ("search?order=best", json!("order"), "newest, duration"),
        ("search?errors=maybe", json!("errors"), "true or false"),
        ("search?cursor=x", json!("cursor"), "leave it out"),
        ("search?color=red", Value::Null, "expected one of"),
        ("complete?what=all", json!("what"), "keys, values"),
        ("complete?what=values", json!("key"), "key=http.route"),
        ("traces/xyz", Value::Null, "not a trace id"),
        ("traces/1?spans=0", json!("spans"), "from 1"),
        ("journey/1?hops=11", json!("hops"), "from 0 to 10"),
        ("map?start=2&end=1", json!("end"), "swap"),
        ("live?since=x", json!("since"), "leave it out"),
    ] {
        let response = collector.get(&format!("/api/throughline/{path}"));
        let error = response.json();
        assert_eq!(
            (response.status, &error["status"], &error["parameter"]),
            (400, &json!(400), &parameter),
            "{path}"
        );
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "{path}: {error}"
        );
    }
    let error = collector
        .get(&format!(
            "/api/throughline/search?q={}",
            encoded("{ duration > 5 }")
        ))
        .json();
    assert_eq!(
        (&error["parameter"], &error["position"]),
        (&json!("q"), &json!(13))
    );
    for path in ["traces/1", "journey/1"] {
        let response = collector.get(&format!("/api/throughline/{path}"));
        assert_eq!(
            (response.status, &response.json()["status"]),
            (404, &json!(404)),
            "{path}"
        );
    }
}

#[test]
fn columns_hold_the_spans_and_their_attributes() {
    let collector = with_checkout();
    let trace = collector.query(&format!("/api/throughline/traces/{TRACE}"));
    let strings = trace["strings"].as_array().unwrap();
    let spans = &trace["spans"];
    let names: Vec<&str> = spans["name"]
        .as_array()
        .unwrap()
        .iter()
        .map(|at| strings[number(at)].as_str().unwrap())
        .collect();
    let expected = [
        "GET /checkout",
        "GET",
        "GET /payment",
        "BankTransaction.transfer",
        "To_eshop-topic",
        "From_eshop-topic",
        "GET /sendEmail",
    ];
    assert_eq!(names, expected);
    assert_eq!(spans["id"].as_str().unwrap().len(), 7 * 16);
    assert_eq!(spans["parent"], json!([-1, 0, 1, 2, 0, 4, 5]));
    assert_eq!(spans["kind"], json!([2, 3, 2, 1, 4, 5, 2]));
    assert_eq!(spans["status"], json!([0, 1, 0, 2, 0, 0, 0]));
    assert_eq!(
        spans["start"],
        json!([0, 100_000, 110_000, 120_000, 300_000, 2_000_000, 2_010_000])
    );
    assert_eq!(spans["duration"][3], json!(30_000.999));
    assert_eq!(
        (&trace["origin"], &trace["duration"]),
        (&json!(1_700_000_000_000_000u64), &json!(2_025_000))
    );
    let own: Vec<Value> = (0..number(&spans["pair_end"][0]))
        .map(|at| pair(&trace, number(&spans["pair"][at])))
        .collect();
    assert_eq!(
        own,
        [
            json!(["http.request.method", "s", "GET"]),
            json!(["http.response.status_code", "i", 200]),
            json!(["cached", "b", false]),
            json!(["load", "d", 0.25]),
            json!(["order", "i", "9007199254740993"]),
            json!(["items", "a", ["book", 2]]),
            json!(["digest", "x", "AQID"]),
        ]
    );
}

#[test]
fn columns_hold_events_links_and_messages() {
    let collector = with_checkout();
    let trace = collector.query(&format!("/api/throughline/traces/{TRACE}"));
    let strings = trace["strings"].as_array().unwrap();
    assert_eq!(
        (&trace["events"]["row"], &trace["events"]["time"]),
        (&json!([0]), &json!([10_000]))
    );
    assert_eq!(
        (&trace["links"]["row"], &trace["links"]["target"]),
        (&json!([5, 5, 5]), &json!([4, -1, -1]))
    );
    assert_eq!(strings[number(&trace["links"]["trace"][1])], FAR);
    assert_eq!(trace["links"]["pair_end"], json!([1, 1, 3]));
    assert_eq!(
        strings[number(&trace["status_messages"]["text"][0])],
        "slow bank"
    );
    assert_eq!(
        strings[number(&trace["trace_states"]["text"][0])],
        "vendor=1"
    );
    let messages = &trace["messages"];
    assert_eq!(
        (&messages["row"], &messages["partition"]),
        (&json!([4, 5]), &json!([null, 2]))
    );
    assert_eq!(
        (&messages["producer"], &messages["queue"]),
        (&json!([-1, 4]), &json!([null, 1_698_500]))
    );
    assert_eq!(strings[number(&messages["topic"][1])], "eshop-topic");
    let first = collector.query(&format!("/api/throughline/traces/{TRACE}?spans=5"));
    assert_eq!(
        (
            &first["omitted"],
            first["spans"]["name"].as_array().unwrap().len()
        ),
        (&json!(2), 5)
    );
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

/// Returns an attribute's name, type and value.
fn pair(trace: &Value, at: usize) -> Value {
    let pairs = &trace["pairs"];
    let kind = pairs["kind"].as_str().unwrap().chars().nth(at).unwrap();
    json!([
        trace["strings"][number(&pairs["key"][at])],
        kind.to_string(),
        pairs["value"][at]
    ])
}

#[test]
fn evidence_and_missing_parents_have_columns() {
    let collector = RunningCollector::start();
    let evidence = |name: &str| text("throughline.parent.evidence", name);
    let confidence =
        json!({ "key": "throughline.parent.confidence", "value": { "doubleValue": 0.75 } });
    send(
        &collector,
        &[
            span("a", &json!({ "attributes": [evidence("open")] })),
            span(
                "b",
                &json!({
                    "spanId": "0000000000000002", "parentSpanId": "0000000000000001",
                    "attributes": [evidence("sole"), confidence],
                }),
            ),
            span(
                "c",
                &json!({
                    "spanId": "0000000000000003", "parentSpanId": "00000000000000ff",
                    "attributes": [evidence("header")],
                }),
            ),
        ],
    );
    let trace = collector.query(&format!("/api/throughline/traces/{TRACE}"));
    let column = &trace["evidence"];
    assert_eq!(column["inferred"], json!([false, true, false]));
    assert_eq!(column["confidence"], json!([null, 0.75, null]));
    assert_eq!(
        trace["missing_parents"],
        json!({ "row": [2], "id": ["00000000000000ff"] })
    );
    let summary = &collector.query("/api/throughline/search")["traces"][0];
    assert_eq!(
        (&summary["open"], &summary["woven"], &summary["rooted"]),
        (&json!(1), &json!(1), &json!(true))
    );
}

#[test]
fn a_journey_follows_links_both_ways_and_lists_missing_traces() {
    let collector = with_checkout();
    let late = json!({ "traceId": format!("{:032x}", 7), "kind": 5, "links": [{
        "traceId": TRACE, "spanId": "0000000000000005",
        "attributes": [text("messaging.destination.name", "eshop-topic")] }] });
    let later = json!({ "traceId": format!("{:032x}", 8), "links": [{
        "traceId": format!("{:032x}", 7), "spanId": "0000000000000001",
    }] });
    send(&collector, &[span("audit", &late), span("mail", &later)]);
    let journey = collector.query(&format!("/api/throughline/journey/{TRACE}"));
    let hops: Vec<Value> = journey["traces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trace| json!([trace["hop"], trace["service"]]))
        .collect();
    assert_eq!(
        hops,
        [json!([0, "eshop"]), json!([1, "audit"]), json!([2, "mail"])]
    );
    assert_eq!(
        (&journey["missing"], &journey["more"]),
        (&json!([FAR]), &json!(false))
    );
    let links = journey["links"].as_array().unwrap();
    assert_eq!(links.len(), 4);
    let link = links
        .iter()
        .find(|link| link["effect"]["span"]["service"] == "audit")
        .unwrap();
    assert_eq!(
        (&link["cause"]["span"]["operation"], &link["topic"]),
        (&json!("To_eshop-topic"), &json!("eshop-topic"))
    );
    let gone = links
        .iter()
        .find(|link| link["cause"]["span_id"] == "00f067aa0ba902b8")
        .unwrap();
    assert_eq!(
        (&gone["cause"]["span"], &gone["offset"], &gone["partition"]),
        (&Value::Null, &json!(41), &json!(2))
    );
    // The back link of the back link, from the far end.
    let back = collector.query(&format!("/api/throughline/journey/{:032x}?hops=1", 8));
    assert_eq!(
        (back["traces"].as_array().unwrap().len(), &back["more"]),
        (2, &json!(true))
    );
}

#[test]
fn queue_time_is_measured_between_spans_or_read_from_the_receiver_without_a_sender() {
    let collector = RunningCollector::start();
    // The record's timestamp is 9 ms before its delivery: its sender held it back at first.
    let recorded =
        json!({ "key": "throughline.kafka.queue_time", "value": { "doubleValue": 0.009 } });
    let receipt = |id: &str, sender: &str, start: u64| {
        let (start, end) = (
            (1_700_000_000_000_000_000 + start).to_string(),
            (1_700_000_000_100_000_000_u64).to_string(),
        );
        span(
            "mailer",
            &json!({
                "spanId": id, "parentSpanId": sender, "kind": 5,
                "startTimeUnixNano": start, "endTimeUnixNano": end,
                "attributes": [text("messaging.destination.name", "orders"), recorded],
            }),
        )
    };
    let sender = "0000000000000001";
    send(
        &collector,
        &[
            span(
                "shop",
                &json!({ "kind": 4, "attributes": [text("messaging.destination.name", "orders")] }),
            ),
            receipt("0000000000000002", sender, 500_000),
            receipt("0000000000000003", sender, 3_000_000),
            receipt("0000000000000004", "00000000000000ff", 4_000_000),
        ],
    );
    let trace = collector.query(&format!("/api/throughline/traces/{TRACE}"));
    // Before the acknowledgement; two milliseconds after it; of an unknown sender.
    assert_eq!(trace["messages"]["queue"], json!([null, 0, 2_000, 9_000]));
    let map = collector.query("/api/throughline/map?start=1700000000000000&end=1700000010000000");
    let edges = map["edges"].as_array().unwrap();
    let receive = edges.iter().find(|edge| edge["kind"] == "receive").unwrap();
    let queue = receive["queue_p50"].as_f64().unwrap();
    assert!((queue / 2_000.0 - 1.0).abs() < 0.05, "{queue}");
}

#[test]
fn the_map_routes_messages_through_topics_without_false_edges() {
    let collector = with_checkout();
    let map = collector.query("/api/throughline/map?start=1700000000000000&end=1700000010000000");
    let edges: Vec<Value> = map["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| json!([edge["kind"], edge["from"], edge["to"]]))
        .collect();
    assert_eq!(
        edges,
        [
            json!(["call", "eshop", "billing"]),
            json!(["call", "kafka-consumer", "notification"]),
            json!(["send", "eshop", "eshop-topic"]),
            json!(["receive", "eshop-topic", "kafka-consumer"]),
        ]
    );
    let receive = &map["edges"][3];
    assert_eq!(
        (&receive["count"], &receive["errors"], &receive["rate"]),
        (&json!(1), &json!(0), &json!(0.1))
    );
    let queue = receive["queue_p95"].as_f64().unwrap();
    assert!((queue / 1_698_500.0 - 1.0).abs() < 0.05, "{queue}");
    assert_eq!(
        map["topics"],
        json!([{ "name": "eshop-topic", "sent": 1, "received": 1 }])
    );
    assert_eq!((&map["spans"], &map["more"]), (&json!(7), &json!(false)));
    assert_eq!(collector.query("/api/throughline/map")["spans"], 0);
}

#[test]
fn completions_come_from_stored_spans() {
    let collector = with_checkout();
    let texts = |query: &str| {
        let response = collector.query(&format!("/api/throughline/complete?{query}"));
        response["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["text"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(texts("what=services&text=I"), ["billing", "notification"]);
    assert_eq!(
        texts("what=operations&service=billing"),
        ["BankTransaction.transfer", "GET /payment"]
    );
    assert_eq!(texts("what=topics"), ["eshop-topic"]);
    assert_eq!(
        texts("what=values&key=span.http.response.status_code"),
        ["200"]
    );
    assert_eq!(texts("what=values&key=service.name&text=esh"), ["eshop"]);
    let keys = texts("what=keys");
    for key in [
        "span.http.request.method",
        "resource.service.name",
        "event.total",
        "link.opentracing.ref_type",
    ] {
        assert!(keys.iter().any(|own| own == key), "{key}: {keys:?}");
    }
    let few = collector.query("/api/throughline/complete?what=keys&limit=2");
    assert_eq!(
        (few["items"].as_array().unwrap().len(), &few["more"]),
        (2, &json!(true))
    );
}

#[test]
fn live_reports_changes_since_a_cursor_and_rejects_other_epochs() {
    let collector = with_checkout();
    let live = collector.query("/api/throughline/search")["live"]
        .as_str()
        .unwrap()
        .to_owned();
    let since = |cursor: &str| collector.query(&format!("/api/throughline/live?since={cursor}"));
    let nothing = since(&live);
    assert_eq!(
        (&nothing["changed"], &nothing["more"], &nothing["traces"]),
        (&json!([]), &json!(false), &json!(1))
    );
    collector.send(&request(FAR, "00f067aa0ba902b7"));
    let changed = since(&live);
    assert_eq!(
        (&changed["changed"], &changed["more"], &changed["spans"]),
        (&json!([FAR]), &json!(false), &json!(8))
    );
    assert_eq!(
        since(changed["cursor"].as_str().unwrap())["changed"],
        json!([])
    );
    assert_eq!(since("1.1")["more"], true);
    let first = collector.query("/api/throughline/live");
    assert_eq!(
        (&first["cursor"], &first["changed"], &first["more"]),
        (&changed["cursor"], &json!([]), &json!(false))
    );
}

#[test]
fn responses_are_compressed_for_clients_that_accept_gzip() {
    let collector = with_checkout();
    let request = |accept: &str| {
        let head = format!(
            "GET /api/throughline/traces/{TRACE} HTTP/1.1\r\nhost: localhost\r\n\
             connection: close\r\n{accept}\r\n\r\n"
        );
        raw(collector.addresses.query, head.as_bytes()).to_lowercase()
    };
    assert!(request("accept-encoding: br, gzip").contains("content-encoding: gzip"));
    assert!(!request("accept-encoding: gzip;q=0").contains("content-encoding"));
    assert!(!request("accept: */*").contains("content-encoding"));
    let plain = collector.get(&format!("/api/throughline/traces/{TRACE}"));
    assert_eq!(plain.json()["trace_id"], TRACE);
}

#[test]
fn the_openapi_description_is_served() {
    let collector = RunningCollector::start();
    let description = collector.query("/api/throughline/openapi.json");
    assert!(
        description["paths"]["/api/throughline/search"]["get"]["parameters"]
            .as_array()
            .unwrap()
            .len()
            > 10
    );
}

/// Sends a request of 222 ms whose message is committed by a timer, five seconds after its work.
fn send_late_commit(collector: &RunningCollector) {
    let topic = text("messaging.destination.name", "orders");
    let settle = text("messaging.operation.type", "settle");
    let request = json!({
        "kind": 3, "name": "GET", "endTimeUnixNano": "1700000000222000000",
        "attributes": [text("url.full", "http://shop:8080/buy?card=1")],
    });
    let commit = json!({
        "spanId": "0000000000000002", "parentSpanId": "0000000000000001", "name": "commit orders",
        "startTimeUnixNano": "1700000005036000000", "endTimeUnixNano": "1700000005040000000",
        "attributes": [topic, settle],
    });
    send(collector, &[span("shop", &request), span("mail", &commit)]);
}

#[test]
fn a_trace_is_as_long_as_its_work_and_says_when_it_was_committed() {
    let collector = RunningCollector::start();
    send_late_commit(&collector);
    let found = &collector.query("/api/throughline/search")["traces"][0];
    assert_eq!(
        (&found["duration"], &found["settled_after"], &found["spans"]),
        (&json!(222_000), &json!(4_818_000), &json!(2))
    );
    for (condition, count) in [
        ("min_duration=200ms&max_duration=300ms", 1),
        ("min_duration=1s", 0),
    ] {
        let found = collector.query(&format!("/api/throughline/search?{condition}"));
        let traces = found["traces"].as_array().unwrap();
        assert_eq!(traces.len(), count, "{condition}");
    }
    let trace = collector.query(&format!("/api/throughline/traces/{TRACE}"));
    assert_eq!(trace["duration"], json!(222_000));
    assert_eq!(trace["messages"]["settles"], json!([true]));
    let range = "query.startTimeMin=2023-01-01T00:00:00Z&query.startTimeMax=2024-01-01T00:00:00Z";
    let v3 = collector.query(&format!("/api/v3/trace-summaries?{range}"));
    let summary = &v3["summaries"][0];
    assert_eq!(
        (
            &summary["maxEndTimeUnixNano"],
            &summary["settledTimeUnixNano"]
        ),
        (&json!("1700000000222000000"), &json!("1700000005040000000"))
    );
}

#[test]
fn a_root_that_is_a_client_shows_where_it_went() {
    let collector = RunningCollector::start();
    send_late_commit(&collector);
    let found = &collector.query("/api/throughline/search")["traces"][0];
    assert_eq!(
        (&found["operation"], &found["destination"]),
        (&json!("GET"), &json!("shop:8080/buy"))
    );
}

#[test]
fn a_true_error_tag_fails_a_span_with_unset_status() {
    let collector = RunningCollector::start();
    let with = |id: &str, value: Value, code: u8| {
        let more = json!({
            "spanId": id, "attributes": [{ "key": "error", "value": value }],
            "status": { "code": code },
        });
        span("a", &more)
    };
    send(
        &collector,
        &[
            with("0000000000000001", json!({ "boolValue": true }), 0),
            with("0000000000000002", json!({ "stringValue": "true" }), 0),
            with("0000000000000003", json!({ "stringValue": "false" }), 0),
            with("0000000000000004", json!({ "boolValue": true }), 1),
        ],
    );
    let trace = collector.query(&format!("/api/throughline/traces/{TRACE}"));
    assert_eq!(trace["spans"]["status"], json!([2, 2, 0, 1]));
    let failed = encoded("{ status = error }");
    let found = collector.query(&format!("/api/throughline/search?q={failed}"));
    assert_eq!(
        (
            &found["traces"][0]["errors"],
            &found["traces"][0]["matched"]
        ),
        (&json!(2), &json!(["0000000000000001", "0000000000000002"]))
    );
}

#[test]
fn an_end_before_the_start_is_a_negative_duration() {
    let collector = RunningCollector::start();
    let more = json!({ "endTimeUnixNano": "1699999999999998500" });
    send(&collector, &[span("a", &more)]);
    let trace = collector.query(&format!("/api/throughline/traces/{TRACE}"));
    assert_eq!(trace["spans"]["duration"], json!([-1.5]));
    assert_eq!(trace["duration"], json!(0));
}
