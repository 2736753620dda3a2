//! Tokens of senders and of queries, and the limit of connections for each client.

use std::net::SocketAddr;

use serde_json::{Value, json};
use throughline_collector::{AccessControl, AccessRules, AccessToken, IngestToken};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::grpc::client;
use crate::query_grpc::services_with_token;
use crate::running::{
    HttpResponse, JSON, RunningCollector, TRACE, eventually, open, raw, request, request_message,
};

const SEND: (&str, &str) = ("authorization", "Bearer sender-0123456789");
const READ: (&str, &str) = ("authorization", "Bearer reader-0123456789");

fn rules(services: &[&str], max_rate: Option<u32>) -> AccessRules {
    let services = services.iter().map(|name| (*name).to_owned()).collect();
    let token = AccessToken::new("sender-0123456789");
    AccessRules {
        ingest: vec![IngestToken::new(token, services, max_rate)],
        query: vec![AccessToken::new("reader-0123456789")],
        query_header: None,
    }
}

fn collector(rules: AccessRules) -> (RunningCollector, AccessControl) {
    let access = AccessControl::new(rules);
    let shared = access.clone();
    let collector = RunningCollector::configured(|config| {
        config.access = shared;
        config.cors_origins = vec!["https://shop.example".to_owned()];
    });
    (collector, access)
}

fn send(collector: &RunningCollector, headers: &[(&str, &str)], body: &Value) -> HttpResponse {
    let headers = [&[JSON][..], headers].concat();
    let to = collector.addresses.otlp_http;
    collector.post(to, "/v1/traces", &headers, body.to_string().as_bytes())
}

