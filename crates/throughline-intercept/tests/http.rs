//! HTTP exchanges: the headers that are forwarded, and the span of each exchange.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/shared_correlator.rs"]
mod shared_correlator;

use std::sync::Arc;

use throughline_intercept::correlate::{self, CorrelatorAccess as _, REQUEST_ID};
use throughline_intercept::http::{
    CollectorAddress, Direction, ExchangeFailure, HttpExchange, HttpPeer, HttpRequestHead,
    RouteTemplate, Settings, TelemetrySystem, TrustPolicy,
};
use throughline_model::context::{Carrier, CarrierMut, Format, FormatSet, HeaderList};
use throughline_model::{Span, SpanKind, Status, Value};

use shared_correlator::SharedCorrelator;

const START: u64 = 1_700_000_000_000_000_000;
const MS: u64 = 1_000_000;
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// A service with a proxy beside it, in virtual time.
struct ProxiedService {
    settings: Arc<Settings>,
    correlator: SharedCorrelator,
    now: u64,
    seed: u64,
}

impl ProxiedService {
    fn new(settings: Settings) -> Self {
        let correlator = SharedCorrelator::new(correlate::Settings::default(), START);
        Self {
            settings: Arc::new(settings),
            correlator,
            now: START + 60_000 * MS,
            seed: 1,
        }
    }

    fn exchange(
        &mut self,
        direction: Direction,
        request: &HttpRequestHead<'_>,
        headers: &mut HeaderList,
    ) -> HttpExchange {
        self.seed += 1;
        let peer = HttpPeer {
            address: Some("10.1.2.3".parse().unwrap()),
            port: Some(4711),
        };
        let mut exchange =
            HttpExchange::new(Arc::clone(&self.settings), direction, peer, self.seed);
        self.now += MS;
        exchange.handle_request(self.now, request, headers, &self.correlator);
        exchange
    }

    fn in_flight(&self) -> usize {
        self.correlator
            .with_correlator(|correlator| correlator.in_flight_count())
    }

    fn inbound(&mut self, headers: &mut HeaderList) -> HttpExchange {
        self.exchange(Direction::Inbound, &GET, headers)
    }

    fn outbound(&mut self, headers: &mut HeaderList) -> HttpExchange {
        self.exchange(Direction::Outbound, &GET, headers)
    }

    fn respond(&mut self, exchange: &mut HttpExchange, status: u16) -> Option<Span> {
        self.now += MS;
        exchange.handle_response(self.now, status, &HeaderList::default(), &self.correlator);
        self.now += MS;
        exchange.handle_end(self.now, &self.correlator);
        exchange.poll_span()
    }

    fn fail(&mut self, exchange: &mut HttpExchange, failure: ExchangeFailure) -> Span {
        self.now += MS;
        exchange.handle_failure(self.now, failure, &self.correlator);
        exchange.poll_span().unwrap()
    }
}

impl Default for ProxiedService {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

const GET: HttpRequestHead<'_> = HttpRequestHead {
    method: "GET",
    scheme: "http",
    authority: "inventory:8080",
    target: "/createOrder?item=1&sig=secret",
    version: "1.1",
    body: None,
};

fn headers(pairs: &[(&str, &str)]) -> HeaderList {
    let mut list = HeaderList::default();
    pairs
        .iter()
        .for_each(|(name, value)| list.push(name, value));
    list
}

fn header(list: &HeaderList, name: &str) -> Option<String> {
    list.get(name)
        .map(|value| String::from_utf8(value.to_vec()).unwrap())
}

fn traceparent() -> String {
    format!("00-{TRACE}-{SPAN}-01")
}

#[track_caller]
fn assert_attribute(span: &Span, key: &str, value: impl Into<Value>) {
    assert_eq!(
        span.attribute(key),
        Some(&value.into()),
        "{key} of {:?}",
        span.attributes
    );
}

