use std::collections::BTreeMap;

use super::*;
use crate::tracing_process::SharedConfig;
use throughline_export::{Config as ExportConfig, ExportProtocol, OtlpEndpoint};
use throughline_intercept::correlate::{Settings as CorrelationSettings, SingleInFlightPolicy};
use throughline_intercept::kafka::ClusterCapacity;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SERVER_SPAN: &str = "00f067aa0ba902b7";
const CLIENT_SPAN: &str = "b7ad6b7169203331";
/// Envoy writes a 9 in place of the version into the id of a sampled request.
const SAMPLED_ID: &str = "5c1eb3f1-6c2d-9f0a-8a3e-000000000001";

/// One request in Envoy.
#[derive(Default)]
struct FakeStream {
    headers: RefCell<HeaderList>,
    span: Option<(TraceId, Option<SpanId>)>,
    tags: RefCell<BTreeMap<String, String>>,
    name: RefCell<String>,
    counts: RefCell<Vec<Counter>>,
}

// === impl FakeStream ===

impl FakeStream {
    fn new(span: &str, headers: &[(&str, &str)]) -> Self {
        let mut list = HeaderList::default();
        let fixed = [
            (":method", "GET"),
            (":authority", "shop"),
            (":path", "/orders/7?a=1"),
        ];
        for (name, value) in fixed.iter().chain(headers) {
            list.push(name, value);
        }
        Self {
            headers: RefCell::new(list),
            span: TraceId::from_hex(TRACE).map(|trace| (trace, SpanId::from_hex(span))),
            ..Self::default()
        }
    }

