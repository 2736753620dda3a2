//! Kafka through a stock Envoy with our module: producers and consumers get their spans, records
//! their contexts, and every byte arrives.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod support;

use std::path::Path;
use std::process::Command;

use serde_json::json;
use support::check::{self, ContextInjection, HeaderOrder};
use support::record;
use support::run;
use support::spans::TopicSpans;
use throughline_testkit::build::{ProjectBinaries, envoy_module};
use throughline_testkit::clients::ClientLibrary;
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::envoy::{self, EnvoyBootstrap, EnvoyInstance};
use throughline_testkit::kafka::{ApacheBroker, TopicSpec};
use throughline_testkit::process::ProcessSpec;

const SERVICE: &str = "shop";
const TOPIC: &str = "envoy-orders";

fn rdkafka() -> ProcessSpec {
    let program = Path::new(env!("CARGO_BIN_EXE_rdkafka-client"));
    ProcessSpec::new("rdkafka client", program)
}

#[test]
fn producer_and_consumer_get_spans_and_records_get_contexts() {
    let kafka = ApacheBroker::builder()
        .topic(TopicSpec::new(TOPIC, 3))
        .start(&mut |step| eprintln!("{step}"))
        .unwrap();
    let collector =
        CollectorInstance::start(&ProjectBinaries::build().unwrap().throughline).unwrap();
    let otlp = collector.addresses().otlp_http;
    let mut bootstrap = EnvoyBootstrap::new(SERVICE, otlp, &json!({}));
    let listener = bootstrap.kafka(kafka.bootstrap()).unwrap();
    let proxy = EnvoyInstance::start(SERVICE, &envoy_module().unwrap(), &bootstrap).unwrap();

    let clients = [ClientLibrary::Rdkafka, ClientLibrary::Rdkafka];
    let records = record::generate(clients, 7, 200, 3);
    let options = [("client-id", TOPIC), ("codec", "lz4")];
    let through = listener.to_string();
    let sent = run::produce(rdkafka(), &through, TOPIC, &records, &options).acknowledged();
    let positions = check::positions_of(&sent);
    // The broker has what the producer sent, with one context in each record.
    let reader = [("group", "reader")];
    let found =
        run::consume(rdkafka(), kafka.bootstrap(), TOPIC, records.len(), &reader).consumed();
    let injected = ContextInjection::Injected;
    let contexts = check::arrived(&records, &positions, &found, HeaderOrder::Kept, injected);
    assert_eq!(contexts.len(), records.len());

    let options = [("client-id", TOPIC), ("group", TOPIC)];
    let read = run::consume(rdkafka(), &through, TOPIC, records.len(), &options).consumed();
    let delivered = check::arrived(&records, &positions, &read, HeaderOrder::Kept, injected);
    assert_eq!(
        delivered, contexts,
        "a context changed on its way to the consumer"
    );

    let count = records.len();
    let expected = [("send", count), ("process", count), ("commit", count)];
    let spans = TopicSpans::wait_for(&collector, SERVICE, TOPIC, &expected);
    spans.assert_sent(&contexts, TOPIC, 1..=1);
    spans.assert_processed(&contexts, [TOPIC, TOPIC], 1..=1);
    spans.assert_committed(&contexts, &(1..=1));

    let stats = proxy.stats().unwrap();
    let own = records.len() - contexts.values().filter(|one| one.from_producer).count();
    assert_eq!(stats["kafka_records_injected"], own as u64, "{stats:?}");
    assert!(stats["spans"] >= 3 * count as u64, "{stats:?}");
    for zero in [
        "panics",
        "spans_dropped",
        "kafka_framing_failed",
        "kafka_brokers_unmapped",
    ] {
        assert_eq!(stats.get(zero), None, "{stats:?}");
    }
    proxy.stop().unwrap();
}

#[test]
fn listeners_are_replaced_under_open_connections() {
    const TOPIC: &str = "envoy-reload";
    let kafka = ApacheBroker::builder()
        .topic(TopicSpec::new(TOPIC, 1))
        .start(&mut |step| eprintln!("{step}"))
        .unwrap();
    let collector =
        CollectorInstance::start(&ProjectBinaries::build().unwrap().throughline).unwrap();
    let otlp = collector.addresses().otlp_http;
    let mut bootstrap = EnvoyBootstrap::new(SERVICE, otlp, &json!({}));
    let through = bootstrap.kafka(kafka.bootstrap()).unwrap().to_string();
    let proxy = EnvoyInstance::start(SERVICE, &envoy_module().unwrap(), &bootstrap).unwrap();
    let rounds = 4;
    let clients = [ClientLibrary::Rdkafka, ClientLibrary::Rdkafka];
    let records = record::generate(clients, 3, 20, 1);
    let options = [("client-id", TOPIC), ("group", TOPIC)];
    let total = rounds * records.len();
    let consumer = run::consume(rdkafka(), &through, TOPIC, total, &options);
    for round in 0..rounds {
        let producer = [("client-id", TOPIC)];
        run::produce(rdkafka(), &through, TOPIC, &records, &producer).acknowledged();
        consumer.wait_for_lines((round + 1) * records.len());
        // The connection of the consumer keeps the filter that it began with.
        bootstrap.set_key("message_key", &json!(round % 2 == 0));
        proxy.update(&bootstrap).unwrap();
    }
    assert_eq!(consumer.consumed().len(), total);
    let expected = [("send", total), ("process", total)];
    TopicSpans::wait_for(&collector, SERVICE, TOPIC, &expected);
    let stats = proxy.stats().unwrap();
    assert_eq!(stats.get("panics"), None, "{stats:?}");
    proxy.stop().unwrap();
}

#[test]
fn documented_configuration_is_valid_and_a_mistake_in_it_is_named() {
    let module = envoy_module().unwrap();
    let documented = include_str!("../../docs/envoy.yaml");
    // Quiet as well: nothing is started, and nothing warned of.
    assert_eq!(validate(&module, documented), (true, String::new()));
    let mistaken = documented.replace("service: shop\n", "service: shop\n              smple: 1\n");
    assert_ne!(mistaken, documented);
    let (is_valid, errors) = validate(&module, &mistaken);
    assert!(
        !is_valid && errors.contains("throughline_kafka: smple: unknown"),
        "{errors}"
    );
}

#[test]
fn every_mistake_of_a_configuration_is_named_at_once() {
    let mistakes = "service: shop\n              sample: 2\n              naming: x\n              \
                    memory: many\n              listen: here\n              \
                    propagation: w4c\n              topics: [{ topic: t, deliver: no-way }]\n";
    let documented = include_str!("../../docs/envoy.yaml");
    let mistaken = documented.replace("service: shop\n", mistakes);
    assert_ne!(mistaken, documented);
    let (is_valid, errors) = validate(&envoy_module().unwrap(), &mistaken);
    assert!(!is_valid, "{errors}");
    for key in [
        "sample",
        "naming",
        "memory",
        "listen",
        "propagation",
        "topics",
    ] {
        let named = errors.contains(&format!("throughline_kafka: {key}"));
        assert!(named, "{key} is not named in:\n{errors}");
    }
}

/// Returns whether Envoy accepts a configuration, and its log of errors.
fn validate(module: &Path, text: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("envoy.yaml");
    std::fs::write(&path, text).unwrap();
    let output = Command::new(envoy::program().unwrap())
        .env(
            "ENVOY_DYNAMIC_MODULES_SEARCH_PATH",
            module.parent().unwrap(),
        )
        .args(["--mode", "validate", "-l", "warning", "-c"])
        .arg(&path)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), errors)
}