#[test]
fn inbound_request_continues_its_context_and_forwards_the_server_span() {
    let mut service = ProxiedService::default();
    let mut sent = headers(&[
        ("traceparent", &traceparent()),
        ("tracestate", "a=b"),
        ("user-agent", "curl/8"),
    ]);
    let mut exchange = service.inbound(&mut sent);
    let span = service.respond(&mut exchange, 200).unwrap();
    assert_eq!(exchange.poll_span(), None, "once");
    assert_eq!((span.name.as_str(), span.kind), ("GET", SpanKind::Server));
    assert_eq!(
        (
            span.trace_id.to_string().as_str(),
            span.parent_span_id.unwrap().to_string().as_str()
        ),
        (TRACE, SPAN)
    );
    assert_eq!(
        (span.trace_state.as_str(), span.flags, &span.status),
        ("a=b", 0x301, &Status::Unset)
    );
    assert_eq!(span.duration(), 2 * MS);
    assert_eq!(
        header(&sent, "traceparent").unwrap(),
        format!("00-{TRACE}-{}-01", span.span_id)
    );
    assert_eq!(header(&sent, "tracestate").unwrap(), "a=b");
    assert_attribute(&span, "throughline.parent.evidence", "header");
    assert_attribute(&span, "http.request.method", "GET");
    assert_attribute(&span, "url.path", "/createOrder");
    assert_attribute(&span, "url.query", "item=1&sig=REDACTED");
    assert_attribute(&span, "url.scheme", "http");
    assert_attribute(&span, "server.address", "inventory");
    assert_attribute(&span, "server.port", 8080);
    assert_attribute(&span, "client.address", "10.1.2.3");
    assert_attribute(&span, "network.peer.port", 4711);
    assert_attribute(&span, "network.protocol.version", "1.1");
    assert_attribute(&span, "user_agent.original", "curl/8");
    assert_attribute(&span, "http.response.status_code", 200);
    assert_eq!(span.attribute("error.type"), None);
}

#[test]
fn outbound_request_without_context_is_a_child_of_the_only_inbound_request() {
    let mut service = ProxiedService::default();
    let (mut received, mut sent) = (HeaderList::default(), HeaderList::default());
    let mut inbound = service.inbound(&mut received);
    let mut outbound = service.outbound(&mut sent);
    let client = service.respond(&mut outbound, 200).unwrap();
    let server = service.respond(&mut inbound, 200).unwrap();
    assert_eq!(
        (client.trace_id, client.parent_span_id),
        (server.trace_id, Some(server.span_id))
    );
    assert_eq!(
        (client.kind, client.flags, server.flags),
        (SpanKind::Client, 0x101, 0x101)
    );
    assert_eq!(
        server.attribute("throughline.parent.evidence"),
        None,
        "a root span has no parent"
    );
    assert_attribute(&client, "throughline.parent.evidence", "sole");
    assert!(matches!(
        client.attribute("throughline.parent.confidence"),
        Some(Value::Double(confidence)) if *confidence > 0.99
    ));
    assert_attribute(
        &client,
        "url.full",
        "http://inventory:8080/createOrder?item=1&sig=REDACTED",
    );
    assert_eq!(
        header(&sent, "traceparent").unwrap(),
        format!("00-{}-{}-01", client.trace_id, client.span_id)
    );
    assert_ne!(
        header(&sent, REQUEST_ID),
        header(&received, REQUEST_ID),
        "the id of an inferred parent would be exact evidence downstream"
    );
}

#[test]
fn with_two_requests_in_flight_only_headers_identify_the_parent() {
    let mut service = ProxiedService::default();
    let (mut first, mut second) = (HeaderList::default(), HeaderList::default());
    let (mut one, mut two) = (service.inbound(&mut first), service.inbound(&mut second));
    let mut bare = service.outbound(&mut HeaderList::default());
    let mut copied = service.outbound(&mut headers(&[(
        REQUEST_ID,
        &header(&first, REQUEST_ID).unwrap(),
    )]));
    let mut propagated = service.outbound(&mut headers(&[(
        "traceparent",
        &header(&second, "traceparent").unwrap(),
    )]));
    let [bare, copied, propagated] = [&mut bare, &mut copied, &mut propagated]
        .map(|exchange| service.respond(exchange, 200).unwrap());
    let [one, two] = [&mut one, &mut two].map(|exchange| service.respond(exchange, 200).unwrap());
    assert_attribute(&bare, "throughline.parent.evidence", "open");
    assert_eq!(bare.parent_span_id, None);
    assert!(![one.trace_id, two.trace_id].contains(&bare.trace_id));
    assert_attribute(&copied, "throughline.parent.evidence", "request-id");
    assert_eq!(
        (copied.trace_id, copied.parent_span_id),
        (one.trace_id, Some(one.span_id))
    );
    assert_attribute(&propagated, "throughline.parent.evidence", "header");
    assert_eq!(
        (propagated.trace_id, propagated.parent_span_id),
        (two.trace_id, Some(two.span_id))
    );
    for exact in [copied, propagated] {
        assert_eq!(exact.attribute("throughline.parent.confidence"), None);
    }
}