    fn header(&self, name: &str) -> Option<String> {
        let headers = self.headers.borrow();
        headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

impl HeaderHost for FakeStream {
    fn request_headers(&self) -> HeaderList {
        self.headers.borrow().clone()
    }

    fn set_header(&self, name: &str, value: &[u8]) {
        self.headers.borrow_mut().replace(name, value);
    }

    fn remove_header(&self, name: &str) {
        self.headers.borrow_mut().remove(name);
    }
}

impl StreamHost for FakeStream {
    fn active_span(&self) -> Option<(TraceId, Option<SpanId>)> {
        self.span
    }

    fn name_span(&self, name: &str) {
        name.clone_into(&mut self.name.borrow_mut());
    }

    fn tag_span(&self, key: &str, value: &str) {
        self.tags
            .borrow_mut()
            .insert(key.to_owned(), value.to_owned());
    }

    fn count(&self, counter: Counter, _: u64) {
        self.counts.borrow_mut().push(counter);
    }
}

/// Returns the configurations of both directions, in one process that calls for requests only.
fn configs(identity: &str) -> [Arc<HttpFilterConfig>; 2] {
    // Nothing listens there: no span is made here anyway.
    let endpoint = OtlpEndpoint::collector("http://127.0.0.1:9", ExportProtocol::HttpProtobuf);
    let shared = SharedConfig {
        identity: identity.to_owned(),
        export: ExportConfig::to(endpoint.unwrap()),
        correlation: CorrelationSettings {
            single_in_flight: SingleInFlightPolicy::Assumed,
            ..CorrelationSettings::default()
        },
        capacity: ClusterCapacity::default(),
    };
    let process = TracingProcess::shared(&shared).unwrap();
    [Direction::Inbound, Direction::Outbound].map(|direction| {
        Arc::new(HttpFilterConfig {
            process: Arc::clone(&process),
            settings: HttpFilterSettings {
                direction: Some(direction),
                read: Format::contexts().collect(),
                write: vec![Format::W3c],
                match_propagation: true,
                names_spans: true,
                routes: vec![RouteTemplate::new("/orders/{id}")],
            },
        })
    })
}

fn traceparent(span: &str, flags: &str) -> String {
    format!("00-{TRACE}-{span}-{flags}")
}

#[test]
fn call_gets_the_context_of_the_request_in_flight_but_not_its_request_id() {
    let [inbound, outbound] = configs("call");
    let request = FakeStream::new(SERVER_SPAN, &[(REQUEST_ID, SAMPLED_ID)]);
    let server = HttpFilter::new(inbound);
    server.on_request(&request);
    assert_eq!(
        request.header("traceparent"),
        Some(traceparent(SERVER_SPAN, "01"))
    );
    assert!(
        request.header("b3").is_some(),
        "the service may read any format"
    );
    assert_eq!(*request.name.borrow(), "GET /orders/{id}");

    let call = FakeStream::new(CLIENT_SPAN, &[]);
    mutate_outbound(&outbound, &call);
    assert_eq!(
        call.header("traceparent"),
        Some(traceparent(SERVER_SPAN, "01"))
    );
    // The parent is inferred; downstream, the id would be exact evidence.
    assert_eq!(call.header(REQUEST_ID), None);
    let client = HttpFilter::new(Arc::clone(&outbound));
    client.on_request(&call);
    // Envoy's span comes between the parent and the upstream.
    assert_eq!(
        call.header("traceparent"),
        Some(traceparent(CLIENT_SPAN, "01"))
    );
    assert_eq!(call.tags.borrow()[PARENT_EVIDENCE], "sole");
    assert_eq!(*call.name.borrow(), "GET");
    assert!(call.counts.borrow().contains(&Counter::OutboundRequests));

    server.on_response_end();
    server.on_complete();
    let in_flight = outbound
        .process
        .with_correlator(|correlator| correlator.in_flight_count());
    assert_eq!(in_flight, 0, "the request has ended");
}

#[test]
fn context_of_the_application_is_kept_and_translated_for_the_tracer() {
    let [_, outbound] = configs("own context");
    let b3 = format!("{TRACE}-{SERVER_SPAN}-1");
    let call = FakeStream::new(CLIENT_SPAN, &[("b3", &b3)]);
    mutate_outbound(&outbound, &call);
    assert_eq!(
        call.header("traceparent"),
        Some(traceparent(SERVER_SPAN, "01"))
    );
    assert_eq!(call.header("b3"), Some(b3));
    let client = HttpFilter::new(outbound);
    client.on_request(&call);
    assert_eq!(call.header("b3"), Some(format!("{TRACE}-{CLIENT_SPAN}-1")));
    assert_eq!(call.tags.borrow()[PARENT_EVIDENCE], "header");
}

#[test]
fn decision_of_envoy_against_a_trace_is_the_decision_for_its_calls() {
    let [inbound, outbound] = configs("unsampled");
    let untraced = "5c1eb3f1-6c2d-4f0a-8a3e-000000000001";
    let request = FakeStream::new(SERVER_SPAN, &[(REQUEST_ID, untraced)]);
    let server = HttpFilter::new(inbound);
    server.on_request(&request);
    let call = FakeStream::new(CLIENT_SPAN, &[]);
    mutate_outbound(&outbound, &call);
    assert_eq!(
        call.header("traceparent"),
        Some(traceparent(SERVER_SPAN, "00"))
    );
}

#[test]
fn decision_is_not_taken_by_the_filter_of_another_request() {
    let [inbound, outbound] = configs("another request");
    let request = FakeStream::new(SERVER_SPAN, &[(REQUEST_ID, SAMPLED_ID)]);
    let server = HttpFilter::new(inbound);
    server.on_request(&request);
    mutate_outbound(&outbound, &FakeStream::new(CLIENT_SPAN, &[]));
    let other = FakeStream::new(CLIENT_SPAN, &[]);
    other.set_header(":path", b"/other");
    let client = HttpFilter::new(outbound);
    client.on_request(&other);
    assert_eq!(other.tags.borrow().get(PARENT_EVIDENCE), None);
}

#[test]
fn without_a_tracer_no_activity_begins_and_the_request_is_counted() {
    let [inbound, outbound] = configs("no tracer");
    let request = FakeStream {
        span: None,
        ..FakeStream::new(SERVER_SPAN, &[])
    };
    let server = HttpFilter::new(inbound);
    server.on_request(&request);
    assert_eq!(request.header("traceparent"), None);
    assert!(
        request
            .counts
            .borrow()
            .contains(&Counter::RequestsWithoutSpan)
    );
    let call = FakeStream::new(CLIENT_SPAN, &[]);
    mutate_outbound(&outbound, &call);
    assert_eq!(call.header("traceparent"), None);
}

#[test]
fn span_without_an_id_is_the_one_of_its_parent_or_the_root() {
    let [inbound, _] = configs("zipkin");
    // An empty id cannot be parsed: the tracer gives none.
    let root = FakeStream::new("", &[(REQUEST_ID, SAMPLED_ID)]);
    let server = HttpFilter::new(Arc::clone(&inbound));
    server.on_request(&root);
    let low = TRACE.get(16..).unwrap();
    assert_eq!(root.header("traceparent"), Some(traceparent(low, "01")));
    let own = traceparent(CLIENT_SPAN, "01");
    let child = FakeStream::new("", &[("traceparent", &own), (REQUEST_ID, SAMPLED_ID)]);
    let server = HttpFilter::new(inbound);
    server.on_request(&child);
    assert_eq!(child.header("traceparent"), Some(own));
}

#[test]
fn failed_calls_are_those_that_callers_repeat() {
    for (status, is_answered, outcome) in [
        (Some(200), true, CallOutcome::Succeeded),
        (Some(404), true, CallOutcome::Succeeded),
        (Some(429), true, CallOutcome::Failed),
        (Some(503), true, CallOutcome::Failed),
        (Some(200), false, CallOutcome::Failed),
        (None, false, CallOutcome::Failed),
    ] {
        assert_eq!(
            call_outcome(status, is_answered),
            outcome,
            "{status:?} {is_answered}"
        );
    }
}
