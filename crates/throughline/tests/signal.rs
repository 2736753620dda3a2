//! SIGTERM: the spans are sent, then the signal ends the process as it would have.
#![cfg(all(feature = "signal", unix))]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use opentelemetry::global;
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// Names the file into which the service, this test in another process, exports.
const OUTPUT: &str = "THROUGHLINE_TEST_OUTPUT";

/// An exporter that writes the names of spans into a file.
#[derive(Debug)]
struct FileExporter(String);

impl SpanExporter for FileExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let names: Vec<_> = batch.iter().map(|span| span.name.as_ref()).collect();
        fs::write(&self.0, names.join("\n")).unwrap();
        Ok(())
    }
}

#[test]
fn spans_are_sent_before_sigterm_ends_the_process() {
    if let Ok(output) = std::env::var(OUTPUT) {
        serve(output);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("spans");
    let name = "spans_are_sent_before_sigterm_ends_the_process";
    let mut service = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(OUTPUT, &output)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(service.stdout.take().unwrap()).lines();
    let is_ready = |line: std::io::Result<String>| line.unwrap().contains("ready");
    assert!(lines.into_iter().any(is_ready));
    assert!(!output.exists(), "the span waits for its batch");
    let pid = rustix::process::Pid::from_child(&service);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = service.wait().unwrap();
    assert_eq!(status.signal(), Some(15), "{status}");
    assert_eq!(fs::read_to_string(output).unwrap(), "the last one");
}

/// Ends a span, which waits for its batch, and never returns.
fn serve(output: String) {
    let _telemetry = throughline::builder()
        .environment(|_| None)
        .variable("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        .span_exporter(FileExporter(output))
        .without_subscriber()
        .init()
        .shutdown_on_signal();
    global::tracer_provider()
        .tracer("test")
        .start("the last one")
        .end();
    let mut output = std::io::stdout();
    output.write_all(b"ready\n").unwrap();
    output.flush().unwrap();
    loop {
        std::thread::park();
    }
}
