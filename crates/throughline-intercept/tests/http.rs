//! Exchanges as a proxy sees them: headers on their way, and the span of each.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "support/shared_correlator.rs"]
mod shared_correlator;

use std::sync::Arc;

use throughline_intercept::correlate::{self, CorrelatorAccess as _, REQUEST_ID};
use throughline_intercept::http::{
    Direction, Exchange, Failure, Peer, Request, Route, Settings, Trust,
};
use throughline_model::context::{Carrier, Format, HeaderList};
use throughline_model::{Span, SpanKind, Status, Value};

use shared_correlator::SharedCorrelator;

const START: u64 = 1_700_000_000_000_000_000;
const MS: u64 = 1_000_000;
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// A service with a proxy beside it.
struct Service {
    settings: Arc<Settings>,
    correlator: SharedCorrelator,
    now: u64,
    seed: u64,
}

impl Service {
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
        request: &Request<'_>,
        headers: &mut HeaderList,
    ) -> Exchange {
        self.seed += 1;
        let peer = Peer {
            address: Some("10.1.2.3".parse().unwrap()),
            port: Some(4711),
        };
        let mut exchange = Exchange::new(Arc::clone(&self.settings), direction, peer, self.seed);
        self.now += MS;
        exchange.handle_request(self.now, request, headers, &self.correlator);
        exchange
    }

    fn in_flight(&self) -> usize {
        self.correlator
            .with_correlator(|correlator| correlator.in_flight_count())
    }

    fn inbound(&mut self, headers: &mut HeaderList) -> Exchange {
        self.exchange(Direction::Inbound, &GET, headers)
    }

    fn outbound(&mut self, headers: &mut HeaderList) -> Exchange {
        self.exchange(Direction::Outbound, &GET, headers)
    }

    fn answer(&mut self, exchange: &mut Exchange, status: u16) -> Option<Span> {
        self.now += MS;
        exchange.handle_response(self.now, status, &HeaderList::default(), &self.correlator);
        self.now += MS;
        exchange.handle_end(self.now, &self.correlator);
        exchange.poll_span()
    }

    fn fail(&mut self, exchange: &mut Exchange, failure: Failure) -> Span {
        self.now += MS;
        exchange.handle_failure(self.now, failure, &self.correlator);
        exchange.poll_span().unwrap()
    }
}

impl Default for Service {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

const GET: Request<'_> = Request {
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
fn has(span: &Span, key: &str, value: impl Into<Value>) {
    assert_eq!(
        span.attribute(key),
        Some(&value.into()),
        "{key} of {:?}",
        span.attributes
    );
}

#[test]
fn an_inbound_request_continues_its_context_and_carries_on_the_span_of_the_server() {
    let mut service = Service::default();
    let mut sent = headers(&[
        ("traceparent", &traceparent()),
        ("tracestate", "a=b"),
        ("user-agent", "curl/8"),
    ]);
    let mut exchange = service.inbound(&mut sent);
    let span = service.answer(&mut exchange, 200).unwrap();
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
    has(&span, "throughline.parent.evidence", "header");
    has(&span, "http.request.method", "GET");
    has(&span, "url.path", "/createOrder");
    has(&span, "url.query", "item=1&sig=REDACTED");
    has(&span, "url.scheme", "http");
    has(&span, "server.address", "inventory");
    has(&span, "server.port", 8080);
    has(&span, "client.address", "10.1.2.3");
    has(&span, "network.peer.port", 4711);
    has(&span, "network.protocol.version", "1.1");
    has(&span, "user_agent.original", "curl/8");
    has(&span, "http.response.status_code", 200);
    assert_eq!(span.attribute("error.type"), None);
}

#[test]
fn an_outbound_request_of_a_service_that_tells_nothing_is_a_child_of_what_it_is_asked() {
    let mut service = Service::default();
    let (mut asked, mut sent) = (HeaderList::default(), HeaderList::default());
    let mut inbound = service.inbound(&mut asked);
    let mut outbound = service.outbound(&mut sent);
    let client = service.answer(&mut outbound, 200).unwrap();
    let server = service.answer(&mut inbound, 200).unwrap();
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
        "a root has no parent to be found"
    );
    has(&client, "throughline.parent.evidence", "sole");
    assert!(
        matches!(client.attribute("throughline.parent.confidence"), Some(Value::Double(sure)) if *sure > 0.99)
    );
    has(
        &client,
        "url.full",
        "http://inventory:8080/createOrder?item=1&sig=REDACTED",
    );
    assert_eq!(
        header(&sent, "traceparent").unwrap(),
        format!("00-{}-{}-01", client.trace_id, client.span_id)
    );
    assert_eq!(
        header(&sent, REQUEST_ID),
        header(&asked, REQUEST_ID),
        "the request id goes with the trace"
    );
}

