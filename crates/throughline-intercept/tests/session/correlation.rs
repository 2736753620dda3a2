//! A process with HTTP and Kafka traffic: outbound messages are linked to inbound ones over both.

use std::rc::Rc;
use std::sync::Arc;

use throughline_intercept::correlate::{
    self, CorrelationKey, CorrelatorAccess as _, TokenLocation,
};
use throughline_intercept::http::{self, Direction, HttpExchange, HttpRequestHead};
use throughline_intercept::kafka::{SessionEvent, Settings, SpanNaming, TopicSettings};
use throughline_model::Span;
use throughline_model::context::HeaderList;

use crate::support::pair::{BEGIN, MILLISECOND, Pair, Process, SECOND, double, text};
use crate::support::shared_correlator::SharedCorrelator;
use crate::support::wire::{
    BatchSpec, FetchSpec, RecordSpec, commit, committed, produce, produced, read_records,
    record_set,
};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Returns a process that has been idle for two minutes.
fn process(settings: correlate::Settings) -> Process {
    let correlator = SharedCorrelator::new(settings, BEGIN - 120 * SECOND);
    Process {
        correlator: Some(Rc::new(correlator)),
        ..Process::default()
    }
}

fn request(
    process: &Process,
    direction: Direction,
    now: u64,
    headers: &[(&str, &str)],
) -> HttpExchange {
    let mut list = HeaderList::default();
    headers
        .iter()
        .for_each(|(name, value)| list.push(name, value));
    let request = HttpRequestHead {
        method: "GET",
        scheme: "http",
        authority: "eshop",
        target: "/checkout",
        version: "1.1",
        body: None,
    };
    let mut exchange = HttpExchange::new(
        Arc::new(http::Settings::default()),
        direction,
        http::HttpPeer::default(),
        now,
    );
    let correlator = process.correlator.as_deref().unwrap();
    exchange.handle_request(now, &request, &mut list, correlator);
    exchange
}

fn end(process: &Process, mut exchange: HttpExchange, now: u64) -> Span {
    let correlator = process.correlator.as_deref().unwrap();
    exchange.handle_response(now, 200, &HeaderList::default(), correlator);
    exchange.handle_end(now, correlator);
    exchange.poll_span().unwrap()
}

fn in_flight(process: &Process) -> usize {
    process
        .correlator
        .as_ref()
        .unwrap()
        .with_correlator(|correlator| correlator.in_flight_count())
}

/// Sends a record that was created at the beginning. Returns its span.
fn send(pair: &mut Pair, record: RecordSpec) -> (Span, RecordSpec) {
    send_compressed(pair, record, 0)
}

/// Does the same with the codec of this number.
fn send_compressed(pair: &mut Pair, record: RecordSpec, codec: i16) -> (Span, RecordSpec) {
    let batch = BatchSpec {
        attributes: codec,
        timestamp: i64::try_from(BEGIN / MILLISECOND).unwrap(),
        ..BatchSpec::of(vec![record])
    };
    pair.client(produce(9, 1, -1, batch.bytes()));
    let sent = read_records(&record_set(&pair.take_broker(), 9));
    pair.broker(produced(9, 1, 0, 0));
    (pair.take_spans().remove(0), sent[0].clone())
}

#[test]
fn record_is_a_child_of_the_request_during_which_it_was_made() {
    let process = process(correlate::Settings::default());
    let inbound = request(
        &process,
        Direction::Inbound,
        BEGIN - MILLISECOND,
        &[("traceparent", TRACEPARENT)],
    );
    let server = end(&process, inbound, BEGIN + MILLISECOND);
    let mut pair = Pair::of(&process, Settings::default());
    // The producer kept the record back until after the response.
    pair.now = BEGIN + 5 * MILLISECOND;
    let (span, record) = send(&mut pair, RecordSpec::of("a"));
    assert_eq!(
        (span.trace_id, span.parent_span_id, span.flags),
        (server.trace_id, Some(server.span_id), 0x101)
    );
    assert_eq!(text(&span, "throughline.parent.evidence"), "sole");
    assert!(double(&span, "throughline.parent.confidence") > 0.99);
    let carried = String::from_utf8(record.header("traceparent").unwrap().to_vec()).unwrap();
    assert_eq!(carried, format!("00-{}-{}-01", span.trace_id, span.span_id));
}