/// Headers that panic if they are accessed while the correlator is locked.
struct UnlockedHeaders<'a> {
    headers: HeaderList,
    correlator: &'a SharedCorrelator,
}

impl Carrier for UnlockedHeaders<'_> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        self.correlator.with_correlator(|_| ());
        self.headers.each(visit);
    }
}

impl CarrierMut for UnlockedHeaders<'_> {
    fn replace(&mut self, name: &str, value: &[u8]) {
        self.correlator.with_correlator(|_| ());
        self.headers.replace(name, value);
    }

    fn remove(&mut self, name: &str) {
        self.correlator.with_correlator(|_| ());
        self.headers.remove(name);
    }
}

#[test]
fn headers_are_read_and_written_without_the_lock_of_the_correlator() {
    let service = ProxiedService::default();
    for direction in [Direction::Inbound, Direction::Outbound] {
        let mut headers = UnlockedHeaders {
            headers: headers(&[("traceparent", &traceparent())]),
            correlator: &service.correlator,
        };
        let settings = Arc::clone(&service.settings);
        let mut exchange = HttpExchange::new(settings, direction, HttpPeer::default(), 1);
        exchange.handle_request(service.now, &GET, &mut headers, &service.correlator);
        exchange.handle_response(service.now, 200, &headers, &service.correlator);
        exchange.handle_end(service.now, &service.correlator);
        assert!(exchange.poll_span().is_some());
        assert!(header(&headers.headers, REQUEST_ID).is_some());
    }
}

#[test]
fn missing_request_id_is_generated_and_present_one_is_kept() {
    let mut service = ProxiedService::default();
    let mut sent = HeaderList::default();
    service.inbound(&mut sent);
    let generated = header(&sent, REQUEST_ID).unwrap();
    let shape: Vec<usize> = generated.split('-').map(str::len).collect();
    assert_eq!(shape, [8, 4, 4, 4, 12]);
    assert!(
        generated.get(14..15) == Some("4") && "89ab".contains(generated.get(19..20).unwrap()),
        "{generated}"
    );
    let mut sent = headers(&[("X-Request-Id", "mine")]);
    service.inbound(&mut sent);
    assert_eq!(
        (
            header(&sent, REQUEST_ID).as_deref(),
            sent.get("traceparent").is_some()
        ),
        (Some("mine"), true)
    );
    let mut service = ProxiedService::new(Settings {
        request_id: false,
        ..Settings::default()
    });
    let mut sent = HeaderList::default();
    service.inbound(&mut sent);
    assert_eq!(header(&sent, REQUEST_ID), None);
}

#[test]
fn every_format_is_read_and_replaced_by_the_configured_ones() {
    let b3 = format!("{TRACE}-{SPAN}-1");
    let cases: [&[(&str, &str)]; 4] = [
        &[("traceparent", &traceparent())],
        &[("b3", &b3)],
        &[
            ("X-B3-TraceId", TRACE),
            ("X-B3-SpanId", SPAN),
            ("X-B3-Sampled", "1"),
            ("X-B3-ParentSpanId", "0000000000000001"),
        ],
        &[("uber-trace-id", &format!("{TRACE}:{SPAN}:0:1"))],
    ];
    for pairs in cases {
        let mut service = ProxiedService::default();
        let mut sent = headers(pairs);
        let mut exchange = service.inbound(&mut sent);
        let span = service.respond(&mut exchange, 200).unwrap();
        assert_eq!(span.parent_span_id.unwrap().to_string(), SPAN, "{pairs:?}");
        let mut stale = false;
        sent.each(&mut |_, value| {
            stale |= value.is_some_and(|value| String::from_utf8_lossy(value).contains(SPAN));
        });
        assert!(!stale, "a stale context is left in {sent:?}");
        let all: Vec<Format> = Format::contexts().collect();
        let found = throughline_model::context::extract(&all, &sent)
            .context
            .unwrap();
        assert_eq!(
            (found.trace_id, found.span_id),
            (span.trace_id, span.span_id)
        );
    }
    let write = vec![Format::B3Multi];
    let mut service = ProxiedService::new(Settings {
        write,
        ..Settings::default()
    });
    let mut sent = HeaderList::default();
    service.outbound(&mut sent);
    assert!(sent.get("traceparent").is_none() && sent.get("x-b3-traceid").is_some());
}

