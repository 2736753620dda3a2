//! Tracing never harms the traffic: with a dead collector, a stalled one, invalid headers or a
//! restarting broker the eshop responds as always, nothing panics, and lost spans are logged once.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]
#![expect(clippy::print_stderr, reason = "shows the progress of a start")]

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use e2e::{TraceSet, modes};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::json;
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::demo::{BrokerChoice, Config, Demo, SPANS_TIMEOUT};
use throughline_testkit::eshop::{self, DemoMode, Eshop, ServiceProgram, SpanSource};
use throughline_testkit::kafka::{EmbeddedBroker, KafkaBroker, TopicSpec};
use throughline_testkit::wait;

/// A checkout takes six random delays of at most 20 ms and six hops; a service that waits for a
/// collector takes seconds.
const AS_BEFORE: Duration = Duration::from_secs(2);

#[test]
fn dead_collector_delays_nothing_and_is_logged_once() {
    // The listener is dropped at once: connections are refused.
    let dead = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert_undisturbed(dead);
}

#[test]
fn stalled_collector_delays_nothing_and_is_logged_once() {
    // The kernel's backlog accepts connections; nothing reads or responds.
    let stalled = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_undisturbed(stalled.local_addr().unwrap());
}

/// Validates the baseline of the other tests: the bare eshop responds the same.
#[test]
fn bare_eshop_responds_the_same() {
    let (eshop, _broker) = start_eshop(true, None);
    eshop.checkout().expect("the bare eshop responds");
    eshop.stop().expect("the services stop without SIGKILL");
}

#[test]
fn broker_restart_delays_nothing_and_tracing_recovers() {
    let binaries = ProjectBinaries::build().unwrap();
    let config = Config::new(DemoMode::Linked).broker(BrokerChoice::Apache);
    let mut demo = Demo::start(binaries, &config, &mut |step| eprintln!("{step}")).unwrap();
    modes::assert_linked(&checkout(&demo));

    let KafkaBroker::Apache(broker) = demo.kafka_mut() else {
        unreachable!("the broker is Apache Kafka")
    };
    broker.stop().unwrap();
    let asked = Instant::now();
    demo.eshop()
        .checkout()
        .expect("a checkout without a broker succeeds");
    assert!(
        asked.elapsed() < AS_BEFORE,
        "the checkout waited for the broker: {:?}",
        asked.elapsed()
    );
    let KafkaBroker::Apache(broker) = demo.kafka_mut() else {
        unreachable!("the broker is Apache Kafka")
    };
    broker.start().unwrap();

    // The delayed record must be handled before the next checkout is sent.
    let handled = || (demo.collector().traces("notification").ok()?.len() == 2).then_some(());
    wait::until(SPANS_TIMEOUT, handled).expect("the record is delivered after the restart");
    modes::assert_linked(&checkout(&demo));
    assert_no_panic(demo.eshop());
    demo.stop().unwrap();
}

#[test]
fn invalid_header_is_ignored_and_the_record_is_handled() {
    let binaries = ProjectBinaries::build().unwrap();
    let demo = Demo::start(binaries, &Config::new(DemoMode::Linked), &mut |step| {
        eprintln!("{step}");
    })
    .unwrap();

    // At a server, the request succeeds and starts a new trace.
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
        .expect("three requests with invalid headers make three traces");
    for order in &orders.spans {
        assert!(
            order.references.is_empty(),
            "an invalid header became a parent: {order:?}"
        );
    }

    // At a consumer, the record is handled, and its span has no parent.
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
        wait::until(SPANS_TIMEOUT, handled).expect("a record with invalid headers is handled");
    let received = handled.only("From_eshop-topic");
    assert!(
        received.references.is_empty(),
        "an invalid header became a parent: {received:?}"
    );
    assert!(handled.is_below(handled.only("GET /sendEmail"), received));

    modes::assert_linked(&checkout(&demo));
    assert_no_panic(demo.eshop());
    demo.stop().unwrap();
}

/// Produces a record from outside of the eshop.
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
        .expect("the broker accepts the record");
}

fn checkout(demo: &Demo) -> TraceSet {
    let traces = demo
        .checkout_and_wait(SPANS_TIMEOUT)
        .expect("the checkout's traces arrive");
    TraceSet::from_json(&json!({"data": traces}))
}

/// Sends checkouts with this collector address: all succeed in time, the loss is logged once at its
/// beginning, and every lost span is counted when the service stops.
fn assert_undisturbed(collector: SocketAddr) {
    let (eshop, _broker) = start_eshop(false, Some(collector));
    let checkout = || {
        let asked = Instant::now();
        eshop.checkout().expect("the checkout succeeds");
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
    let logged = || (!lines("span export failed").is_empty()).then_some(());
    wait::until(Duration::from_secs(30), logged).expect("the loss is logged");
    // These spans are lost too, at the latest when the service stops.
    checkout();
    assert_no_panic(&eshop);
    shop.stop(Duration::from_secs(20))
        .expect("the service stops without a collector");

    let log = shop.log().join("\n");
    assert_eq!(
        lines("span export failed").len(),
        1,
        "the loss is logged more than once:\n{log}"
    );
    let [lost] = &lines("spans were lost")[..] else {
        panic!("the lost spans are not summed up once:\n{log}")
    };
    // A server span, three calls and a producer span per checkout; the last acknowledgement may
    // come too late.
    let whole = ["lost=105 ended=105", "lost=104 ended=104"];
    assert!(whole.iter().any(|figures| lost.contains(figures)), "{lost}");
    eshop.stop().expect("the services stop without SIGKILL");
}

fn assert_no_panic(eshop: &Eshop) {
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
    let config = eshop::Config {
        program: ServiceProgram::Binary(if bare {
            &binaries.eshop_bare
        } else {
            &binaries.eshop
        }),
        bootstrap: broker.bootstrap(),
        topic: eshop::TOPIC,
        otlp_http,
        zipkin: None,
        tracing: if bare {
            SpanSource::None
        } else {
            SpanSource::Sdk(DemoMode::Linked)
        },
        port: 0,
        max_delay: Duration::from_millis(20),
        env: vec![("OTEL_EXPORTER_OTLP_TIMEOUT".to_owned(), "1000".to_owned())],
        sidecar_args: Vec::new(),
    };
    let eshop = Eshop::start(&config, &mut |step| eprintln!("{step}"));
    (eshop.unwrap(), broker)
}
