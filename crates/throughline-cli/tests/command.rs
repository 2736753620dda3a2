//! The command line: exit codes, output, start and stop.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test says what failed by panicking"
)]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

const THROUGHLINE: &str = env!("CARGO_BIN_EXE_throughline");

fn throughline(arguments: &[&str]) -> Command {
    let mut command = Command::new(THROUGHLINE);
    command.args(arguments).stdin(Stdio::null());
    // The environment of the test run must not configure the command.
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("THROUGHLINE_"))
    {
        command.env_remove(name);
    }
    // Not the traces of the user who runs the tests.
    command.env("THROUGHLINE_STORE", "memory");
    command
}

fn run(arguments: &[&str]) -> Output {
    throughline(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A collector that is killed with the test.
struct UpProcess {
    child: Child,
    addresses: serde_json::Value,
}

impl UpProcess {
    fn start() -> Self {
        Self::start_with(Stdio::null(), &[])
    }

    fn start_with(stderr: Stdio, more: &[&str]) -> Self {
        let ports = [
            "--otlp-grpc-port",
            "0",
            "--otlp-http-port",
            "0",
            "--zipkin-port",
            "0",
            "--query-port",
            "0",
            "--query-grpc-port",
            "0",
            "--jaeger-http-port",
            "0",
            "--jaeger-compact-port",
            "0",
            "--jaeger-binary-port",
            "off",
            "--jaeger-sampling-port",
            "off",
        ];
        let mut command = throughline(&["up", "--json"]);
        let mut child = command
            .args(ports)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let addresses = serde_json::from_str(&line).unwrap();
        Self { child, addresses }
    }

    /// Sends SIGTERM and returns the exit status.
    fn stop(&mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the collector did not stop");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Returns its log, once it has ended.
    fn log(&mut self) -> String {
        std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap()
    }

    fn url(&self, listener: &str) -> String {
        format!("http://{}", self.addresses[listener].as_str().unwrap())
    }

    fn send(&self, spans: &serde_json::Value) {
        let resource = serde_json::json!({
            "attributes": [{ "key": "service.name", "value": { "stringValue": "eshop" } }]
        });
        let group = serde_json::json!({ "resource": resource, "scopeSpans": [{ "spans": spans }] });
        let request = serde_json::json!({ "resourceSpans": [group] });
        let response = ureq::post(format!("{}/v1/traces", self.url("otlp_http")))
            .send_json(&request)
            .unwrap();
        assert_eq!(response.status(), 200);
    }
}

impl Drop for UpProcess {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

#[test]
fn all_errors_of_up_are_in_one_message_with_their_remedies() {
    let output = run(&[
        "up",
        "--host",
        "nowhere",
        "--otlp-grpc-port",
        "4318",
        "--zipkin-port",
        "99999",
        "--jaeger-http-port",
        "4318",
        "--jaeger-compact-port",
        "none",
        "--query-grpc-port",
        "4318",
        "--cors-origin",
        "shop.example",
        "--allowed-host",
        "http://traces.example",
        "--store-memory",
        "lots",
        "--log",
        "info=loud",
    ]);
    assert_eq!(output.status.code(), Some(64));
    assert!(output.stdout.is_empty());
    let message = stderr(&output);
    for part in [
        "10 errors in arguments or configuration",
        "--host \"nowhere\" is not an IP address; use 127.0.0.1",
        "--otlp-http-port 4318 is also the port of --otlp-grpc-port; use another one",
        "--zipkin-port \"99999\" is not a port; use a number",
        "--jaeger-http-port 4318 is also the port of",
        "--query-grpc-port 4318 is also the port of",
        "--jaeger-compact-port \"none\" is not a port; use a number from 1 to 65535, or 0 for a \
         free one, or off for none",
        "--cors-origin \"shop.example\" is not an origin; write it as https://shop.example",
        "--allowed-host \"http://traces.example\" is not a host name",
        "--store-memory \"lots\" is not a size; write it as 512MiB",
        "--log \"info=loud\" is not a log filter; write it as info",
    ] {
        assert!(message.contains(part), "{part:?} is missing in:\n{message}");
    }
}

#[test]
fn errors_in_environment_variables_are_reported_alike() {
    let output = throughline(&["up"])
        .env("THROUGHLINE_QUERY_PORT", "http")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(
        stderr(&output).contains("--query-port \"http\" is not a port"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn unknown_options_exit_with_64_and_help_with_0() {
    assert_eq!(run(&["up", "--prot", "1"]).status.code(), Some(64));
    let help = run(&["up", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("THROUGHLINE_STORE_MEMORY")
    );
}

#[test]
fn help_of_every_command_fits_100_columns_and_has_examples() {
    for command in [
        "", "up", "sidecar", "init", "trace", "search", "weave", "store",
    ] {
        let arguments: Vec<&str> = [command, "--help"]
            .into_iter()
            .filter(|argument| !argument.is_empty())
            .collect();
        let help = String::from_utf8(run(&arguments).stdout).unwrap();
        assert!(help.contains("Examples:\n  throughline"), "{help}");
        for line in help.lines() {
            assert!(line.chars().count() <= 100, "{command}: {line}");
        }
    }
}

#[test]
fn port_in_use_is_reported_with_the_option_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(&[
        "up",
        "--otlp-grpc-port",
        "0",
        "--otlp-http-port",
        "0",
        "--zipkin-port",
        &port,
        "--query-port",
        "0",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(
        message.contains(&format!("port {port} is in use")) && message.contains("--zipkin-port"),
        "{message}"
    );
}

#[test]
fn unreachable_collector_is_reported_in_one_line() {
    let unused = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for command in [&["trace", "1"][..], &["search"]] {
        let output = throughline(command)
            .args(["--collector", &format!("http://{unused}")])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let message = stderr(&output);
        assert!(
            message.contains("throughline up") && message.lines().count() == 1,
            "{message}"
        );
    }
}

#[test]
fn up_stops_on_sigterm_with_success_and_logs_without_colors_to_a_pipe() {
    let mut up = UpProcess::start_with(Stdio::piped(), &[]);
    assert_eq!(up.stop().code(), Some(0));
    let log = up.log();
    assert!(
        log.contains("stop signal received") && !log.contains('\u{1b}'),
        "{log}"
    );
}

#[test]
fn repeated_losses_are_logged_once() {
    let mut up = UpProcess::start_with(Stdio::piped(), &["--store-memory", "1MiB"]);
    for trace in 1..=4 {
        let valid = serde_json::json!({
            "traceId": format!("{trace:032x}"), "spanId": "0000000000000001",
            "name": "x".repeat(600_000),
        });
        up.send(&serde_json::json!([valid, { "traceId": "", "spanId": "0000000000000001" }]));
        let refused = ureq::post(format!("{}/v1/traces", up.url("otlp_http")))
            .content_type("text/plain")
            .send("x");
        assert!(matches!(refused, Err(ureq::Error::StatusCode(415))));
    }
    up.stop();
    let log = up.log();
    // These texts are the collector's; each must be logged once for four losses.
    for part in [
        "span rejected: the trace id",
        "request rejected",
        "the store is full",
    ] {
        assert_eq!(log.matches(part).count(), 1, "{part}: {log}");
    }
}

#[test]
fn local_collector_is_queried_without_the_http_proxy() {
    let up = UpProcess::start();
    let closed_port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut search = throughline(&["search", "--collector", &up.url("query")]);
    let output = search
        .env("http_proxy", format!("http://{closed_port}"))
        .env_remove("no_proxy")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn sent_trace_is_found_and_shown() {
    let up = UpProcess::start();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    let id = "0af7651916cd43dd8448eb211c80319c";
    up.send(&serde_json::json!([
        { "traceId": id, "spanId": "0000000000000001", "name": "GET /checkout", "kind": 2,
          "startTimeUnixNano": now.to_string(),
          "endTimeUnixNano": (now + 250_000_000).to_string() },
        { "traceId": id, "spanId": "0000000000000002", "parentSpanId": "0000000000000001",
          "name": "To_eshop-topic", "kind": 4,
          "startTimeUnixNano": (now + 1_000_000).to_string(),
          "endTimeUnixNano": (now + 3_000_000).to_string(),
          "links": [{ "traceId": id, "spanId": "0000000000000001" }] },
    ]));
    let collector = up.url("query");
    let output = run(&["trace", id, "--collector", &collector]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("eshop GET /checkout") && text.contains("~> eshop To_eshop-topic"),
        "{text}"
    );

    let output = run(&["search", "--service", "eshop", "--collector", &collector]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(id) && text.contains("250ms"), "{text}");

    let output = run(&["search", "--service", "nobody", "--collector", &collector]);
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .starts_with("No trace matches")
    );

    let output = run(&["trace", id, "--json", "--collector", &collector]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["data"][0]["spans"].as_array().unwrap().len(), 2);

    let output = run(&["trace", "abc", "--collector", &collector]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("has no trace"),
        "{}",
        stderr(&output)
    );
}
