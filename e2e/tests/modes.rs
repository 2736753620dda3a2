//! `cargo xtask demo --once --json` as on the command line: each mode shows its state of the trace,
//! on the mock broker and on Apache Kafka.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::process::{Command, Stdio};

use e2e::{TraceSet, modes};
use throughline_testkit::kafka::{ApacheBroker, TopicSpec};
use throughline_testkit::network;

#[test]
fn mode_rest_on_the_mock_broker() {
    modes::assert_rest(&demo(&["--mode", "rest"]));
}

#[test]
fn mode_kafka_on_the_mock_broker() {
    modes::assert_kafka(&demo(&["--mode", "kafka"]));
}

#[test]
fn mode_linked_is_the_default() {
    modes::assert_linked(&demo(&[]));
}

#[test]
fn mode_sidecar_on_the_mock_broker() {
    modes::assert_sidecar(&demo(&["--mode", "sidecar"]));
}

#[test]
fn mode_sidecar_in_network_namespaces() {
    if let Some(missing) = network::missing() {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must support network namespaces: {missing}"
        );
        eprintln!("skipped: {missing}");
        return;
    }
    modes::assert_sidecar(&demo(&["--mode", "sidecar", "--netns"]));
}

#[test]
fn every_mode_on_apache_kafka() {
    let mut progress = |step: &str| eprintln!("{step}");
    let broker = ApacheBroker::builder()
        .topic(TopicSpec::new("eshop-topic", 3))
        .start(&mut progress)
        .expect("Apache Kafka starts");
    for (mode, assert) in [
        ("rest", modes::assert_rest as fn(&TraceSet)),
        ("kafka", modes::assert_kafka),
        ("linked", modes::assert_linked),
        ("sidecar", modes::assert_sidecar),
    ] {
        assert(&demo(&["--mode", mode, "--kafka", broker.bootstrap()]));
    }
    if network::missing().is_none() {
        modes::assert_sidecar(&demo(&[
            "--mode",
            "sidecar",
            "--netns",
            "--kafka",
            broker.bootstrap(),
        ]));
    }
}

/// The services' own order numbers show whether inferred parents are right. At two checkouts per
/// second most do not overlap.
#[test]
fn sidecars_under_load_join_no_unrelated_spans() {
    let report = json(&["--mode", "sidecar", "--load", "2", "--for", "15s"]);
    let count = |name: &str| {
        report[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name} in {report}"))
    };
    assert_eq!(
        (count("sent"), count("answered"), count("incomplete")),
        (30, 30, 0),
        "{report}"
    );
    assert_eq!(count("wrong"), 0, "{report}");
    assert_eq!(count("spans"), 30 * 11, "{report}");
    assert!(count("whole") >= 15, "{report}");
}

/// Runs the demo and returns the traces of one checkout.
fn demo(args: &[&str]) -> TraceSet {
    TraceSet::from_json(&json(args))
}

/// Runs the demo and parses its output. Stdout must be JSON and nothing else.
fn json(args: &[&str]) -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["xtask", "demo", "--once", "--json"])
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .output()
        .expect("cargo starts");
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cargo xtask demo {args:?}: {}\n{progress}",
        output.status
    );
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "standard output is not JSON ({error}):\n{}",
            String::from_utf8_lossy(&output.stdout)
        )
    })
}
