//! The requests of Grafana's Tempo data source, in the order in which it makes them.

use prost::Message as _;
use serde_json::{Value, json};

use crate::query::with_checkout;
use crate::running::{RunningCollector, TRACE};

/// Range of the fixture's checkout, in seconds, as the data source sends it.
const RANGE: &str = "start=1699999000&end=1700001000";

/// Percent-encodes a query.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn search(collector: &RunningCollector, query: &str) -> Vec<Value> {
    let query = encoded(query);
    let found = collector.query(&format!(
        "/tempo/api/search?q={query}&limit=20&spss=3&{RANGE}"
    ));
    assert!(found["metrics"].is_object());
    found["traces"].as_array().unwrap().clone()
}

#[test]
fn saving_the_data_source_tests_the_connection() {
    let collector = with_checkout();
    let echo = collector.get("/tempo/api/echo");
    assert_eq!((echo.status, echo.text().as_str()), (200, "echo"));
    let info = collector.query("/tempo/api/status/buildinfo");
    assert!(info["version"].as_str().unwrap().starts_with("2."));
}

#[test]
fn the_search_returns_traces_with_the_spans_that_match() {
    let collector = with_checkout();
    let query = "{ resource.service.name = \"eshop\" && kind = server } >> { name = \
                 \"BankTransaction.transfer\" }";
    let traces = search(&collector, query);
    assert_eq!(traces.len(), 1);
    let trace = &traces[0];
    assert_eq!(trace["traceID"], TRACE);
    assert_eq!(trace["rootServiceName"], "eshop");
    assert_eq!(trace["rootTraceName"], "GET /checkout");
    assert!(trace["startTimeUnixNano"].is_string() && trace["durationMs"].is_u64());
    let set = &trace["spanSets"][0];
    assert_eq!(set["matched"], 1);
    let span = &set["spans"][0];
    assert_eq!(span["name"], "BankTransaction.transfer");
    assert_eq!(span["spanID"].as_str().unwrap().len(), 16);
    assert!(span["durationNanos"].is_string());
    let service = json!({ "key": "service.name", "value": { "stringValue": "billing" } });
    assert!(span["attributes"].as_array().unwrap().contains(&service));
    assert_eq!(trace["spanSet"], *set);
    assert_eq!(trace["serviceStats"]["billing"]["errorCount"], 1);
    assert!(search(&collector, "{ name = \"absent\" }").is_empty());
}

#[test]
fn groups_and_limits_shape_the_spansets() {
    let collector = with_checkout();
    let traces = search(&collector, "{} | by(resource.service.name) | count() > 1");
    let sets = traces[0]["spanSets"].as_array().unwrap();
    assert!(sets.len() > 1, "{sets:?}");
    let keys: Vec<&Value> = sets[0]["attributes"].as_array().unwrap().iter().collect();
    assert_eq!(keys[0]["key"], "by(resource.service.name)");
    assert_eq!(keys[1]["key"], "count()");
    assert!(keys[1]["value"]["intValue"].is_string());
    let all = collector.query(&format!("/tempo/api/search?q=%7B%7D&spss=1&{RANGE}"));
    let set = &all["traces"][0]["spanSets"][0];
    assert_eq!(set["spans"].as_array().unwrap().len(), 1);
    assert!(set["matched"].as_u64().unwrap() > 1);
    // The range is that of the trace's start.
    let none = collector.query("/tempo/api/search?q=%7B%7D&start=1800000000&end=1800000001");
    assert_eq!(none["traces"], json!([]));
    let tags = "/tempo/api/search?tags=service.name%3Dbilling&minDuration=1ns";
    assert_eq!(collector.query(tags)["traces"].as_array().unwrap().len(), 1);
}

#[test]
fn the_query_builder_lists_names_and_values() {
    let collector = with_checkout();
    let scopes = collector.query(&format!("/tempo/api/v2/search/tags?{RANGE}"));
    let tags = |scope: &str| {
        let scopes = scopes["scopes"].as_array().unwrap();
        let found = scopes.iter().find(|it| it["name"] == scope);
        found.unwrap()["tags"].as_array().unwrap().clone()
    };
    assert!(tags("resource").contains(&json!("service.name")));
    assert!(tags("intrinsic").contains(&json!("rootServiceName")));
    assert!(!tags("span").is_empty());
    let only = collector.query("/tempo/api/v2/search/tags?scope=resource");
    assert_eq!(only["scopes"].as_array().unwrap().len(), 1);
    let names = collector.query("/tempo/api/search/tags?scope=resource");
    assert!(
        names["tagNames"]
            .as_array()
            .unwrap()
            .contains(&json!("service.name"))
    );

    let services = json!([
        { "type": "string", "value": "billing" },
        { "type": "string", "value": "eshop" },
        { "type": "string", "value": "kafka-consumer" },
        { "type": "string", "value": "notification" },
    ]);
    let path = "/tempo/api/v2/search/tag/resource.service.name/values";
    let mut values = collector.query(path)["tagValues"].clone();
    let value = |it: &Value| it["value"].to_string();
    values.as_array_mut().unwrap().sort_by_key(value);
    assert_eq!(values, services);
    let filter = encoded("{ name = \"BankTransaction.transfer\" }");
    assert_eq!(
        collector.query(&format!("{path}?q={filter}"))["tagValues"],
        json!([{ "type": "string", "value": "billing" }])
    );
    // A query that is still being typed filters nothing.
    let typing = collector.query(&format!("{path}?q={}", encoded("{ name = ")));
    assert_eq!(typing["tagValues"].as_array().unwrap().len(), 4);
    let status = collector.query("/tempo/api/v2/search/tag/status/values");
    assert!(status["tagValues"].as_array().unwrap().contains(&json!(
        { "type": "keyword", "value": "error" }
    )));
    let first = collector.query("/tempo/api/search/tag/service.name/values");
    assert_eq!(first["tagValues"].as_array().unwrap().len(), 4);
}

