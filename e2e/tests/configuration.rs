//! A configuration with mistakes is refused as a whole: one message that lists them all, exit code 64, nothing started.

use std::process::{Command, Output};

use throughline_testkit::build::ProjectBinaries;

/// `EX_USAGE` of sysexits.
const BAD_CONFIGURATION: Option<i32> = Some(64);

#[test]
fn the_eshop_lists_its_own_mistakes_and_those_of_the_sdk_together() {
    let output = Command::new(&ProjectBinaries::build().unwrap().eshop)
        .args([
            "bookshop", "--mode", "magic", "--listen", "nowhere", "--kafka", "no-port", "--seed",
            "many",
        ])
        .envs([
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_PROPAGATORS", "smoke-signals"),
        ])
        .output()
        .unwrap();
    assert_refused(
        &output,
        &[
            "bookshop",
            "--mode",
            "--listen",
            "--kafka",
            "--seed",
            "OTEL_TRACES_SAMPLER",
            "OTEL_PROPAGATORS",
        ],
    );
}

#[test]
fn the_collector_lists_its_mistakes_together() {
    let output = Command::new(&ProjectBinaries::build().unwrap().throughline)
        .args([
            "up",
            "--otlp-http-port",
            "9411",
            "--query-port",
            "many",
            "--store-memory",
            "plenty",
        ])
        .output()
        .unwrap();
    assert_refused(
        &output,
        &["--zipkin-port", "--query-port", "--store-memory"],
    );
}

fn assert_refused(output: &Output, mistakes: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), BAD_CONFIGURATION, "{message}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "",
        "an address was announced"
    );
    for mistake in mistakes {
        assert!(
            message.contains(mistake),
            "{mistake} is not told in:\n{message}"
        );
    }
}
