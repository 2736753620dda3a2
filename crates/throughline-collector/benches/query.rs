//! Response times of our own API with a million stored spans, and with a trace of a hundred
//! thousand, over a socket.
//!
//! `cargo bench -p throughline-collector --bench query` prints the times, and fails when one
//! exceeds five times its target, since machines differ. It takes about 4 GB of memory.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a benchmark prints, and reports failures by panicking"
)]

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use throughline_collector::{CollectorAddresses, CollectorServer, Config};

/// Traces of ten spans, and spans of the one large trace.
const TRACES: u64 = 90_000;
const LARGE: u64 = 100_000;

const START: u64 = 1_700_000_000_000_000_000;

const SERVICES: [&str; 6] = [
    "eshop",
    "inventory",
    "billing",
    "delivery",
    "kafka-consumer",
    "notification",
];

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config {
        otlp_grpc_port: 0,
        otlp_http_port: 0,
        zipkin_port: 0,
        query_port: 0,
        max_store_bytes: 8 << 30,
        ..Config::default()
    };
    let collector = runtime.block_on(CollectorServer::bind(config)).unwrap();
    let at = collector.addresses();
    let served = runtime.spawn(collector.run(std::future::pending()));
    let started = Instant::now();
    fill(&at);
    println!(
        "sent {} spans in {:.1?}",
        TRACES * 10 + LARGE,
        started.elapsed()
    );
    let metrics = String::from_utf8(get(&at, "/metrics")).unwrap();
    metrics
        .lines()
        .filter(|line| line.starts_with("throughline_store_"))
        .for_each(|line| println!("{line}"));
    searches(&at);
    let second = Duration::from_secs(1);
    measure(
        &at,
        "trace of 100,000 spans",
        &format!("/api/throughline/traces/{:032x}", u128::MAX),
        second,
    );
    let range = format!(
        "start={}&end={}",
        START / 1000,
        START / 1000 + 3_600_000_000
    );
    measure(
        &at,
        "map of everything",
        &format!("/api/throughline/map?{range}"),
        2 * second,
    );
    measure(
        &at,
        "journey",
        &format!("/api/throughline/journey/{:032x}", 77),
        second,
    );
    measure(&at, "live", "/api/throughline/live", second / 10);
    measure(
        &at,
        "complete values",
        "/api/throughline/complete?what=values&key=http.route&text=1",
        second / 10,
    );
    served.abort();
}

/// Measures searches for 500 traces each.
fn searches(at: &CollectorAddresses) {
    let target = Duration::from_millis(300);
    for (what, query) in [
        ("newest", ""),
        ("longest", "&order=duration"),
        (
            "a service, most errors first",
            "&service=billing&order=errors",
        ),
        (
            "an attribute, longest",
            "&order=duration&q=http.route%3D/item/17",
        ),
        (
            "a rare attribute",
            "&q=%7B%20span.order.id%20%3D%20%22order-4711%22%20%7D",
        ),
        (
            "an expression that matches",
            "&q=%7B%20span.http.route%20%3D~%20%22/item/1.*%22%20%7D&order=duration",
        ),
        (
            "an expression that matches nothing",
            "&q=%7B%20span.http.route%20%3D~%20%22x.*%22%20%7D",
        ),
        (
            "a range of a number",
            "&q=%7B%20span.http.response.status_code%20%3E%3D%20500%20%7D&order=spans",
        ),
        ("a topic", "&topic=orders&order=duration"),
    ] {
        measure(
            at,
            &format!("search: {what}"),
            &format!("/api/throughline/search?limit=500{query}"),
            target,
        );
    }
    // No index helps here: every span is examined.
    for (what, query) in [
        (
            "an expression over unlisted values",
            "&q=%7B%20span.order.id%20%3D~%20%22nothing.*%22%20%7D",
        ),
        ("spans by duration", "&q=%7B%20duration%20%3E%201h%20%7D"),
    ] {
        measure(
            at,
            &format!("search: {what}"),
            &format!("/api/throughline/search?limit=500{query}"),
            5 * target,
        );
    }
}

