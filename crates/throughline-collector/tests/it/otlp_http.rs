//! OTLP over HTTP.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;

use crate::running::{
    GZIP, JSON, PROTOBUF, RunningCollector, TRACE, gzip, open, raw, request, request_message,
    request_protobuf,
};

const PATH: &str = "/v1/traces";

#[test]
fn protobuf_requests_are_stored_and_answered_in_protobuf() {
    let collector = RunningCollector::start();
    let response = collector.post(
        collector.addresses.otlp_http,
        PATH,
        &[PROTOBUF],
        &request_protobuf(5),
    );
    assert_eq!(
        (response.status, response.header("content-type")),
        (200, Some("application/x-protobuf"))
    );
    let export = ExportTraceServiceResponse::decode(response.body.as_slice()).unwrap();
    assert_eq!(export.partial_success, None);
    let trace = collector.query(&format!("/api/traces/{}", "01".repeat(16)));
    assert_eq!(trace["data"][0]["spans"][0]["operationName"], "xxxxx");
}

#[test]
fn json_requests_are_stored_and_answered_in_json() {
    let collector = RunningCollector::start();
    let body = request(TRACE, "00f067aa0ba902b7").to_string();
    let json = ("content-type", "application/json; charset=utf-8");
    let response = collector.post(
        collector.addresses.otlp_http,
        PATH,
        &[json],
        body.as_bytes(),
    );
    assert_eq!(
        (response.status, response.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(response.text(), "{}");
    assert_eq!(
        collector.query("/api/services")["data"],
        serde_json::json!(["eshop"])
    );
}

#[test]
fn gzip_bodies_are_inflated() {
    let collector = RunningCollector::start();
    let response = collector.post(
        collector.addresses.otlp_http,
        PATH,
        &[PROTOBUF, GZIP],
        &gzip(&request_protobuf(5)),
    );
    assert_eq!(response.status, 200);
    assert_eq!(
        collector
            .get(&format!("/api/traces/{}", "01".repeat(16)))
            .status,
        200
    );
}

#[test]
fn invalid_spans_make_a_partial_success() {
    let collector = RunningCollector::start();
    let mut body = request(TRACE, "00f067aa0ba902b7");
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"]
        .as_array_mut()
        .unwrap();
    let mut bad = spans[0].clone();
    bad["spanId"] = "0000000000000000".into();
    spans.push(bad);
    let response = collector.post(
        collector.addresses.otlp_http,
        PATH,
        &[JSON],
        body.to_string().as_bytes(),
    );
    assert_eq!(response.status, 200);
    let partial = &response.json()["partialSuccess"];
    assert_eq!(partial["rejectedSpans"], "1");
    assert!(
        partial["errorMessage"]
            .as_str()
            .unwrap()
            .contains("span id"),
        "{partial}"
    );

    let mut message = request_message(1);
    message.resource_spans[0].scope_spans[0].spans[0]
        .trace_id
        .clear();
    let response = collector.post(
        collector.addresses.otlp_http,
        PATH,
        &[PROTOBUF],
        &message.encode_to_vec(),
    );
    let export = ExportTraceServiceResponse::decode(response.body.as_slice()).unwrap();
    assert_eq!(
        (
            response.status,
            export.partial_success.unwrap().rejected_spans
        ),
        (200, 1)
    );

    let metrics = collector.get("/metrics").text();
    for line in [
        "throughline_spans_received_total{door=\"otlp_http\"} 1",
        "throughline_spans_rejected_total{door=\"otlp_http\",reason=\"span_id\"} 1",
        "throughline_spans_rejected_total{door=\"otlp_http\",reason=\"trace_id\"} 1",
        "throughline_requests_total{door=\"otlp_http\",code=\"200\"} 2",
        "throughline_store_spans 1",
    ] {
        assert!(
            metrics.lines().any(|own| own == line),
            "{line} is missing in:\n{metrics}"
        );
    }
}

#[test]
fn malformed_requests_are_answered_400_in_their_encoding() {
    let collector = RunningCollector::start();
    for (headers, body) in [
        (&[JSON][..], &b"{"[..]),
        (&[PROTOBUF], &[0xff; 30]),
        (&[JSON, GZIP], b"{}"),
        (&[PROTOBUF, GZIP], &gzip(&[7; 5])[..12]),
    ] {
        let response = collector.post(collector.addresses.otlp_http, PATH, headers, body);
        assert_eq!(response.status, 400, "{headers:?}");
        assert_eq!(response.header("content-type"), Some(headers[0].1));
        assert!(response.text().contains("not"), "{}", response.text());
    }
}

#[test]
fn wrong_content_types_paths_and_methods_have_distinct_statuses() {
    let collector = RunningCollector::start();
    let http = collector.addresses.otlp_http;
    assert_eq!(
        collector
            .post(http, PATH, &[("content-type", "text/plain")], b"{}")
            .status,
        415
    );
    assert_eq!(
        collector
            .post(http, PATH, &[JSON, ("content-encoding", "br")], b"{}")
            .status,
        415
    );
    assert_eq!(
        collector.post(http, "/v1/profiles", &[JSON], b"{}").status,
        404
    );
    let response = raw(
        http,
        b"GET /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    );
    assert!(
        response.starts_with("HTTP/1.1 405 ") && response.to_lowercase().contains("allow: post"),
        "{response}"
    );
}

#[test]
fn metrics_and_logs_are_accepted_dropped_and_counted() {
    let collector = RunningCollector::start();
    for path in ["/v1/metrics", "/v1/logs"] {
        let to = collector.addresses.otlp_http;
        // Empty messages of protobuf, and what an SDK expects of a full success in JSON.
        for (header, expected) in [(PROTOBUF, ""), (JSON, "{}")] {
            let response = collector.post(to, path, &[header], b"anything");
            assert_eq!(
                (response.status, response.text().as_str()),
                (200, expected),
                "{path}"
            );
            assert_eq!(response.header("content-type"), Some(header.1));
        }
    }
    let metrics = collector.get("/metrics").text();
    for signal in ["metrics", "logs"] {
        let line = format!(
            "throughline_signals_dropped_total{{door=\"otlp_http\",signal=\"{signal}\"}} 2"
        );
        assert!(metrics.contains(&line), "{line} is missing in:\n{metrics}");
    }
}

#[test]
fn codings_are_removed_whatever_their_case_and_number() {
    use std::io::Write as _;
    let collector = RunningCollector::start();
    let http = collector.addresses.otlp_http;
    let plain = request_protobuf(5);
    let zlib = {
        let fast = flate2::Compression::fast();
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), fast);
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    // Without the two bytes before it and the checksum behind it, zlib is raw deflate.
    let raw_deflate = zlib[2..zlib.len() - 4].to_vec();
    let zstd = zstd::encode_all(plain.as_slice(), 3).unwrap();
    for (coding, body) in [
        ("GZip", gzip(&plain)),
        ("x-gzip", gzip(&plain)),
        ("gzip, identity", gzip(&plain)),
        ("Identity", plain.clone()),
        ("deflate", zlib.clone()),
        ("deflate", raw_deflate),
        ("zlib", zlib.clone()),
        ("ZSTD", zstd),
        ("deflate, gzip", gzip(&zlib)),
    ] {
        let headers = [PROTOBUF, ("content-encoding", coding)];
        let response = collector.post(http, PATH, &headers, &body);
        assert_eq!(response.status, 200, "{coding}: {}", response.text());
    }
    for coding in ["snappy", "gzip, gzip, gzip"] {
        let headers = [PROTOBUF, ("content-encoding", coding)];
        let response = collector.post(http, PATH, &headers, &gzip(&plain));
        assert_eq!(response.status, 415, "{coding}");
        let accepted = response.header("accept-encoding");
        assert_eq!(accepted, Some("gzip, deflate, zstd"));
    }
}

/// Requests as stock clients and misconfigured proxies send them: `tests/fixtures/otlp`.
#[test]
fn content_types_and_codings_of_clients_are_taken_for_what_they_are() {
    let collector = RunningCollector::start();
    for (name, media_type, coding, status) in [
        (
            "ct_params",
            "application/x-protobuf; charset=utf-8",
            "",
            200,
        ),
        ("ct_upper", "Application/X-Protobuf", "", 200),
        ("ct_protobuf", "application/protobuf", "", 200),
        ("ct_vnd", "application/vnd.google.protobuf", "", 200),
        // Nothing says that it is OTLP.
        ("ct_octet", "application/octet-stream", "", 415),
        ("gzip", "application/x-protobuf", "gzip", 200),
        (
            "gzip_identity",
            "application/x-protobuf",
            "Gzip, identity",
            200,
        ),
        ("double_gzip", "application/x-protobuf", "gzip, gzip", 200),
        ("double_gzip", "application/x-protobuf", "gzip", 400),
        ("deflate", "application/x-protobuf", "deflate", 200),
        // The header promises what the body is not.
        ("header_no_gzip", "application/x-protobuf", "gzip", 400),
        ("gzip_no_header", "application/x-protobuf", "", 400),
        ("zstd", "application/x-protobuf", "zstd", 400),
        ("snappy", "application/x-protobuf", "snappy", 415),
    ] {
        let path = format!(
            "{}/tests/fixtures/otlp/{name}.bin",
            env!("CARGO_MANIFEST_DIR")
        );
        let body = std::fs::read(path).unwrap();
        let mut headers = vec![("content-type", media_type)];
        if !coding.is_empty() {
            headers.push(("content-encoding", coding));
        }
        let response = collector.post(collector.addresses.otlp_http, PATH, &headers, &body);
        assert_eq!(response.status, status, "{name} {media_type} {coding}");
    }
}

#[test]
fn bombs_of_every_coding_are_answered_413() {
    use std::io::Write as _;
    let collector = RunningCollector::with(|limits| limits.max_body_bytes = 1 << 20);
    let http = collector.addresses.otlp_http;
    let zeros = vec![0; 64 << 20];
    let fast = flate2::Compression::fast();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), fast);
    encoder.write_all(&zeros).unwrap();
    let zlib = encoder.finish().unwrap();
    for (coding, bomb) in [
        ("zstd", zstd::encode_all(zeros.as_slice(), 3).unwrap()),
        ("deflate", zlib[2..zlib.len() - 4].to_vec()),
        ("deflate", zlib.clone()),
        ("gzip, gzip", gzip(&gzip(&zeros))),
    ] {
        let headers = [PROTOBUF, ("content-encoding", coding)];
        assert_eq!(
            collector.post(http, PATH, &headers, &bomb).status,
            413,
            "{coding}"
        );
    }
}