/// Returns the formats that a request has a context in.
fn formats_of(sent: &HeaderList) -> FormatSet {
    let has = |name: &&str| sent.get(name).is_some();
    let is_present = |format: &Format| format.headers().first().is_some_and(has);
    Format::contexts().filter(is_present).collect()
}

#[test]
fn service_gets_contexts_in_all_formats_until_it_has_sent_one_and_then_in_its_own() {
    let mut proxied = ProxiedService::new(Settings::default());
    let all: FormatSet = Format::contexts().collect();
    let w3c: FormatSet = [Format::W3c].into_iter().collect();
    let mut received = headers(&[]);
    let mut checkout = proxied.inbound(&mut received);
    assert_eq!(formats_of(&received), all);
    // The service continues in B3.
    let trace = header(&received, "x-b3-traceid").unwrap();
    let b3 = [
        ("x-b3-traceid", trace.as_str()),
        ("x-b3-spanid", SPAN),
        ("x-b3-sampled", "1"),
    ];
    let mut sent = headers(&b3);
    let exchange = proxied.outbound(&mut sent);
    let learned: FormatSet = [Format::B3Multi].into_iter().collect();
    assert_eq!(exchange.propagation().learned, learned);
    assert!(!exchange.propagation().is_discontinued);
    assert_eq!(
        formats_of(&sent),
        learned.union(w3c),
        "no other formats for others"
    );
    let again = proxied.outbound(&mut headers(&b3));
    assert!(again.propagation().learned.is_empty(), "learned once");
    for (fields, expected) in [
        (&[][..], learned.union(w3c)),
        (&[("uber-trace-id", "1:1:0:1")], {
            let jaeger: FormatSet = [Format::Jaeger].into_iter().collect();
            jaeger.union(learned).union(w3c)
        }),
    ] {
        let mut received = headers(fields);
        proxied.inbound(&mut received);
        assert_eq!(formats_of(&received), expected, "{fields:?}");
    }
    assert!(proxied.respond(&mut checkout, 200).is_some());
}

#[test]
fn other_formats_are_not_written_where_they_are_off_or_do_not_fit() {
    let w3c: FormatSet = [Format::W3c].into_iter().collect();
    let long = "x".repeat(5000);
    for (settings, cookie, expected) in [
        (Settings::default(), long.as_str(), w3c),
        (
            Settings {
                match_propagation: false,
                ..Settings::default()
            },
            "a",
            w3c,
        ),
        (
            Settings {
                write: Vec::new(),
                ..Settings::default()
            },
            "a",
            FormatSet::default(),
        ),
    ] {
        let mut received = headers(&[("cookie", cookie)]);
        ProxiedService::new(settings).inbound(&mut received);
        assert_eq!(formats_of(&received), expected);
    }
}

const OTHER_TRACE: &str = "1111111111111111aaaaaaaaaaaaaaaa";

#[test]
fn call_in_another_trace_than_the_request_is_reported_and_obeyed() {
    let mut proxied = ProxiedService::new(Settings::default());
    let unsampled = format!("{OTHER_TRACE}-{SPAN}-0");
    let mut checkout = proxied.inbound(&mut headers(&[("traceparent", &traceparent())]));
    let mut call = proxied.outbound(&mut headers(&[("b3", &unsampled)]));
    assert!(call.propagation().is_discontinued);
    assert_eq!(proxied.respond(&mut call, 200), None, "its decision holds");
    let continued = format!("00-{TRACE}-{SPAN}-01");
    let call = proxied.outbound(&mut headers(&[("traceparent", &continued)]));
    assert!(!call.propagation().is_discontinued);
    drop(proxied.respond(&mut checkout, 200));
    // A request that is not sampled gets no spans anyway.
    let mut refused = proxied.inbound(&mut headers(&[("b3", &format!("{TRACE}-{SPAN}-0"))]));
    proxied.now += 2000 * MS;
    let call = proxied.outbound(&mut headers(&[("b3", &unsampled)]));
    assert!(!call.propagation().is_discontinued);
    drop(proxied.respond(&mut refused, 200));
}