/// Measures the median of five requests.
fn measure(at: &CollectorAddresses, what: &str, path: &str, target: Duration) {
    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..5 {
        let begun = Instant::now();
        bytes = get(at, path).len();
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let median = times.get(2).copied().unwrap_or_default();
    let verdict = if median <= target { "" } else { "  MISSED" };
    println!("{what:45} {median:>10.1?} of {target:?}, {bytes} bytes{verdict}");
    assert!(median < target * 5, "{what}: {median:?}");
}

/// Returns the compressed response.
fn get(at: &CollectorAddresses, path: &str) -> Vec<u8> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(at.query).unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\naccept-encoding: gzip\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    assert!(
        response.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(response.get(..300).unwrap_or(&response))
    );
    response
}

fn fill(at: &CollectorAddresses) {
    for batch in 0..TRACES / 500 {
        let ids = batch * 500 + 1..=batch * 500 + 500;
        send(
            at,
            ids.flat_map(|trace| (0..10).map(move |row| span(u128::from(trace), row, 10, trace))),
        );
    }
    for batch in 0..LARGE / 5000 {
        let rows = batch * 5000..batch * 5000 + 5000;
        send(at, rows.map(|row| span(u128::MAX, row, LARGE, row)));
    }
}

/// Sends one export, with a resource for each service.
fn send(at: &CollectorAddresses, spans: impl Iterator<Item = (usize, Span)>) {
    let mut of_services: Vec<Vec<Span>> = vec![Vec::new(); SERVICES.len()];
    for (service, span) in spans {
        of_services[service].push(span);
    }
    let resource_spans = SERVICES
        .iter()
        .zip(of_services)
        .map(|(service, spans)| ResourceSpans {
            resource: Some(Resource {
                attributes: vec![text("service.name", (*service).to_owned())],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        })
        .collect();
    let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    let url = format!("http://{}/v1/traces", at.otlp_http);
    let response = ureq::post(url)
        .header("content-type", "application/x-protobuf")
        .send(&body[..])
        .unwrap();
    assert_eq!(response.status().as_u16(), 200);
}

/// Returns a span with eleven attributes, one of them unique.
fn span(trace: u128, row: u64, of: u64, seed: u64) -> (usize, Span) {
    let kind = [2, 3, 2, 1, 4, 5][(row % 6) as usize];
    let start = START + (seed % 100_000) * 1_000_000 + row * 10_000;
    let parent = if row == 0 {
        Vec::new()
    } else {
        (row.div_ceil(2)).to_be_bytes().to_vec()
    };
    let number = |key: &str, number: u64| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::IntValue(number.cast_signed())),
        }),
        ..KeyValue::default()
    };
    let mut attributes = vec![
        text("http.request.method", "GET".to_owned()),
        text("http.route", format!("/item/{}", seed % 400)),
        number(
            "http.response.status_code",
            if seed.is_multiple_of(50) { 503 } else { 200 },
        ),
        text("url.scheme", "http".to_owned()),
        text("server.address", format!("10.0.0.{}", seed % 200)),
        number("server.port", 8080),
        text("network.protocol.version", "1.1".to_owned()),
        text("user_agent.original", "curl/8.5.0".to_owned()),
        text("order.id", format!("order-{}", seed * of + row)),
        text("thread.name", format!("worker-{}", row % 16)),
    ];
    if kind > 3 {
        attributes.push(text("messaging.destination.name", "orders".to_owned()));
    }
    let span = Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: (row + 1).to_be_bytes().to_vec(),
        parent_span_id: parent,
        name: format!("GET /item/{}", row % 40),
        kind,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_000_000 + (seed * 7919 % 1000) * 10_000,
        attributes,
        status: (seed.is_multiple_of(50) && row == 3).then(|| Status {
            code: 2,
            ..Status::default()
        }),
        ..Span::default()
    };
    ((row % SERVICES.len() as u64) as usize, span)
}

fn text(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue {
        value: Some(any_value::Value::StringValue(value)),
    });
    KeyValue {
        key: key.to_owned(),
        value,
        ..KeyValue::default()
    }
}
