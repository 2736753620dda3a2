//! An invalid configuration is rejected as a whole: one message with all errors, exit code 64,
//! nothing started.

use std::process::{Command, Output};

use throughline_testkit::build::ProjectBinaries;

/// `EX_USAGE` of sysexits.
const EX_USAGE: Option<i32> = Some(64);

#[test]
fn eshop_lists_its_own_errors_and_those_of_the_sdk() {
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
    assert_rejected(
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
fn collector_lists_all_errors() {
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
    assert_rejected(
        &output,
        &["--zipkin-port", "--query-port", "--store-memory"],
    );
}

fn assert_rejected(output: &Output, names: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), EX_USAGE, "{message}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "",
        "an address was printed"
    );
    for name in names {
        assert!(
            message.contains(name),
            "{name} is not mentioned in:\n{message}"
        );
    }
}