#[test]
fn traced_timer_of_a_service_does_not_count_as_a_discontinued_trace() {
    let mut proxied = ProxiedService::new(Settings::default());
    let own = format!("{OTHER_TRACE}-{SPAN}-1");
    for _ in 0..10 {
        proxied.now += 1000 * MS;
        let mut tick = proxied.outbound(&mut headers(&[("b3", &own)]));
        assert!(!tick.propagation().is_discontinued);
        drop(proxied.respond(&mut tick, 200));
    }
    let mut request = proxied.inbound(&mut headers(&[]));
    proxied.now += 2000 * MS;
    let tick = proxied.outbound(&mut headers(&[("b3", &own)]));
    assert!(!tick.propagation().is_discontinued);
    drop(proxied.respond(&mut request, 200));
}

#[test]
fn short_trace_id_of_a_tracer_with_64_bits_is_that_of_its_request() {
    let mut proxied = ProxiedService::new(Settings::default());
    let mut request = proxied.inbound(&mut headers(&[("traceparent", &traceparent())]));
    let (_, low) = TRACE.split_at(16);
    let mut sent = headers(&[
        ("x-b3-traceid", low),
        ("x-b3-spanid", SPAN),
        ("x-b3-sampled", "1"),
    ]);
    let mut call = proxied.outbound(&mut sent);
    let span = proxied.respond(&mut call, 200).unwrap();
    assert_eq!(span.trace_id.to_string(), TRACE);
    assert_eq!(header(&sent, "x-b3-traceid").as_deref(), Some(TRACE));
    assert!(!call.propagation().is_discontinued);
    drop(proxied.respond(&mut request, 200));
}

#[test]
fn baggage_is_forwarded_unmodified() {
    let mut service = ProxiedService::default();
    let mut sent = headers(&[
        ("baggage", "a=1;p , b=2"),
        ("uberctx-c", "3"),
        ("uber-trace-id", "1:2:0:1"),
    ]);
    service.inbound(&mut sent);
    assert_eq!(header(&sent, "baggage").as_deref(), Some("a=1;p , b=2"));
    assert_eq!(header(&sent, "uberctx-c").as_deref(), Some("3"));
}

#[test]
fn context_of_an_untrusted_client_is_linked_and_not_continued() {
    let outside = TrustPolicy::From(vec!["192.168.0.0/16".parse().unwrap()]);
    for (trust, is_trusted) in [
        (TrustPolicy::Never, false),
        (outside, false),
        (TrustPolicy::Always, true),
        (TrustPolicy::From(vec!["10.0.0.0/8".parse().unwrap()]), true),
    ] {
        let mut service = ProxiedService::new(Settings {
            trust,
            ..Settings::default()
        });
        let mut sent = headers(&[("traceparent", &traceparent()), ("tracestate", "evil=1")]);
        let mut exchange = service.inbound(&mut sent);
        let span = service.respond(&mut exchange, 200).unwrap();
        assert_eq!(span.trace_id.to_string() == TRACE, is_trusted);
        assert_eq!(span.links.len(), usize::from(!is_trusted));
        assert_eq!(sent.get("tracestate").is_some(), is_trusted);
        assert!(
            span.links
                .iter()
                .all(|link| link.trace_id.to_string() == TRACE)
        );
        assert!(
            header(&sent, "traceparent")
                .unwrap()
                .contains(&span.span_id.to_string())
        );
    }
}

