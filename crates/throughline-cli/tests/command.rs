//! The command as a person or a script meets it: exit codes, what is printed where, how it starts and ends.
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
    // What the one who runs the tests has set must not matter.
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("THROUGHLINE_"))
    {
        command.env_remove(name);
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    throughline(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A collector that ends with the test.
struct Up {
    child: Child,
    addresses: serde_json::Value,
}

impl Up {
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

    /// Tells it to stop, and how it ended.
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
            assert!(Instant::now() < deadline, "still there");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// What it logged until its end.
    fn log(&mut self) -> String {
        std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap()
    }

    fn url(&self, door: &str) -> String {
        format!("http://{}", self.addresses[door].as_str().unwrap())
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

impl Drop for Up {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

#[test]
fn every_mistake_of_up_is_in_one_message_with_its_mend() {
    let output = run(&[
        "up",
        "--host",
        "nowhere",
        "--otlp-grpc-port",
        "4318",
        "--zipkin-port",
        "99999",
        "--store-memory",
        "lots",
        "--log",
        "info=loud",
    ]);
    assert_eq!(output.status.code(), Some(64));
    assert!(output.stdout.is_empty());
    let message = stderr(&output);
    for part in [
        "5 mistakes",
        "--host \"nowhere\" is no IP address; use 127.0.0.1",
        "--otlp-http-port 4318 is the port of --otlp-grpc-port as well; give it another one",
        "--zipkin-port \"99999\" is no port; use a number",
        "--store-memory \"lots\" is no size; write it as 512MiB",
        "--log \"info=loud\" cannot be understood; write it as info",
    ] {
        assert!(message.contains(part), "{part:?} is missing in:\n{message}");
    }
}

#[test]
fn mistakes_in_the_environment_are_told_alike() {
    let output = throughline(&["up"])
        .env("THROUGHLINE_QUERY_PORT", "http")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(
        stderr(&output).contains("--query-port \"http\" is no port"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_option_that_does_not_exist_is_a_mistake_and_help_is_none() {
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
fn a_port_in_use_is_named_with_the_option_that_changes_it() {
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
fn a_collector_that_is_not_there_is_told_in_one_line() {
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
fn up_ends_on_sigterm_with_success_and_its_log_is_plain_where_there_is_no_terminal() {
    let mut up = Up::start_with(Stdio::piped(), &[]);
    assert_eq!(up.stop().code(), Some(0));
    let log = up.log();
    assert!(
        log.contains("told to stop") && !log.contains('\u{1b}'),
        "{log}"
    );
}

#[test]
fn what_is_lost_is_logged_once_and_not_each_time() {
    let mut up = Up::start_with(Stdio::piped(), &["--store-memory", "1MiB"]);
    for trace in 1..=4 {
        let good = serde_json::json!({ "traceId": format!("{trace:032x}"), "spanId": "0000000000000001", "name": "x".repeat(600_000) });
        up.send(&serde_json::json!([good, { "traceId": "", "spanId": "0000000000000001" }]));
        let refused = ureq::post(format!("{}/v1/traces", up.url("otlp_http")))
            .content_type("text/plain")
            .send("x");
        assert!(matches!(refused, Err(ureq::Error::StatusCode(415))));
    }
    up.stop();
    let log = up.log();
    for part in [
        "span rejected: the trace id",
        "request rejected",
        "the store is full",
    ] {
        assert_eq!(log.matches(part).count(), 1, "{part}: {log}");
    }
}

#[test]
fn a_collector_on_this_machine_is_not_asked_through_a_proxy() {
    let up = Up::start();
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut search = throughline(&["search", "--collector", &up.url("query")]);
    let output = search
        .env("http_proxy", format!("http://{nobody}"))
        .env_remove("no_proxy")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_trace_that_was_sent_is_found_and_shown() {
    let up = Up::start();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    let id = "0af7651916cd43dd8448eb211c80319c";
    up.send(&serde_json::json!([
        { "traceId": id, "spanId": "0000000000000001", "name": "GET /checkout", "kind": 2,
          "startTimeUnixNano": now.to_string(), "endTimeUnixNano": (now + 250_000_000).to_string() },
        { "traceId": id, "spanId": "0000000000000002", "parentSpanId": "0000000000000001", "name": "To_eshop-topic",
          "kind": 4, "startTimeUnixNano": (now + 1_000_000).to_string(), "endTimeUnixNano": (now + 3_000_000).to_string(),
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