#[test]
fn zstd_frames_with_a_window_beyond_the_limit_are_rejected() {
    use std::io::Write as _;
    let collector = RunningCollector::start();
    // The decoder allocates the window that the frame announces, here 128 MiB.
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&request_protobuf(5)).unwrap();
    let body = encoder.finish().unwrap();
    let headers = [PROTOBUF, ("content-encoding", "zstd")];
    let response = collector.post(collector.addresses.otlp_http, PATH, &headers, &body);
    assert_eq!(response.status, 400, "{}", response.text());
}

#[test]
fn oversized_bodies_are_answered_413_before_and_after_inflation() {
    let collector = RunningCollector::with(|limits| limits.max_body_bytes = 1 << 20);
    let http = collector.addresses.otlp_http;
    assert_eq!(
        collector
            .post(http, PATH, &[PROTOBUF], &request_protobuf(1 << 20))
            .status,
        413
    );
    let bomb = gzip(&request_protobuf(1 << 20));
    assert!(bomb.len() < 20_000);
    assert_eq!(
        collector.post(http, PATH, &[PROTOBUF, GZIP], &bomb).status,
        413
    );
    assert_eq!(
        collector
            .post(http, PATH, &[PROTOBUF], &request_protobuf((1 << 20) - 100))
            .status,
        200
    );
}