#[test]
fn sampling_decision_of_the_client_holds_and_the_ratio_decides_otherwise() {
    let mut service = ProxiedService::new(Settings {
        sample_ratio: 0.0,
        ..Settings::default()
    });
    let mut sent = headers(&[("traceparent", &format!("00-{TRACE}-{SPAN}-00"))]);
    let mut exchange = service.inbound(&mut sent);
    assert_eq!(service.respond(&mut exchange, 200), None);
    let written = header(&sent, "traceparent").unwrap();
    assert!(
        written.ends_with("-00") && !written.contains(SPAN),
        "{written}"
    );
    let mut exchange = service.inbound(&mut headers(&[("traceparent", &traceparent())]));
    assert!(service.respond(&mut exchange, 200).is_some());
    // The ratio decides at the edge, and the decision holds for the calls of the service.
    let mut inbound = service.inbound(&mut HeaderList::default());
    let mut sent = HeaderList::default();
    let mut outbound = service.outbound(&mut sent);
    assert!(header(&sent, "traceparent").unwrap().ends_with("-00"));
    assert_eq!(service.respond(&mut outbound, 200), None);
    assert_eq!(service.respond(&mut inbound, 200), None);
    let mut exchange = service.inbound(&mut headers(&[("b3", "d")]));
    assert!(
        service.respond(&mut exchange, 200).is_some(),
        "a decision without a context"
    );
}

#[test]
fn status_codes_are_errors_as_the_conventions_define_for_each_side() {
    for (status, server, client) in [
        (200, false, false),
        (302, false, false),
        (404, false, true),
        (499, false, true),
        (500, true, true),
        (503, true, true),
    ] {
        for (direction, is_error) in [(Direction::Inbound, server), (Direction::Outbound, client)] {
            let mut service = ProxiedService::default();
            let mut exchange = service.exchange(direction, &GET, &mut HeaderList::default());
            let span = service.respond(&mut exchange, status).unwrap();
            assert_eq!(span.failed(), is_error, "{status} {direction:?}");
            let expected = Value::from(status.to_string());
            assert_eq!(span.attribute("error.type"), is_error.then_some(&expected));
        }
    }
}

#[test]
fn every_failure_ends_with_one_span() {
    for (failure, name) in [
        (ExchangeFailure::Cancelled, "cancelled"),
        (ExchangeFailure::Reset, "reset"),
        (ExchangeFailure::Connect, "connect"),
        (ExchangeFailure::Timeout, "timeout"),
        (ExchangeFailure::Protocol, "protocol"),
        (ExchangeFailure::Shutdown, "shutdown"),
    ] {
        for direction in [Direction::Inbound, Direction::Outbound] {
            let mut service = ProxiedService::default();
            let mut exchange = service.exchange(direction, &GET, &mut HeaderList::default());
            exchange.handle_response(
                service.now,
                200,
                &HeaderList::default(),
                &service.correlator,
            );
            let span = service.fail(&mut exchange, failure);
            assert_attribute(&span, "error.type", name);
            assert_eq!(span.failed(), failure != ExchangeFailure::Cancelled);
            assert_eq!(service.respond(&mut exchange, 500), None, "it had ended");
            assert_eq!(service.in_flight(), 0);
        }
    }
}

#[test]
fn span_ends_with_the_body_and_interim_responses_are_ignored() {
    let mut service = ProxiedService::default();
    let mut exchange = service.inbound(&mut HeaderList::default());
    let started = service.now;
    for status in [100, 103] {
        exchange.handle_response(
            service.now,
            status,
            &HeaderList::default(),
            &service.correlator,
        );
    }
    exchange.handle_response(
        service.now,
        200,
        &HeaderList::default(),
        &service.correlator,
    );
    assert_eq!(
        (
            exchange.poll_span(),
            exchange.is_over(),
            service.in_flight()
        ),
        (None, false, 1)
    );
    exchange.handle_end(started + 5_000 * MS, &service.correlator);
    let span = exchange.poll_span().unwrap();
    assert_eq!(span.duration(), 5_000 * MS);
    assert_attribute(&span, "http.response.status_code", 200);
}