#[test]
fn with_two_requests_in_flight_only_what_is_carried_tells() {
    let mut service = Service::default();
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
        .map(|exchange| service.answer(exchange, 200).unwrap());
    let [one, two] = [&mut one, &mut two].map(|exchange| service.answer(exchange, 200).unwrap());
    has(&bare, "throughline.parent.evidence", "open");
    assert_eq!(bare.parent_span_id, None);
    assert!(![one.trace_id, two.trace_id].contains(&bare.trace_id));
    has(&copied, "throughline.parent.evidence", "request-id");
    assert_eq!(
        (copied.trace_id, copied.parent_span_id),
        (one.trace_id, Some(one.span_id))
    );
    has(&propagated, "throughline.parent.evidence", "header");
    assert_eq!(
        (propagated.trace_id, propagated.parent_span_id),
        (two.trace_id, Some(two.span_id))
    );
    for exact in [copied, propagated] {
        assert_eq!(exact.attribute("throughline.parent.confidence"), None);
    }
}

#[test]
fn a_request_id_is_made_when_absent_and_kept_when_there() {
    let mut service = Service::default();
    let mut sent = HeaderList::default();
    service.inbound(&mut sent);
    let made = header(&sent, REQUEST_ID).unwrap();
    let shape: Vec<usize> = made.split('-').map(str::len).collect();
    assert_eq!(shape, [8, 4, 4, 4, 12]);
    assert!(
        made.get(14..15) == Some("4") && "89ab".contains(made.get(19..20).unwrap()),
        "{made}"
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
    let mut service = Service::new(Settings {
        request_id: false,
        ..Settings::default()
    });
    let mut sent = HeaderList::default();
    service.inbound(&mut sent);
    assert_eq!(header(&sent, REQUEST_ID), None);
}

#[test]
fn every_format_is_read_and_what_stood_there_is_replaced_with_what_is_configured() {
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
        let mut service = Service::default();
        let mut sent = headers(pairs);
        let mut exchange = service.inbound(&mut sent);
        let span = service.answer(&mut exchange, 200).unwrap();
        assert_eq!(span.parent_span_id.unwrap().to_string(), SPAN, "{pairs:?}");
        let mut stale = false;
        sent.each(&mut |_, value| {
            stale |= value.is_some_and(|value| String::from_utf8_lossy(value).contains(SPAN))
        });
        assert!(
            !stale,
            "who copies any of {sent:?} copies the span of the server"
        );
        let all = [
            Format::W3c,
            Format::B3Single,
            Format::B3Multi,
            Format::Jaeger,
        ];
        let found = throughline_model::context::extract(&all, &sent)
            .context
            .unwrap();
        assert_eq!(
            (found.trace_id, found.span_id),
            (span.trace_id, span.span_id)
        );
    }
    let write = vec![Format::B3Multi];
    let mut service = Service::new(Settings {
        write,
        ..Settings::default()
    });
    let mut sent = HeaderList::default();
    service.inbound(&mut sent);
    assert!(sent.get("traceparent").is_none() && sent.get("x-b3-traceid").is_some());
}

