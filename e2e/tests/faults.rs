//! Tracing never harms the traffic: with a dead collector, a stalled one, a broken header or a broker that restarts, the
//! eshop answers as it always does, nothing panics, and what is lost is said once.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail by panicking"
)]

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use e2e::{TraceSet, modes};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::json;
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::demo::{BrokerChoice, Config, Demo, SPANS_TIMEOUT};
use throughline_testkit::eshop::{self, DemoMode, Eshop, SpanSource};
use throughline_testkit::kafka::{EmbeddedBroker, KafkaBroker, TopicSpec};
use throughline_testkit::wait;

/// An answer takes six random delays of at most 20 ms and six hops; a service that waits for a collector takes seconds.
const AS_BEFORE: Duration = Duration::from_secs(2);

#[test]
fn a_dead_collector_costs_no_answer_and_is_logged_once() {
    // A port that was free a moment ago: connections are refused.
    let dead = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert_undisturbed(dead);
}

#[test]
fn a_collector_that_stalls_costs_no_answer_and_is_logged_once() {
    // It accepts, by the kernel's backlog, and never reads nor answers.
    let stalled = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_undisturbed(stalled.local_addr().unwrap());
}

/// The bare eshop answers the same, so the comparison in the other tests means something.
#[test]
fn the_bare_eshop_answers_the_same() {
    let (eshop, _broker) = start_eshop(true, None);
    eshop
        .checkout()
        .expect("the bare eshop answers as the article's does");
    eshop.stop().expect("the services stop by themselves");
}

#[test]
fn a_broker_that_restarts_costs_no_answer_and_the_next_checkout_is_traced_whole() {
    let binaries = ProjectBinaries::build().unwrap();
    let config = Config::new(DemoMode::Linked).broker(BrokerChoice::Apache);
    let mut demo = Demo::start(binaries, &config, &mut |step| eprintln!("{step}")).unwrap();
    modes::assert_linked(&checkout(&demo));

    let KafkaBroker::Apache(broker) = demo.kafka_mut() else {
        unreachable!("asked for Apache Kafka")
    };
    broker.stop().unwrap();
    let asked = Instant::now();
    demo.eshop()
        .checkout()
        .expect("a checkout without a broker is answered");
    assert!(
        asked.elapsed() < AS_BEFORE,
        "the checkout waited for the broker: {:?}",
        asked.elapsed()
    );
    let KafkaBroker::Apache(broker) = demo.kafka_mut() else {
        unreachable!("asked for Apache Kafka")
    };
    broker.start().unwrap();

    // The record that was sent meanwhile arrives late, and is handled before the next one is sent.
    let handled = || (demo.collector().traces("notification").ok()?.len() == 2).then_some(());
    wait::until(SPANS_TIMEOUT, handled)
        .expect("the record sent without a broker is delivered after all");
    modes::assert_linked(&checkout(&demo));
    assert_calm(demo.eshop());
    demo.stop().unwrap();
}

#[test]
fn a_broken_header_is_no_context_and_the_record_is_handled_all_the_same() {
    let binaries = ProjectBinaries::build().unwrap();
    let demo = Demo::start(binaries, &Config::new(DemoMode::Linked), &mut |step| {
        eprintln!("{step}")
    })
    .unwrap();

    // To a server: the request is answered, and starts a trace of its own.
    for broken in [
        "garbage",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        let url = format!("{}/createOrder", demo.eshop().service("inventory").url);
        let answer = ureq::get(&url)
            .header("traceparent", broken)
            .call()
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
    let orders = || {
        let traces = demo.collector().traces("inventory").ok()?;
        (traces.len() == 3).then(|| TraceSet::from_json(&json!({"data": traces})))
    };
    let orders = wait::until(SPANS_TIMEOUT, orders)
        .expect("three requests with broken headers, three traces");
    for order in &orders.spans {
        assert!(
            order.references.is_empty(),
            "a broken header became a parent: {order:?}"
        );
    }

    // To a consumer: the record is handled, and its span has no parent.
    send(
        demo.kafka().bootstrap(),
        &[
            ("traceparent", Some("garbage")),
            ("traceparent", None),
            ("tracestate", Some("=,=")),
        ],
    );
    let handled = || {
        let traces =
            TraceSet::from_json(&json!({"data": demo.collector().traces("notification").ok()?}));
        (!traces.named("From_eshop-topic").is_empty()).then_some(traces)
    };
    let handled =
        wait::until(SPANS_TIMEOUT, handled).expect("a record with broken headers is handled");
    let received = handled.only("From_eshop-topic");
    assert!(
        received.references.is_empty(),
        "a broken header became a parent: {received:?}"
    );
    assert!(handled.is_below(handled.only("GET /sendEmail"), received));

    modes::assert_linked(&checkout(&demo));
    assert_calm(demo.eshop());
    demo.stop().unwrap();
}

/// A record as a stranger might send it.
fn send(bootstrap: &str, headers: &[(&str, Option<&str>)]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .unwrap();
    let headers = headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: *value })
        });
    producer
        .send(
            BaseRecord::<(), str>::to(eshop::TOPIC)
                .payload("anything")
                .headers(headers),
        )
        .unwrap();
    producer
        .flush(Duration::from_secs(10))
        .expect("the broker takes the record");
}