#[test]
fn gzip_bombs_of_many_members_are_answered_413() {
    let collector = RunningCollector::with(|limits| limits.max_body_bytes = 1 << 20);
    let members = gzip(&[0; 200_000]).repeat(50);
    assert_eq!(
        collector
            .post(
                collector.addresses.otlp_http,
                PATH,
                &[PROTOBUF, GZIP],
                &members
            )
            .status,
        413
    );
}

#[test]
fn requests_beyond_the_concurrency_limit_are_rejected_as_retryable() {
    let collector = RunningCollector::with(|limits| {
        limits.max_requests = 1;
        limits.admission_timeout = std::time::Duration::from_millis(20);
    });
    let http = collector.addresses.otlp_http;
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 2\r\n\r\n{";
    let holder = open(http, head.as_bytes());
    let rejected = crate::running::eventually("the permit is taken", || {
        let response = collector.post(http, PATH, &[JSON], b"{}");
        (response.status != 200).then_some(response)
    });
    assert_eq!(
        (rejected.status, rejected.header("retry-after")),
        (503, Some("1"))
    );
    drop(holder);
    crate::running::eventually("the permit is free again", || {
        (collector.post(http, PATH, &[JSON], b"{}").status == 200).then_some(())
    });
}

#[test]
fn requests_beyond_the_memory_limit_are_rejected_as_retryable() {
    let collector = RunningCollector::with(|limits| limits.max_in_flight_bytes = 1 << 20);
    let http = collector.addresses.otlp_http;
    assert_eq!(
        collector
            .post(http, PATH, &[PROTOBUF], &request_protobuf(2 << 20))
            .status,
        503
    );
    assert_eq!(
        collector
            .post(
                http,
                PATH,
                &[PROTOBUF, GZIP],
                &gzip(&request_protobuf(2 << 20))
            )
            .status,
        503
    );
    // A rejected request releases its memory.
    assert_eq!(
        collector
            .post(http, PATH, &[PROTOBUF], &request_protobuf(700_000))
            .status,
        200
    );
}
