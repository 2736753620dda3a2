//! `cargo xtask demo --once --json` as a user types it: each mode shows exactly the state of the trace that it is for, on
//! the embedded broker and on a real Apache Kafka.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::process::{Command, Stdio};

use e2e::{TraceSet, modes};
use throughline_testkit::kafka::{ApacheBroker, TopicSpec};
use throughline_testkit::network;

#[test]
fn rest_on_the_embedded_broker() {
    modes::assert_rest(&demo(&["--mode", "rest"]));
}

#[test]
fn kafka_on_the_embedded_broker() {
    modes::assert_kafka(&demo(&["--mode", "kafka"]));
}

#[test]
fn linked_on_the_embedded_broker_and_by_default() {
    modes::assert_linked(&demo(&[]));
}

#[test]
fn sidecar_on_the_embedded_broker() {
    modes::assert_sidecar(&demo(&["--mode", "sidecar"]));
}

#[test]
fn sidecar_with_a_network_for_each_service() {
    if let Some(missing) = network::missing() {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must be able to redirect: {missing}"
        );
        eprintln!("skipped, and nothing is proved: {missing}");
        return;
    }
    modes::assert_sidecar(&demo(&["--mode", "sidecar", "--netns"]));
}

#[test]
fn every_mode_on_apache_kafka() {
    let mut narrate = |step: &str| eprintln!("{step}");
    let broker = ApacheBroker::builder()
        .topic(TopicSpec::new("eshop-topic", 3))
        .start(&mut narrate)
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

/// Whether guesses are right is told from what the services say themselves. At two checkouts a second most are alone.
#[test]
fn sidecars_under_load_join_nothing_that_does_not_belong_together() {
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

/// The traces of one checkout.
fn demo(args: &[&str]) -> TraceSet {
    TraceSet::from_json(&json(args))
}

/// What the demo prints. Standard output must be JSON and nothing else.
fn json(args: &[&str]) -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["xtask", "demo", "--once", "--json"])
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .output()
        .expect("cargo runs");
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