/// Returns the response to a query, with its head.
fn query(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> String {
    let fields: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{fields}\r\n");
    raw(to, head.as_bytes())
}

#[test]
fn senders_and_readers_need_a_token_of_their_own_on_every_port() {
    let (collector, _) = collector(rules(&[], None));
    let spans = request(TRACE, "00f067aa0ba902b7");
    for headers in [
        &[][..],
        &[READ],
        &[("authorization", "Bearer sender-012345678")],
    ] {
        let response = send(&collector, headers, &spans);
        assert_eq!(response.status, 401, "{headers:?}");
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
        let zipkin = collector.addresses.zipkin;
        let response = collector.post(zipkin, "/api/v2/spans", headers, b"[]");
        assert_eq!(response.status, 401, "{headers:?}");
    }
    assert_eq!(send(&collector, &[SEND], &spans).status, 200);

    let to = collector.addresses.query;
    let path = format!("/api/traces/{TRACE}");
    for path in [
        "/",
        "/api/services",
        "/metrics",
        "/api/throughline/search",
        &path,
    ] {
        for headers in [&[][..], &[SEND]] {
            let response = query(to, path, headers);
            assert!(response.starts_with("HTTP/1.1 401 "), "{path}: {response}");
            // A browser asks its user, and the page works without a cookie.
            let challenge = "www-authenticate: Basic realm=\"throughline\"";
            assert!(response.contains(challenge), "{response}");
            assert!(!response.contains("set-cookie") && !response.contains("eshop"));
        }
    }
    let basic = ("authorization", "Basic YW55b25lOnJlYWRlci0wMTIzNDU2Nzg5");
    for headers in [READ, basic] {
        let response = query(to, &path, &[headers]);
        assert!(response.contains("GET /checkout"), "{response}");
    }
    // A probe has no token, and learns nothing.
    assert!(query(to, "/healthz", &[]).ends_with("ok\n"));
}

#[test]
fn grpc_calls_need_a_token() {
    let (collector, _) = collector(rules(&[], None));
    let mut client = client(&collector);
    let call = client.export(request_message(1));
    let status = collector.runtime.block_on(call).unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    let mut request = Request::new(request_message(1));
    let token = MetadataValue::from_static(SEND.1);
    request.metadata_mut().insert("authorization", token);
    collector.runtime.block_on(client.export(request)).unwrap();
}

#[test]
fn queries_over_grpc_need_a_token() {
    let (collector, _) = collector(rules(&[], None));
    let spans = request(TRACE, "00f067aa0ba902b7");
    assert_eq!(send(&collector, &[SEND], &spans).status, 200);
    for token in [None, Some(SEND.1)] {
        let status = services_with_token(&collector, token).unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{token:?}: {status}");
    }
    let services = services_with_token(&collector, Some(READ.1)).unwrap();
    assert_eq!(services, ["eshop"]);
}

#[test]
fn permission_of_a_page_is_asked_without_a_token() {
    let (collector, _) = collector(rules(&[], None));
    let head = "OPTIONS /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                origin: https://shop.example\r\naccess-control-request-method: POST\r\n\
                access-control-request-headers: authorization\r\n\r\n";
    let answer = raw(collector.addresses.otlp_http, head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(answer.contains("access-control-allow-headers: authorization"));
}

#[test]
fn token_limits_the_services_of_its_spans() {
    let (collector, _) = collector(rules(&["billing"], None));
    let eshop = send(&collector, &[SEND], &request(TRACE, "00f067aa0ba902b7"));
    assert_eq!(eshop.status, 200);
    assert_eq!(eshop.json()["partialSuccess"]["rejectedSpans"], "1");
    let mut billing = request(TRACE, "00f067aa0ba902b8");
    let service = &mut billing["resourceSpans"][0]["resource"]["attributes"][0]["value"];
    *service = json!({ "stringValue": "billing" });
    assert_eq!(send(&collector, &[SEND], &billing).json(), json!({}));
    let services = query(collector.addresses.query, "/api/services", &[READ]);
    assert!(
        services.contains("billing") && !services.contains("eshop"),
        "{services}"
    );
    let metrics = query(collector.addresses.query, "/metrics", &[READ]);
    let rejected = "throughline_spans_rejected_total{door=\"otlp_http\",reason=\"service\"} 1";
    assert!(metrics.contains(rejected), "{metrics}");
}

#[test]
fn sender_beyond_its_rate_has_to_wait() {
    let (collector, _) = collector(rules(&[], Some(1)));
    let spans = request(TRACE, "00f067aa0ba902b7");
    let refused = eventually("the rate is used up", || {
        let response = send(&collector, &[SEND], &spans);
        (response.status != 200).then_some(response)
    });
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    let mut client = client(&collector);
    let status = eventually("the rate is used up", || {
        let mut request = Request::new(request_message(1));
        let token = MetadataValue::from_static(SEND.1);
        request.metadata_mut().insert("authorization", token);
        collector.runtime.block_on(client.export(request)).err()
    });
    assert_eq!(status.code(), Code::ResourceExhausted);
    // OTLP: only with this detail does the client send the spans again.
    assert!(status.get_details_retry_info().is_some());
}

#[test]
fn replaced_rules_hold_from_the_next_request_on() {
    let (collector, access) = collector(rules(&[], None));
    let spans = request(TRACE, "00f067aa0ba902b7");
    assert_eq!(send(&collector, &[SEND], &spans).status, 200);
    access.replace(AccessRules {
        ingest: vec![IngestToken::new(
            AccessToken::new("another-one"),
            Vec::new(),
            None,
        )],
        query_header: Some(http::HeaderName::from_static("x-forwarded-user")),
        ..AccessRules::default()
    });
    assert_eq!(send(&collector, &[SEND], &spans).status, 401);
    let to = collector.addresses.query;
    assert!(query(to, "/api/services", &[READ]).starts_with("HTTP/1.1 401 "));
    assert!(query(to, "/api/services", &[("x-forwarded-user", "ann")]).contains("eshop"));
}

#[test]
fn client_with_too_many_connections_is_refused_further_ones() {
    let collector = RunningCollector::with(|limits| limits.max_client_connections = 2);
    let to = collector.addresses.otlp_http;
    let held = [open(to, b"POST"), open(to, b"POST")];
    let refused = eventually("a third connection is closed", || {
        // Closed at once, perhaps before the client has written its request.
        let mut stream = std::net::TcpStream::connect(to).unwrap();
        let mut byte = [0];
        stream
            .set_read_timeout(Some(std::time::Duration::from_secs(1)))
            .unwrap();
        std::io::Read::read(&mut stream, &mut byte).ok()
    });
    assert_eq!(refused, 0);
    drop(held);
    let spans = request(TRACE, "00f067aa0ba902b7");
    let accepted = eventually("places become free", || {
        let agent = ureq::agent();
        let sent = agent
            .post(format!("http://{to}/v1/traces"))
            .header(JSON.0, JSON.1)
            .send(spans.to_string());
        sent.ok().map(|response| response.status().as_u16())
    });
    assert_eq!(accepted, 200);
    let metrics = collector.get("/metrics").text();
    let closed = "throughline_connections_closed_total{door=\"otlp_http\",reason=\"client_limit\"}";
    assert!(metrics.contains(closed), "{metrics}");
}