#[test]
fn telemetry_is_forwarded_as_it_came_and_is_the_parent_of_nothing() {
    let export = HttpRequestHead {
        method: "POST",
        authority: "otel:4318",
        target: "/v1/traces",
        ..GET
    };
    let to_collector = HttpRequestHead {
        authority: "tempo:80",
        ..GET
    };
    let protobuf = [("content-type", "application/x-protobuf")];
    let settings = Settings {
        collector: Some(CollectorAddress::new("tempo", 80)),
        ..Settings::default()
    };
    for (direction, request, fields, system) in [
        (
            Direction::Outbound,
            export,
            &protobuf[..],
            TelemetrySystem::Otlp,
        ),
        (Direction::Inbound, export, &protobuf, TelemetrySystem::Otlp),
        (
            Direction::Outbound,
            to_collector,
            &[],
            TelemetrySystem::Collector,
        ),
    ] {
        let mut proxied = ProxiedService::new(settings.clone());
        let mut checkout = proxied.inbound(&mut headers(&[]));
        let mut sent = headers(fields);
        let mut exchange = proxied.exchange(direction, &request, &mut sent);
        assert_eq!(exchange.telemetry(), Some(system));
        assert_eq!(sent, headers(fields));
        assert_eq!(proxied.in_flight(), 1, "the checkout only");
        assert_eq!(proxied.respond(&mut exchange, 200), None);
        assert!(exchange.is_over());
        drop(proxied.respond(&mut checkout, 200).unwrap());
        let counts = proxied.correlator.with_correlator(|correlator| {
            correlator.evidence_counts().map(|(_, n)| n).sum::<u64>()
        });
        assert_eq!(counts, 0, "no parent was looked for");
    }
    let mut proxied = ProxiedService::new(Settings {
        ignore_telemetry: false,
        ..settings
    });
    let mut exchange = proxied.exchange(Direction::Outbound, &export, &mut headers(&protobuf));
    assert!(proxied.respond(&mut exchange, 200).is_some());
    let mut exchange = proxied.exchange(Direction::Inbound, &to_collector, &mut headers(&[]));
    assert!(proxied.respond(&mut exchange, 200).is_some());
}

#[test]
fn tunnel_to_the_collector_ends_with_its_response() {
    let mut proxied = ProxiedService::new(Settings {
        collector: Some(CollectorAddress::new("otel", 4317)),
        ..Settings::default()
    });
    let connect = HttpRequestHead {
        method: "CONNECT",
        authority: "otel:4317",
        target: "otel:4317",
        ..GET
    };
    let mut exchange = proxied.exchange(Direction::Outbound, &connect, &mut headers(&[]));
    exchange.handle_response(
        proxied.now,
        200,
        &HeaderList::default(),
        &proxied.correlator,
    );
    assert!(exchange.is_over());
    assert_eq!(exchange.poll_span(), None);
}

#[test]
fn tunnel_ends_the_exchange() {
    let connect = HttpRequestHead {
        method: "CONNECT",
        target: "db:5432",
        authority: "db:5432",
        ..GET
    };
    for (request, status, is_over) in [
        (GET, 101, true),
        (connect, 200, true),
        (connect, 407, false),
        (GET, 200, false),
    ] {
        let mut service = ProxiedService::default();
        let mut exchange =
            service.exchange(Direction::Inbound, &request, &mut HeaderList::default());
        exchange.handle_response(
            service.now,
            status,
            &HeaderList::default(),
            &service.correlator,
        );
        assert_eq!(
            (exchange.is_over(), service.in_flight() == 0),
            (is_over, is_over),
            "{status}"
        );
    }
}

#[test]
fn unknown_method_is_not_used_as_the_name() {
    let mut service = ProxiedService::default();
    let request = HttpRequestHead {
        method: "get",
        ..GET
    };
    let mut exchange = service.exchange(Direction::Inbound, &request, &mut HeaderList::default());
    let span = service.respond(&mut exchange, 200).unwrap();
    assert_eq!(span.name, "HTTP");
    assert_attribute(&span, "http.request.method", "_OTHER");
    assert_attribute(&span, "http.request.method_original", "get");
}

#[test]
fn configured_routes_name_spans() {
    let routes = vec![RouteTemplate::new("/createOrder")];
    let templates = vec![RouteTemplate::new("/{action}")];
    let mut service = ProxiedService::new(Settings {
        routes,
        templates,
        ..Settings::default()
    });
    let mut inbound = service.inbound(&mut HeaderList::default());
    let mut outbound = service.outbound(&mut HeaderList::default());
    let client = service.respond(&mut outbound, 200).unwrap();
    let server = service.respond(&mut inbound, 200).unwrap();
    assert_eq!(
        (server.name.as_str(), client.name.as_str()),
        ("GET /createOrder", "GET /{action}")
    );
    assert_attribute(&server, "http.route", "/createOrder");
    assert_attribute(&client, "url.template", "/{action}");
}