#[test]
fn compressed_record_is_a_child_of_its_request_in_every_codec() {
    for codec in 1..=4 {
        let process = process(correlate::Settings::default());
        let inbound = request(&process, Direction::Inbound, BEGIN - MILLISECOND, &[]);
        let server = end(&process, inbound, BEGIN + MILLISECOND);
        let mut pair = Pair::of(&process, Settings::default());
        pair.now = BEGIN + 5 * MILLISECOND;
        let record = RecordSpec::of("a").with("x", "kept");
        let (span, record) = send_compressed(&mut pair, record, codec);
        assert_eq!(span.parent_span_id, Some(server.span_id), "codec {codec}");
        let carried = String::from_utf8(record.header("traceparent").unwrap().to_vec()).unwrap();
        let expected = format!("00-{}-{}-01", span.trace_id, span.span_id);
        assert_eq!(carried, expected, "codec {codec}");
        assert_eq!(record.header("x"), Some(&b"kept"[..]), "codec {codec}");
    }
}

#[test]
fn record_with_a_context_stays_unmodified() {
    let process = process(correlate::Settings::default());
    let _inbound = request(&process, Direction::Inbound, BEGIN - MILLISECOND, &[]);
    let mut pair = Pair::of(&process, Settings::default());
    let (span, record) = send(
        &mut pair,
        RecordSpec::of("a").with("traceparent", TRACEPARENT),
    );
    assert_eq!(text(&span, "throughline.parent.evidence"), "header");
    assert_eq!(record.header("traceparent"), Some(TRACEPARENT.as_bytes()));
}

#[test]
fn records_get_contexts_in_the_formats_that_their_process_has_been_seen_to_send() {
    let b3 = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1";
    let settings = || Settings {
        match_propagation: true,
        ..Settings::default()
    };
    let process = process(correlate::Settings::default());
    let mut pair = Pair::of(&process, settings());
    let (_, record) = send(&mut pair, RecordSpec::of("a"));
    assert!(record.header("traceparent").is_some() && record.header("b3").is_none());
    // The application's own record is left as it is, and shows its format.
    let (_, record) = send(&mut pair, RecordSpec::of("b").with("b3", b3));
    assert!(record.header("traceparent").is_none());
    let observed = |pair: &mut Pair| {
        let events = std::mem::take(&mut pair.events);
        let formats = events.iter().filter_map(|event| match event {
            SessionEvent::PropagationObserved(observed) => Some(observed.learned.to_string()),
            _ => None,
        });
        formats.collect::<Vec<_>>()
    };
    assert_eq!(observed(&mut pair), ["b3"]);
    let (span, record) = send(&mut pair, RecordSpec::of("c"));
    let carried = String::from_utf8(record.header("b3").unwrap().to_vec()).unwrap();
    assert_eq!(carried, format!("{}-{}-1", span.trace_id, span.span_id));
    assert!(record.header("traceparent").is_some());
    assert!(observed(&mut pair).is_empty(), "learned once");
    // A format seen in HTTP counts for records as well; a switch turns it off.
    let headers = [("uber-trace-id", "1:1:0:1")];
    let call = request(&process, Direction::Outbound, BEGIN, &headers);
    drop(end(&process, call, BEGIN));
    let (_, record) = send(&mut pair, RecordSpec::of("d"));
    assert!(record.header("uber-trace-id").is_some());
    let mut pair = Pair::of(
        &process,
        Settings {
            match_propagation: false,
            ..settings()
        },
    );
    let (_, record) = send(&mut pair, RecordSpec::of("e"));
    assert!(record.header("traceparent").is_some() && record.header("b3").is_none());
}