#[test]
fn baggage_goes_on_as_it_came() {
    let mut service = Service::default();
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
fn a_context_from_outside_is_linked_to_and_not_continued() {
    let outside = Trust::From(vec!["192.168.0.0/16".parse().unwrap()]);
    for (trust, is_trusted) in [
        (Trust::Never, false),
        (outside, false),
        (Trust::Always, true),
        (Trust::From(vec!["10.0.0.0/8".parse().unwrap()]), true),
    ] {
        let mut service = Service::new(Settings {
            trust,
            ..Settings::default()
        });
        let mut sent = headers(&[("traceparent", &traceparent()), ("tracestate", "evil=1")]);
        let mut exchange = service.inbound(&mut sent);
        let span = service.answer(&mut exchange, 200).unwrap();
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
fn who_decided_has_decided_and_a_ratio_decides_the_rest() {
    let mut service = Service::new(Settings {
        sample_ratio: 0.0,
        ..Settings::default()
    });
    let mut sent = headers(&[("traceparent", &format!("00-{TRACE}-{SPAN}-00"))]);
    let mut exchange = service.inbound(&mut sent);
    assert_eq!(service.answer(&mut exchange, 200), None);
    let written = header(&sent, "traceparent").unwrap();
    assert!(
        written.ends_with("-00") && !written.contains(SPAN),
        "{written}"
    );
    let mut exchange = service.inbound(&mut headers(&[("traceparent", &traceparent())]));
    assert!(service.answer(&mut exchange, 200).is_some());
    // The ratio decides at the edge, and its decision holds for what the service asks.
    let mut inbound = service.inbound(&mut HeaderList::default());
    let mut sent = HeaderList::default();
    let mut outbound = service.outbound(&mut sent);
    assert!(header(&sent, "traceparent").unwrap().ends_with("-00"));
    assert_eq!(service.answer(&mut outbound, 200), None);
    assert_eq!(service.answer(&mut inbound, 200), None);
    let mut exchange = service.inbound(&mut headers(&[("b3", "d")]));
    assert!(
        service.answer(&mut exchange, 200).is_some(),
        "a decision without a context"
    );
}

#[test]
fn the_status_is_an_error_on_the_side_that_the_conventions_say() {
    for (status, server, client) in [
        (200, false, false),
        (302, false, false),
        (404, false, true),
        (499, false, true),
        (500, true, true),
        (503, true, true),
    ] {
        for (direction, is_error) in [(Direction::Inbound, server), (Direction::Outbound, client)] {
            let mut service = Service::default();
            let mut exchange = service.exchange(direction, &GET, &mut HeaderList::default());
            let span = service.answer(&mut exchange, status).unwrap();
            assert_eq!(span.failed(), is_error, "{status} {direction:?}");
            let told = Value::from(status.to_string());
            assert_eq!(span.attribute("error.type"), is_error.then_some(&told));
        }
    }
}

#[test]
fn every_way_to_end_gives_one_span() {
    for (failure, name) in [
        (Failure::Cancelled, "cancelled"),
        (Failure::Reset, "reset"),
        (Failure::Connect, "connect"),
        (Failure::Timeout, "timeout"),
        (Failure::Protocol, "protocol"),
        (Failure::Shutdown, "shutdown"),
    ] {
        for direction in [Direction::Inbound, Direction::Outbound] {
            let mut service = Service::default();
            let mut exchange = service.exchange(direction, &GET, &mut HeaderList::default());
            exchange.handle_response(
                service.now,
                200,
                &HeaderList::default(),
                &service.correlator,
            );
            let span = service.fail(&mut exchange, failure);
            has(&span, "error.type", name);
            assert_eq!(span.failed(), failure != Failure::Cancelled);
            assert_eq!(service.answer(&mut exchange, 500), None, "it was over");
            assert_eq!(service.in_flight(), 0);
        }
    }
}

#[test]
fn the_span_ends_with_the_body_and_interim_answers_are_none() {
    let mut service = Service::default();
    let mut exchange = service.inbound(&mut HeaderList::default());
    let begun = service.now;
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
    exchange.handle_end(begun + 5_000 * MS, &service.correlator);
    let span = exchange.poll_span().unwrap();
    assert_eq!(span.duration(), 5_000 * MS);
    has(&span, "http.response.status_code", 200);
}

#[test]
fn a_tunnel_ends_the_exchange() {
    let connect = Request {
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
        let mut service = Service::default();
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
fn a_method_that_nobody_knows_makes_no_name() {
    let mut service = Service::default();
    let request = Request {
        method: "get",
        ..GET
    };
    let mut exchange = service.exchange(Direction::Inbound, &request, &mut HeaderList::default());
    let span = service.answer(&mut exchange, 200).unwrap();
    assert_eq!(span.name, "HTTP");
    has(&span, "http.request.method", "_OTHER");
    has(&span, "http.request.method_original", "get");
}

#[test]
fn routes_that_the_user_tells_name_spans() {
    let routes = vec![Route::new("/createOrder")];
    let templates = vec![Route::new("/{action}")];
    let mut service = Service::new(Settings {
        routes,
        templates,
        ..Settings::default()
    });
    let mut inbound = service.inbound(&mut HeaderList::default());
    let mut outbound = service.outbound(&mut HeaderList::default());
    let client = service.answer(&mut outbound, 200).unwrap();
    let server = service.answer(&mut inbound, 200).unwrap();
    assert_eq!(
        (server.name.as_str(), client.name.as_str()),
        ("GET /createOrder", "GET /{action}")
    );
    has(&server, "http.route", "/createOrder");
    has(&client, "url.template", "/{action}");
}

#[test]
fn urls_are_told_without_their_secrets() {
    let mut service = Service::default();
    let request = Request {
        scheme: "https",
        authority: "ann:pw@[::1]",
        target: "/p?X-Amz-Signature=abc&q=1",
        ..GET
    };
    let mut exchange = service.exchange(Direction::Outbound, &request, &mut HeaderList::default());
    let span = service.answer(&mut exchange, 200).unwrap();
    has(
        &span,
        "url.full",
        "https://REDACTED:REDACTED@[::1]/p?X-Amz-Signature=REDACTED&q=1",
    );
    has(&span, "server.address", "::1");
    has(&span, "server.port", 443);
}

#[test]
fn long_values_are_cut_off() {
    let mut service = Service::new(Settings {
        max_attribute_bytes: 10,
        ..Settings::default()
    });
    let request = Request {
        target: "/äääääääääää",
        ..GET
    };
    let mut exchange = service.exchange(Direction::Inbound, &request, &mut HeaderList::default());
    has(
        &service.answer(&mut exchange, 200).unwrap(),
        "url.path",
        "/ääää",
    );
}

// --- gRPC ---

fn grpc(direction: Direction, status: &str, in_trailers: bool) -> Span {
    let mut service = Service::default();
    let request = Request {
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
    let told = headers(&[("grpc-status", status)]);
    let none = HeaderList::default();
    let (head, trailers) = if in_trailers {
        (&none, &told)
    } else {
        (&told, &none)
    };
    exchange.handle_response(service.now, 200, head, &service.correlator);
    exchange.handle_trailers(trailers);
    exchange.handle_end(service.now, &service.correlator);
    exchange.poll_span().unwrap()
}

#[test]
fn the_status_of_grpc_comes_from_trailers_or_from_a_head_that_is_all() {
    for in_trailers in [true, false] {
        let span = grpc(Direction::Inbound, "0", in_trailers);
        assert_eq!(
            (span.name.as_str(), &span.status),
            ("shop.v1.Orders/Create", &Status::Unset)
        );
        has(&span, "rpc.system", "grpc");
        has(&span, "rpc.service", "shop.v1.Orders");
        has(&span, "rpc.method", "Create");
        has(&span, "rpc.grpc.status_code", 0);
        has(&span, "http.response.status_code", 200);
    }
}

#[test]
fn of_the_errors_of_grpc_some_are_the_clients_doing() {
    for (status, name, is_servers) in [
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
            (is_servers, true),
            "{name}"
        );
        has(&client, "error.type", name);
    }
}
