//! Cross-origin requests of web pages.

use throughline_collector::Config;

use crate::running::{JSON, RunningCollector, raw};

const ORIGIN: (&str, &str) = ("origin", "https://shop.example");

fn collector(origins: &[&str]) -> RunningCollector {
    let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    RunningCollector::configured(|config: &mut Config| config.cors_origins = origins)
}

/// Returns the answer to a preflight as Chromium sends it, in lower case.
fn preflight(to: std::net::SocketAddr, path: &str, origin: &str) -> String {
    let head = format!(
        "OPTIONS {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\norigin: {origin}\r\n\
         access-control-request-method: POST\r\n\
         access-control-request-headers: content-type,x-tenant\r\n\
         access-control-request-private-network: true\r\n\r\n"
    );
    raw(to, head.as_bytes()).to_lowercase()
}

#[test]
fn pages_of_allowed_origins_may_send_spans() {
    let collector = collector(&["https://shop.example"]);
    for (to, path, body) in [
        (collector.addresses.otlp_http, "/v1/traces", "{}"),
        (collector.addresses.otlp_http, "/v1/logs", "{}"),
        (collector.addresses.zipkin, "/api/v2/spans", "[]"),
    ] {
        let answer = preflight(to, path, ORIGIN.1);
        for part in [
            "http/1.1 204 ",
            "access-control-allow-origin: https://shop.example\r\n",
            "access-control-allow-methods: post\r\n",
            "access-control-allow-headers: content-type,x-tenant\r\n",
            "access-control-allow-private-network: true\r\n",
            "vary: origin\r\n",
        ] {
            assert!(answer.contains(part), "{path}: {part:?} in {answer}");
        }
        let response = collector.post(to, path, &[JSON, ORIGIN], body.as_bytes());
        assert!(response.status < 300, "{path}: {}", response.status);
        let allowed = response.header("access-control-allow-origin");
        assert_eq!(allowed, Some(ORIGIN.1), "{path}");
    }
    // An error can be read by the page as well.
    let to = collector.addresses.otlp_http;
    let response = collector.post(to, "/v1/traces", &[JSON, ORIGIN], b"{");
    assert_eq!(response.status, 400);
    assert!(response.header("access-control-allow-origin").is_some());
}

#[test]
fn pages_of_other_origins_may_not() {
    let none = collector(&[]);
    let other = collector(&["https://other.example", "https://shop.example:8443"]);
    for collector in [&none, &other] {
        let to = collector.addresses.otlp_http;
        let answer = preflight(to, "/v1/traces", ORIGIN.1);
        assert!(!answer.contains("access-control-"), "{answer}");
        let response = collector.post(to, "/v1/traces", &[JSON, ORIGIN], b"{}");
        assert_eq!(response.header("access-control-allow-origin"), None);
    }
}

#[test]
fn an_asterisk_allows_every_origin_and_never_the_query_api() {
    let collector = collector(&["*"]);
    let answer = preflight(collector.addresses.otlp_http, "/v1/traces", "null");
    assert!(
        answer.contains("access-control-allow-origin: null\r\n"),
        "{answer}"
    );
    let head = "GET /api/services HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                origin: https://shop.example\r\n\r\n";
    let answer = raw(collector.addresses.query, head.as_bytes()).to_lowercase();
    assert!(!answer.contains("access-control-"), "{answer}");
}