#[test]
fn a_trace_is_returned_as_protobuf_and_as_json() {
    use opentelemetry_proto::tonic::trace::v1::TracesData;
    let collector = with_checkout();
    let get = |path: &str| {
        let url = format!("http://{}{path}", collector.addresses.query);
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let request = config.build().new_agent().get(url);
        let mut response = request
            .header("accept", "application/protobuf")
            .call()
            .unwrap();
        let status = response.status().as_u16();
        (status, response.body_mut().read_to_vec().unwrap())
    };
    let sent = json_trace(&collector);
    let (status, plain) = get(&format!("/tempo/api/traces/{TRACE}"));
    assert_eq!(status, 200);
    let trace = TracesData::decode(plain.as_slice()).unwrap();
    let spans = trace.resource_spans.iter().flat_map(|it| &it.scope_spans);
    assert_eq!(spans.map(|it| it.spans.len()).sum::<usize>(), sent);
    let (_, wrapped) = get(&format!("/tempo/api/v2/traces/{TRACE}?{RANGE}"));
    // Field 1 of the response is the trace.
    let mut rest = wrapped.as_slice();
    assert_eq!(rest.first(), Some(&0x0a));
    rest = &rest[1..];
    let length = prost::encoding::decode_varint(&mut rest).unwrap();
    assert_eq!(length, plain.len() as u64);
    assert_eq!(rest, plain.as_slice());
    let (status, body) = get("/tempo/api/v2/traces/1");
    assert_eq!((status, body.as_slice()), (404, &b"trace not found"[..]));
}

/// Returns the number of spans of the trace in JSON, in both versions of the API.
fn json_trace(collector: &RunningCollector) -> usize {
    let count = |groups: &Value| {
        let groups = groups.as_array().unwrap().iter();
        let scopes = groups.flat_map(|group| group["scopeSpans"].as_array().unwrap());
        scopes
            .map(|scope| scope["spans"].as_array().unwrap().len())
            .sum::<usize>()
    };
    let first = collector.query(&format!("/tempo/api/traces/{TRACE}"));
    let second = collector.query(&format!("/tempo/api/v2/traces/{TRACE}"));
    let spans = count(&first["batches"]);
    assert_eq!(spans, count(&second["trace"]["resourceSpans"]));
    spans
}

#[test]
fn metrics_are_series_of_labels_and_samples() {
    let collector = with_checkout();
    let query = encoded("{} | count_over_time() by (resource.service.name)");
    let path = format!("/tempo/api/metrics/query_range?q={query}&{RANGE}&step=500s");
    let result = collector.query(&path);
    let series = result["series"].as_array().unwrap();
    assert_eq!(series.len(), 4, "{result}");
    let label = json!({ "key": "resource.service.name", "value": { "stringValue": "billing" } });
    let billing = series.iter().find(|it| it["labels"][0] == label).unwrap();
    assert_eq!(billing["promLabels"], "{resource.service.name=\"billing\"}");
    let samples = billing["samples"].as_array().unwrap();
    assert!(
        samples
            .iter()
            .all(|it| it["timestampMs"].is_string() && it["value"].is_f64())
    );
    let total: f64 = samples.iter().map(|it| it["value"].as_f64().unwrap()).sum();

    let query = encoded("{ resource.service.name = \"billing\" } | count_over_time()");
    let instant = collector.query(&format!("/tempo/api/metrics/query?query={query}&{RANGE}"));
    let series = &instant["series"][0];
    assert_eq!(series["value"].as_f64(), Some(total));
    assert_eq!(
        series["labels"][0]["value"]["stringValue"],
        "count_over_time"
    );
    let drilldown = encoded("{nestedSetParent<0 && true} | rate() by(resource.service.name)");
    let roots = collector.query(&format!(
        "/tempo/api/metrics/query_range?q={drilldown}&{RANGE}"
    ));
    assert_eq!(roots["series"].as_array().unwrap().len(), 1);
}

#[test]
fn errors_are_texts_that_name_the_mistake() {
    let collector = with_checkout();
    for (path, message) in [
        (
            "search?q=%7B%20foo%20%3D%201%20%7D",
            "line 1, column 3: unknown field `foo`",
        ),
        (
            "search?q=%7B%7D%20%7C%20rate()",
            "send it to /api/metrics/query_range",
        ),
        ("search?limit=0", "limit must be a whole number above 0"),
        ("search?start=5&end=4", "end is before start"),
        ("metrics/query_range?q=%7B%7D", "not a metrics query"),
        ("metrics/query_range", "parameter q is required"),
        (
            "metrics/query_range?q=%7B%7D%7Crate()&start=1&end=1000000000&step=1s",
            "more than 11000 steps",
        ),
        ("traces/xyz", "is not a trace id"),
        ("v2/search/tag/foo/values", "tag name is not valid"),
        ("v2/search/tags?scope=foo", "parameter scope must be"),
    ] {
        let response = collector.get(&format!("/tempo/api/{path}"));
        assert_eq!(response.status, 400, "{path}");
        assert!(
            response.text().contains(message),
            "{path}: {}",
            response.text()
        );
        assert!(
            response
                .header("content-type")
                .unwrap()
                .starts_with("text/plain")
        );
    }
}