#[test]
fn record_without_a_cause_has_open_evidence() {
    let process = process(correlate::Settings::default());
    let mut pair = Pair::of(&process, Settings::default());
    let (span, record) = send(&mut pair, RecordSpec::of("a"));
    assert_eq!(
        (
            text(&span, "throughline.parent.evidence"),
            span.parent_span_id
        ),
        ("open", None)
    );
    assert!(record.header("traceparent").is_some(), "it begins a trace");
}

#[test]
fn record_key_finds_its_request_among_many() {
    let key = CorrelationKey {
        name: "order".to_owned(),
        locations: vec![
            TokenLocation::Header("x-order".to_owned()),
            TokenLocation::Body("/order".to_owned()),
        ],
    };
    let process = process(correlate::Settings {
        keys: vec![key],
        ..correlate::Settings::default()
    });
    let one = request(
        &process,
        Direction::Inbound,
        BEGIN - MILLISECOND,
        &[("x-order", "17")],
    );
    let two = request(&process, Direction::Inbound, BEGIN, &[("x-order", "18")]);
    let mut pair = Pair::of(&process, Settings::default());
    let (span, _) = send(&mut pair, RecordSpec::of(r#"{"order":18}"#));
    let (one, two) = (
        end(&process, one, BEGIN + SECOND),
        end(&process, two, BEGIN + SECOND),
    );
    assert_eq!(
        (span.trace_id, span.parent_span_id),
        (two.trace_id, Some(two.span_id))
    );
    assert_ne!(span.trace_id, one.trace_id);
    assert_eq!(text(&span, "throughline.parent.evidence"), "request-id");
}

#[test]
fn call_is_a_child_of_the_consumer_span_until_the_commit() {
    // opentracing-kafka-client has no settle spans; commits are read for the correlator.
    let naming = SpanNaming::OpenTracing;
    let settings = || Settings {
        naming,
        default: TopicSettings::of(naming),
        ..Settings::default()
    };
    let process = process(correlate::Settings::default());
    let mut consumer = Pair::of(&process, settings());
    let ask = FetchSpec::default();
    consumer.client(ask.frame());
    consumer.broker(ask.answer(
        BatchSpec::of(vec![RecordSpec::of("a").with("traceparent", TRACEPARENT)]).bytes(),
        1,
        &[],
    ));
    let received = consumer.take_spans().remove(0);
    assert_eq!(
        (received.name.as_str(), in_flight(&process)),
        ("From_orders", 1)
    );
    let outbound = request(&process, Direction::Outbound, BEGIN + MILLISECOND, &[]);
    let client = end(&process, outbound, BEGIN + 2 * MILLISECOND);
    assert_eq!(
        (client.trace_id, client.parent_span_id),
        (received.trace_id, Some(received.span_id))
    );
    assert_eq!(text(&client, "throughline.parent.evidence"), "sole");
    let mut coordinator = Pair::of(&process, settings());
    coordinator.now = BEGIN + 3 * MILLISECOND;
    coordinator.client(commit(1, "g", 1));
    assert_eq!(in_flight(&process), 1, "the broker has not taken it");
    coordinator.broker(committed(1, 0));
    assert_eq!((in_flight(&process), coordinator.spans.len()), (0, 0));
}

#[test]
fn call_caused_by_an_unsampled_record_is_not_recorded() {
    let process = process(correlate::Settings::default());
    let mut consumer = Pair::of(
        &process,
        Settings {
            sample_ratio: 0.0,
            ..Settings::default()
        },
    );
    let ask = FetchSpec::default();
    consumer.client(ask.frame());
    consumer.broker(ask.answer(BatchSpec::of(vec![RecordSpec::of("a")]).bytes(), 1, &[]));
    assert_eq!((consumer.spans.len(), in_flight(&process)), (0, 1));
    let mut outbound = request(&process, Direction::Outbound, BEGIN + MILLISECOND, &[]);
    outbound.handle_end(
        BEGIN + 2 * MILLISECOND,
        process.correlator.as_deref().unwrap(),
    );
    assert_eq!(outbound.poll_span(), None);
}
