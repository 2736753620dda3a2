//! Clients that are slow, silent or gone hold nothing for ever, and the end comes when it is asked for.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use crate::running::{JSON, PROTOBUF, Running, eventually, open, raw, request_protobuf};

const SHORT: Duration = Duration::from_millis(200);

#[test]
fn a_head_that_does_not_end_is_not_waited_for() {
    let collector = Running::with(|limits| limits.head_deadline = SHORT);
    for door in [
        collector.at.otlp_http,
        collector.at.zipkin,
        collector.at.query,
    ] {
        // Read until the collector closes: the test would fail on its own time-out.
        raw(door, b"GET / HTTP/1.1\r\nhost: ");
    }
}

#[test]
fn a_grpc_client_that_says_nothing_is_not_waited_for() {
    let collector = Running::with(|limits| limits.head_deadline = SHORT);
    raw(collector.at.otlp_grpc, b"");
    raw(collector.at.otlp_grpc, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}

#[test]
fn a_body_that_does_not_end_is_answered_408() {
    let collector = Running::with(|limits| limits.body_deadline = SHORT);
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let answer = raw(collector.at.otlp_http, head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[test]
fn a_client_that_is_refused_while_it_sends_hears_why() {
    let collector = Running::with(|limits| {
        limits.requests_max = 1;
        limits.admission_wait = Duration::from_millis(20);
    });
    let head = |path: &str, headers: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4000000\r\n{headers}\r\n"
        )
    };
    let _holder = open(
        collector.at.otlp_http,
        head("/v1/traces", "content-type: application/json\r\n").as_bytes(),
    );
    eventually("the only place is taken", || {
        (collector
            .post(collector.at.otlp_http, "/v1/traces", &[JSON], b"{}")
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
        ("/v1/metrics", "content-type: application/json\r\n", "404"),
    ] {
        let mut connection = open(collector.at.otlp_http, head(path, headers).as_bytes());
        for _ in 0..4 {
            // Longer than it takes to refuse the head.
            std::thread::park_timeout(Duration::from_millis(20));
            connection.write_all(&[b' '; 1_000_000]).unwrap();
        }
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path} {headers}: {answer}"
        );
    }
}

#[test]
fn connections_past_the_limit_wait_and_are_served_once_there_is_room() {
    let collector = Running::with(|limits| {
        limits.connections_max = 2;
        limits.head_deadline = SHORT;
    });
    let _silent = [
        open(collector.at.otlp_http, b""),
        open(collector.at.otlp_http, b""),
    ];
    assert_eq!(
        collector
            .post(collector.at.otlp_http, "/v1/traces", &[JSON], b"{}")
            .status,
        200
    );
}

#[test]
fn large_answers_that_nobody_takes_do_not_add_up() {
    let collector = Running::with(|limits| limits.answers_max = 10 << 20);
    let answer = collector.post(
        collector.at.otlp_http,
        "/v1/traces",
        &[PROTOBUF],
        &request_protobuf(8 << 20),
    );
    assert_eq!(answer.status, 200);
    let path = format!("/api/traces/{}", "01".repeat(16));
    // Takes the first bytes only; the system's buffers do not hold the rest.
    let begin = || {
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let mut connection = open(collector.at.query, head.as_bytes());
        let mut status = [0; 12];
        connection.read_exact(&mut status).unwrap();
        (status == *b"HTTP/1.1 200").then_some(connection)
    };
    let idle = begin().unwrap();
    for path in [path.as_str(), &path.replace("/api/", "/api/v3/")] {
        let refused = collector.get(path);
        assert!(
            refused.status == 503 && refused.text().contains("ask again later"),
            "{path}: {}",
            refused.status
        );
    }
    assert_eq!(collector.get("/api/services").status, 200);
    drop(idle);
    drop(eventually("the memory is given back", begin));
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let collector = Running::start();
    let _idle = open(
        collector.at.query,
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
    );
    let _client = crate::grpc::client(&collector);
    assert_eq!(collector.get("/healthz").text(), "ok\n");
    assert!(collector.stop() < Duration::from_secs(2));
}

#[test]
fn a_request_under_way_is_cut_when_the_drain_is_over() {
    let collector = Running::with(|limits| limits.drain_deadline = SHORT);
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let _stuck = open(collector.at.otlp_http, head.as_bytes());
    let _silent = open(collector.at.otlp_grpc, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(collector.get("/healthz").status, 200);
    assert!(collector.stop() < Duration::from_secs(2));
}