fn checkout(demo: &Demo) -> TraceSet {
    let traces = demo
        .checkout_and_wait(SPANS_TIMEOUT)
        .expect("the checkout's traces come in");
    TraceSet::from_json(&json!({"data": traces}))
}

/// Checkouts with this address for a collector: all answered, none late; the loss told once when it begins, and counted to
/// the last span when the service stops.
fn assert_undisturbed(collector: SocketAddr) {
    let (eshop, _broker) = start_eshop(false, Some(collector));
    let checkout = || {
        let asked = Instant::now();
        eshop.checkout().expect("the eshop answers as before");
        assert!(
            asked.elapsed() < AS_BEFORE,
            "a checkout waited for the collector: {:?}",
            asked.elapsed()
        );
    };
    let shop = &eshop.service("eshop").process;
    let lines = |words: &str| {
        shop.log()
            .into_iter()
            .filter(|line| line.contains(words))
            .collect::<Vec<_>>()
    };
    for _ in 0..20 {
        checkout();
    }
    let told = || (!lines("spans cannot be exported").is_empty()).then_some(());
    wait::until(Duration::from_secs(30), told).expect("the loss is logged");
    // These fail too, at the latest when the service stops.
    checkout();
    assert_calm(&eshop);
    shop.stop(Duration::from_secs(20))
        .expect("the service stops by itself, though nobody takes its last spans");

    let log = shop.log().join("\n");
    assert_eq!(
        lines("spans cannot be exported").len(),
        1,
        "the loss is logged more than once:\n{log}"
    );
    let [lost] = &lines("spans were lost")[..] else {
        panic!("the losses are not summed up once:\n{log}")
    };
    // A server span, three calls and the sending of a record; the last record's acknowledgement may come too late.
    let whole = ["lost=105 of=105", "lost=104 of=104"];
    assert!(whole.iter().any(|figures| lost.contains(figures)), "{lost}");
    eshop.stop().expect("the services stop by themselves");
}

fn assert_calm(eshop: &Eshop) {
    assert!(
        eshop.crashed().is_none(),
        "a service ended: {:?}",
        eshop.crashed()
    );
    for service in eshop.services() {
        let log = service.process.log().join("\n");
        assert!(
            !log.contains("panicked"),
            "{} panicked:\n{log}",
            service.name
        );
    }
}

fn start_eshop(bare: bool, otlp_http: Option<SocketAddr>) -> (Eshop, EmbeddedBroker) {
    let binaries = ProjectBinaries::build().unwrap();
    let broker =
        EmbeddedBroker::start(&binaries.embedded_kafka, &[TopicSpec::new(eshop::TOPIC, 1)])
            .unwrap();
    let eshop = Eshop::start(&eshop::Config {
        binary: if bare {
            &binaries.eshop_bare
        } else {
            &binaries.eshop
        },
        bootstrap: broker.bootstrap(),
        topic: eshop::TOPIC,
        otlp_http,
        tracing: if bare {
            SpanSource::None
        } else {
            SpanSource::Sdk(DemoMode::Linked)
        },
        port: 0,
        max_delay: Duration::from_millis(20),
        env: vec![("OTEL_EXPORTER_OTLP_TIMEOUT".to_owned(), "1000".to_owned())],
    });
    (eshop.unwrap(), broker)
}