#[test]
fn secrets_in_urls_are_redacted() {
    let mut service = ProxiedService::default();
    let request = HttpRequestHead {
        scheme: "https",
        authority: "ann:pw@[::1]",
        target: "/p?X-Amz-Signature=abc&q=1",
        ..GET
    };
    let mut exchange = service.exchange(Direction::Outbound, &request, &mut HeaderList::default());
    let span = service.respond(&mut exchange, 200).unwrap();
    assert_attribute(
        &span,
        "url.full",
        "https://REDACTED:REDACTED@[::1]/p?X-Amz-Signature=REDACTED&q=1",
    );
    assert_attribute(&span, "server.address", "::1");
    assert_attribute(&span, "server.port", 443);
}

#[test]
fn long_values_are_truncated() {
    let mut service = ProxiedService::new(Settings {
        max_attribute_bytes: 10,
        ..Settings::default()
    });
    let request = HttpRequestHead {
        target: "/äääääääääää",
        ..GET
    };
    let mut exchange = service.exchange(Direction::Inbound, &request, &mut HeaderList::default());
    assert_attribute(
        &service.respond(&mut exchange, 200).unwrap(),
        "url.path",
        "/ääää",
    );
}

// --- gRPC ---

fn grpc(direction: Direction, status: &str, in_trailers: bool) -> Span {
    let mut service = ProxiedService::default();
    let request = HttpRequestHead {
        method: "POST",
        target: "/shop.v1.Orders/Create",
        version: "2",
        ..GET
    };
    let mut exchange = service.exchange(
        direction,
        &request,
        &mut headers(&[("content-type", "application/grpc+proto")]),
    );
    let expected = headers(&[("grpc-status", status)]);
    let none = HeaderList::default();
    let (head, trailers) = if in_trailers {
        (&none, &expected)
    } else {
        (&expected, &none)
    };
    exchange.handle_response(service.now, 200, head, &service.correlator);
    exchange.handle_trailers(trailers);
    exchange.handle_end(service.now, &service.correlator);
    exchange.poll_span().unwrap()
}

#[test]
fn grpc_status_is_read_from_trailers_or_from_a_trailers_only_response() {
    for in_trailers in [true, false] {
        let span = grpc(Direction::Inbound, "0", in_trailers);
        assert_eq!(
            (span.name.as_str(), &span.status),
            ("shop.v1.Orders/Create", &Status::Unset)
        );
        assert_attribute(&span, "rpc.system", "grpc");
        assert_attribute(&span, "rpc.service", "shop.v1.Orders");
        assert_attribute(&span, "rpc.method", "Create");
        assert_attribute(&span, "rpc.grpc.status_code", 0);
        assert_attribute(&span, "http.response.status_code", 200);
    }
}

#[test]
fn grpc_client_errors_are_not_errors_of_the_server_span() {
    for (status, name, is_server_error) in [
        ("5", "NOT_FOUND", false),
        ("14", "UNAVAILABLE", true),
        ("99", "UNKNOWN", false),
    ] {
        let (server, client) = (
            grpc(Direction::Inbound, status, true),
            grpc(Direction::Outbound, status, true),
        );
        assert_eq!(
            (server.failed(), client.failed()),
            (is_server_error, true),
            "{name}"
        );
        assert_attribute(&client, "error.type", name);
    }
}

#[test]
fn probes_make_no_trace_unless_somebody_decided_for_one() {
    let probe = HttpRequestHead {
        target: "/healthz",
        ..GET
    };
    let mut service = ProxiedService::default();
    let mut headers = HeaderList::default();
    let mut exchange = service.exchange(Direction::Inbound, &probe, &mut headers);
    assert_eq!(service.in_flight(), 1, "the service is at work");
    // A call that the service makes for it belongs to the same trace, which is not recorded.
    let mut call = service.outbound(&mut HeaderList::default());
    assert_eq!(service.respond(&mut call, 200), None);
    assert_eq!(service.respond(&mut exchange, 200), None);
    let written = headers.last("traceparent").unwrap();
    assert!(written.ends_with(b"-00"), "{}", written.escape_ascii());

    let mut sampled = HeaderList::default();
    sampled.push("traceparent", format!("00-{TRACE}-{SPAN}-01").as_bytes());
    let mut exchange = service.exchange(Direction::Inbound, &probe, &mut sampled);
    assert!(service.respond(&mut exchange, 200).is_some());
}
