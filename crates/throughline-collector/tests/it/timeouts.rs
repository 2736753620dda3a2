//! Slow, silent and vanished clients hold no resources, and shutdown is bounded.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use crate::running::{JSON, PROTOBUF, RunningCollector, eventually, open, raw, request_protobuf};

const SHORT: Duration = Duration::from_millis(200);

#[test]
fn incomplete_request_headers_time_out() {
    let collector = RunningCollector::with(|limits| limits.header_read_timeout = SHORT);
    for endpoint in [
        collector.addresses.otlp_http,
        collector.addresses.zipkin,
        collector.addresses.query,
    ] {
        // Reads until the collector closes the connection; the test has its own timeout.
        raw(endpoint, b"GET / HTTP/1.1\r\nhost: ");
    }
}

#[test]
fn silent_grpc_clients_are_disconnected() {
    let collector = RunningCollector::with(|limits| {
        limits.header_read_timeout = SHORT;
        limits.idle_timeout = SHORT;
    });
    raw(collector.addresses.otlp_grpc, b"");
    raw(
        collector.addresses.otlp_grpc,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    );
}

#[test]
fn incomplete_bodies_are_answered_408() {
    let collector = RunningCollector::with(|limits| limits.body_read_timeout = SHORT);
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 9\r\n\r\n{";
    let response = raw(collector.addresses.otlp_http, head.as_bytes());
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
}

#[test]
fn clients_answered_while_sending_receive_the_response() {
    let collector = RunningCollector::with(|limits| {
        limits.max_requests = 1;
        limits.admission_timeout = Duration::from_millis(20);
    });
    let head = |path: &str, headers: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-length: 4000000\r\n{headers}\r\n"
        )
    };
    let _holder = open(
        collector.addresses.otlp_http,
        head("/v1/traces", "content-type: application/json\r\n").as_bytes(),
    );
    eventually("the only permit is taken", || {
        (collector
            .post(collector.addresses.otlp_http, "/v1/traces", &[JSON], b"{}")
            .status
            == 503)
            .then_some(())
    });
    for (path, headers, status) in [
        ("/v1/traces", "content-type: application/json\r\n", "503"),
        (
            "/v1/traces",
            "content-type: application/json\r\ncontent-encoding: br\r\n",
            "415",
        ),
        ("/v1/traces", "content-type: text/plain\r\n", "415"),
        ("/v1/metrics", "content-type: application/json\r\n", "200"),
    ] {
        let mut connection = open(
            collector.addresses.otlp_http,
            head(path, headers).as_bytes(),
        );
        for _ in 0..4 {
            // Longer than the collector needs to reject the headers.
            std::thread::park_timeout(Duration::from_millis(20));
            connection.write_all(&[b' '; 1_000_000]).unwrap();
        }
        let mut response = String::new();
        connection.read_to_string(&mut response).unwrap();
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path} {headers}: {response}"
        );
    }
}

#[test]
fn connections_beyond_the_limit_wait_until_others_close() {
    let collector = RunningCollector::with(|limits| {
        limits.max_connections = 2;
        limits.header_read_timeout = SHORT;
    });
    let _silent = [
        open(collector.addresses.otlp_http, b""),
        open(collector.addresses.otlp_http, b""),
    ];
    assert_eq!(
        collector
            .post(collector.addresses.otlp_http, "/v1/traces", &[JSON], b"{}")
            .status,
        200
    );
}

#[test]
fn incomplete_heads_give_way_to_new_connections_and_requests_do_not() {
    let collector = RunningCollector::with(|limits| limits.max_connections = 8);
    let http = collector.addresses.otlp_http;
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                content-type: application/json\r\ncontent-length: 2\r\n\r\n{";
    let mut slow = open(http, head.as_bytes());
    // More than there are places; their own deadline is longer than this test.
    let _heads: Vec<_> = (0..20)
        .map(|_| open(http, b"POST /v1/traces HTTP/1.1\r\nhost: "))
        .collect();
    let begun = std::time::Instant::now();
    assert_eq!(
        collector.post(http, "/v1/traces", &[JSON], b"{}").status,
        200
    );
    assert!(begun.elapsed() < Duration::from_secs(4));
    // The request that was under way is not disturbed.
    slow.write_all(b"}").unwrap();
    let mut response = String::new();
    slow.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    let metrics = collector.get("/metrics").text();
    assert!(
        metrics.contains(
            "throughline_connections_closed_total{door=\"otlp_http\",reason=\"replaced\"}"
        ),
        "{metrics}"
    );
}

#[test]
fn idle_connections_live_longer_than_incomplete_heads() {
    let collector = RunningCollector::with(|limits| limits.header_read_timeout = SHORT);
    let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut idle = open(collector.addresses.query, request);
    for _ in 0..2 {
        let mut response = vec![0; 4096];
        let length = idle.read(&mut response).unwrap();
        assert!(response[..length].starts_with(b"HTTP/1.1 200 "));
        std::thread::park_timeout(3 * SHORT);
        idle.write_all(request).unwrap();
    }
}

#[test]
fn unread_responses_are_bounded() {
    let collector = RunningCollector::with(|limits| limits.max_response_bytes = 10 << 20);
    let response = collector.post(
        collector.addresses.otlp_http,
        "/v1/traces",
        &[PROTOBUF],
        &request_protobuf(8 << 20),
    );
    assert_eq!(response.status, 200);
    let path = format!("/api/traces/{}", "01".repeat(16));
    // Reads the first bytes only; the socket buffers do not hold the rest.
    let begin = || {
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let mut connection = open(collector.addresses.query, head.as_bytes());
        let mut status = [0; 12];
        connection.read_exact(&mut status).unwrap();
        (status == *b"HTTP/1.1 200").then_some(connection)
    };
    let idle = begin().unwrap();
    for path in [path.as_str(), &path.replace("/api/", "/api/v3/")] {
        let rejected = collector.get(path);
        assert!(
            rejected.status == 503 && rejected.text().contains("try again later"),
            "{path}: {}",
            rejected.status
        );
    }
    assert_eq!(collector.get("/api/services").status, 200);
    drop(idle);
    drop(eventually("the memory is released", begin));
}

#[test]
fn idle_connections_do_not_delay_shutdown() {
    let collector = RunningCollector::start();
    let _idle = open(
        collector.addresses.query,
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
    );
    let _client = crate::grpc::client(&collector);
    assert_eq!(collector.get("/healthz").text(), "ok\n");
    assert!(collector.stop() < Duration::from_secs(2));
}

#[test]
fn requests_in_flight_are_aborted_after_the_drain_timeout() {
    let collector = RunningCollector::with(|limits| limits.drain_timeout = SHORT);
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 9\r\n\r\n{";
    let _stuck = open(collector.addresses.otlp_http, head.as_bytes());
    let _silent = open(
        collector.addresses.otlp_grpc,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    );
    assert_eq!(collector.get("/healthz").status, 200);
    assert!(collector.stop() < Duration::from_secs(2));
}
