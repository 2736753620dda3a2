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
fn mode_envoy_on_the_mock_broker() {
    modes::assert_envoy(&demo(&["--mode", "envoy"]));
}

#[test]
fn mode_envoy_with_the_zipkin_tracer_and_b3() {
    modes::assert_envoy(&demo(&["--mode", "envoy", "--tracer", "zipkin"]));
}

#[test]
fn mode_sidecar_in_network_namespaces() {
    if !network::is_skipped() {
        modes::assert_sidecar(&demo(&["--mode", "sidecar", "--netns"]));
    }
}

/// Connections are redirected as by Istio: 15001 and 15006, and listeners by original destination.
#[test]
fn mode_envoy_in_network_namespaces() {
    if !network::is_skipped() {
        modes::assert_envoy(&demo(&["--mode", "envoy", "--netns"]));
    }
}

/// The article's setup: redirection, Zipkin's tracer, B3.
#[test]
fn mode_envoy_in_network_namespaces_with_the_zipkin_tracer() {
    if !network::is_skipped() {
        let args = ["--mode", "envoy", "--netns", "--tracer", "zipkin"];
        modes::assert_envoy(&demo(&args));
    }
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
        ("envoy", modes::assert_envoy),
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

/// No byte of the records changes, and the trace is whole all the same: cluster, topic, partition
/// and offset of the produce response are those of the fetch response.
#[test]
fn records_without_contexts_are_joined_by_their_offsets() {
    let mut progress = |step: &str| eprintln!("{step}");
    let broker = ApacheBroker::builder()
        .topic(TopicSpec::new("eshop-topic", 3))
        .start(&mut progress)
        .expect("Apache Kafka starts");
    modes::assert_sidecar_by_offset(&demo(&[
        "--mode",
        "sidecar",
        "--inject",
        "never",
        "--compression",
        "lz4",
        "--kafka",
        broker.bootstrap(),
    ]));
}

/// The references that the services pass on show whether inferred parents are right. At two
/// checkouts per second most do not overlap.
#[test]
fn sidecars_under_load_join_no_unrelated_spans() {
    let report = json(&["--mode", "sidecar", "--load", "2", "--for", "15s"]);
    assert_all_spans(&report, 30);
    for view in ["live", "woven"] {
        assert_eq!(count(&report, &[view, "inferred", "wrong"]), 0, "{report}");
        assert_eq!(count(&report, &[view, "wrong"]), 0, "{report}");
        assert!(count(&report, &[view, "whole"]) >= 15, "{report}");
    }
}

/// At 20 checkouts per second one begins as another ends, and most calls have several possible
/// causes.
#[test]
fn sidecars_at_twenty_checkouts_a_second_infer_hardly_a_wrong_parent() {
    let report = json(&["--mode", "sidecar", "--load", "20", "--for", "20s"]);
    eprintln!("{report}");
    assert_all_spans(&report, 400);
    let (found, wrong) = (
        count(&report, &["woven", "inferred", "found"]),
        count(&report, &["woven", "inferred", "wrong"]),
    );
    if !keeps_up(&report) {
        // All times are stretched for a while: more stays open, and more is wrong.
        assert!(wrong * 33 <= found, "{report}");
        assert!(count(&report, &["woven", "whole"]) >= 300, "{report}");
        return;
    }
    assert!(wrong * 100 <= found, "{report}");
    assert!(count(&report, &["woven", "whole"]) >= 380, "{report}");
    // The sidecars find by the steps of requests what the only request in flight does not show.
    assert!(
        count(&report, &["live", "edges", "structure", "found"]) > 400,
        "{report}"
    );
}

/// A plain Spring Boot application, as fresh as the article's reader has it: its first checkouts
/// load classes for seconds.
#[test]
fn sidecars_trace_a_spring_application_from_its_first_checkout_on() {
    let full = std::env::var_os("THROUGHLINE_FULL").is_some_and(|full| full == "1");
    let checkouts: u64 = if full { 20 } else { 8 };
    let duration = format!("{checkouts}s");
    let mut args = vec!["--mode", "sidecar", "--app", "spring"];
    args.extend(["--load", "1", "--in-turn", "--for", &duration]);
    if full && network::missing().is_none() {
        args.push("--netns");
    }
    let report = json(&args);
    eprintln!("{report}");
    assert_all_spans(&report, checkouts);
    assert_eq!(count(&report, &["woven", "wrong"]), 0, "{report}");
    // A call of a cold JVM may stay open on a busy machine.
    let least = if full { checkouts } else { checkouts - 1 };
    assert!(count(&report, &["woven", "whole"]) >= least, "{report}");
}

/// A warm Spring Boot application under a steady load: at 5 a second the sidecars find the parents,
/// at 20 its consumer is never idle, and the collector finds them.
#[test]
fn sidecars_trace_a_spring_application_under_load() {
    if std::env::var_os("THROUGHLINE_FULL").is_none_or(|full| full != "1") {
        eprintln!("skipped: a matter of minutes, with THROUGHLINE_FULL=1");
        return;
    }
    for (load, view, least) in [("5", "live", 96), ("20", "woven", 90)] {
        let args = ["--mode", "sidecar", "--app", "spring", "--load", load];
        let report = json(&[&args[..], &["--for", "30s", "--warm-up", "20"]].concat());
        eprintln!("{report}");
        let sent = count(&report, &["sent"]);
        assert_eq!(count(&report, &["answered"]), sent, "{report}");
        let (found, wrong) = (
            count(&report, &["woven", "inferred", "found"]),
            count(&report, &["woven", "inferred", "wrong"]),
        );
        assert!(wrong * 200 <= found, "{report}");
        let whole = count(&report, &[view, "whole"]);
        assert!(whole * 100 >= least * sent, "{report}");
    }
}

/// Asserts that every checkout was answered and has all its spans.
fn assert_all_spans(report: &serde_json::Value, checkouts: u64) {
    let answered = ["sent", "answered"].map(|name| count(report, &[name]));
    assert_eq!(answered, [checkouts, checkouts], "{report}");
    assert_eq!(count(report, &["live", "incomplete"]), 0, "{report}");
    assert_eq!(
        count(report, &["live", "spans"]),
        checkouts * 11,
        "{report}"
    );
}

/// Returns whether the machine did the work of a load in time.
fn keeps_up(report: &serde_json::Value) -> bool {
    let is_below = |name: &str, most: f64| report[name].as_f64().is_some_and(|it| it < most);
    is_below("latest_ms", 50.0) && is_below("p99_ms", 200.0)
}

fn count(report: &serde_json::Value, path: &[&str]) -> u64 {
    report
        .pointer(&format!("/{}", path.join("/")))
        .and_then(serde_json::Value::as_u64)
        .unwrap_or_else(|| panic!("no {path:?} in {report}"))
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
