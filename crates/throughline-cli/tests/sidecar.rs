//! The sidecar command: output, configuration errors, reload and shutdown.
#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const THROUGHLINE: &str = env!("CARGO_BIN_EXE_throughline");

fn sidecar(arguments: &[&str]) -> Command {
    let mut command = Command::new(THROUGHLINE);
    command.arg("sidecar").args(arguments).stdin(Stdio::null());
    // The environment of the test run must not configure the sidecar.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().into_owned();
        if text.starts_with("THROUGHLINE_") || text.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    sidecar(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A sidecar that is killed with the test, and its log.
struct SidecarProcess {
    child: Child,
    json: serde_json::Value,
    log: Arc<Mutex<String>>,
}

impl SidecarProcess {
    fn start(arguments: &[&str]) -> Self {
        let fixed = [
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ];
        let mut command = sidecar(&fixed);
        let mut child = command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log: Arc<Mutex<String>> = Arc::default();
        let (lines, stderr) = (
            Arc::clone(&log),
            BufReader::new(child.stderr.take().unwrap()),
        );
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *lines.lock().unwrap() += &(line + "\n");
            }
        });
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            child,
            json: serde_json::from_str(&line).unwrap(),
            log,
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    fn wait_for_log(&self, text: &str) {
        wait_until(
            || self.log.lock().unwrap().contains(text),
            || format!("{text:?} is missing in:\n{}", self.log.lock().unwrap()),
        );
    }

    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        let ended = || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        };
        wait_until(ended, || "the sidecar did not stop".to_owned());
        status.unwrap()
    }
}

impl Drop for SidecarProcess {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

fn wait_until(mut condition: impl FnMut() -> bool, otherwise: impl Fn() -> String) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{}", otherwise());
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn start_message_names_the_address_for_clients() {
    let mut command = sidecar(&[
        "--kafka",
        "localhost:9092",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "off",
    ]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut message = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    while !message.contains("Ctrl-C") {
        assert_ne!(lines.read_line(&mut message).unwrap(), 0, "{message}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for part in [
        "bootstrap.servers=127.0.0.1:",
        "in place of localhost:9092",
        "http://localhost:4318/v1/traces",
        "kafka-console-producer.sh --bootstrap-server 127.0.0.1:",
    ] {
        assert!(message.contains(part), "{part:?} is missing in:\n{message}");
    }
}

#[test]
fn all_errors_of_arguments_variables_and_file_are_in_one_message() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidecar.yaml");
    fs::write(&path, "drain: soon\nsample: 2\n").unwrap();
    let mut command = sidecar(&["--config", path.to_str().unwrap(), "--kafka", "nowhere"]);
    let output = command
        .env("THROUGHLINE_SIDECAR_NAMING", "best")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let message = stderr(&output);
    for part in [
        "4 errors in arguments or configuration".to_owned(),
        "--kafka \"nowhere\" is".to_owned(),
        format!("drain in {} \"soon\" is not a duration", path.display()),
        format!(
            "sample in {} \"2\" is not a number from 0 to 1",
            path.display()
        ),
        "THROUGHLINE_SIDECAR_NAMING \"best\" is not supported; use otel or opentracing".to_owned(),
    ] {
        assert!(
            message.contains(&part),
            "{part:?} is missing in:\n{message}"
        );
    }
}

#[test]
fn check_validates_the_configuration_without_binding() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let output = run(&["--kafka", "localhost:1", "--listen", &listen, "--check"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = run(&["--check"]);
    assert!(
        output.status.code() == Some(64) && stderr(&output).contains("--kafka is missing"),
        "{}",
        stderr(&output)
    );
    let output = run(&["--config", "/no/such/file"]);
    assert!(
        output.status.code() == Some(64) && stderr(&output).contains("cannot be read"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn address_in_use_is_reported_with_the_option_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (arguments, option) in [
        (["--listen", &address, "--admin", "off"], "--listen"),
        (["--listen", "127.0.0.1:0", "--admin", &address], "--admin"),
    ] {
        let output = sidecar(&["--kafka", "localhost:1"])
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let message = stderr(&output);
        assert!(
            message.contains(&format!("{address} is in use")) && message.contains(option),
            "{message}"
        );
    }
}

#[test]
fn sigterm_drains_connections_and_exits_with_success() {
    let broker = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut running =
        SidecarProcess::start(&["--kafka", &broker.local_addr().unwrap().to_string()]);
    let mut client = TcpStream::connect(running.json["kafka"].as_str().unwrap()).unwrap();
    // A request of an unknown API, in flight when the signal arrives.
    let request = [0, 0, 0, 10, 3, 231, 0, 0, 0, 0, 0, 1, 255, 255];
    client.write_all(&request).unwrap();
    let (mut at_broker, _) = broker.accept().unwrap();
    at_broker.read_exact(&mut [0; 14]).unwrap();
    running.signal("-TERM");
    running.wait_for_log("stop signal received");
    let response = [0, 0, 0, 4, 0, 0, 0, 1];
    at_broker.write_all(&response).unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    assert_eq!(received, response);
    assert_eq!(running.wait().code(), Some(0));
}

#[test]
fn file_is_reloaded_when_it_changes_and_on_sighup() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidecar.yaml");
    let write = |path: &Path, text: &str| fs::write(path, text).unwrap();
    write(&path, "kafka: localhost:1\nsample: 1\n");
    let running = SidecarProcess::start(&["--config", path.to_str().unwrap()]);
    write(&path, "kafka: localhost:1\nsample: 0.5\ninject: false\n");
    running.wait_for_log("changed=\"sample, inject\"");
    // Kubernetes and many editors replace the file by a rename.
    write(
        &path.with_extension("new"),
        "kafka: localhost:2\nsample: 0.5\ninject: false\n",
    );
    fs::rename(path.with_extension("new"), &path).unwrap();
    running.wait_for_log("configuration changes need a restart changed=\"kafka\"");
    write(&path, "kafka: localhost:2\nsample: 5\n");
    running.wait_for_log("configuration reload rejected, keeping the current one");
    running.wait_for_log("\"5\" is not a number from 0 to 1");
    running.signal("-HUP");
    wait_until(
        || {
            running
                .log
                .lock()
                .unwrap()
                .matches("reload rejected")
                .count()
                > 1
        },
        || "SIGHUP did not reload".to_owned(),
    );
}

#[test]
fn reload_warns_of_a_former_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidecar.yaml");
    fs::write(&path, "kafka: localhost:1\n").unwrap();
    let running = SidecarProcess::start(&["--config", path.to_str().unwrap()]);
    fs::write(&path, "kafka: localhost:1\nanswer_timeout: 3s\n").unwrap();
    running.wait_for_log("configuration reloaded");
    running.wait_for_log("answer_timeout");
    assert!(!running.log.lock().unwrap().contains("reload rejected"));
}

#[test]
fn transparent_start_message_names_every_listen_address() {
    let arguments = [
        "--transparent",
        "--listen",
        "127.0.0.1:0",
        "--listen-inbound",
        "0.0.0.0:0",
        "--admin",
        "0.0.0.0:0",
    ];
    let mut child = sidecar(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut message = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    while !message.contains("Ctrl-C") {
        assert_ne!(lines.read_line(&mut message).unwrap(), 0, "{message}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let line = |name: &str| message.lines().find(|line| line.contains(name)).unwrap();
    assert!(line("Outbound").contains("to 127.0.0.1:"), "{message}");
    for name in ["Inbound", "Metrics"] {
        assert!(line(name).ends_with("(all IPv4 addresses)"), "{message}");
    }
    assert!(line("Inbound").contains("0.0.0.0:"), "{message}");
}

#[test]
fn log_of_an_ordinary_start_has_no_warning() {
    let mut running = SidecarProcess::start(&["--kafka", "localhost:1"]);
    running.signal("-TERM");
    running.wait_for_log("stop signal received");
    assert_eq!(running.wait().code(), Some(0));
    let log = running.log.lock().unwrap();
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn low_open_file_limit_is_warned_about_only_for_an_explicit_number_of_connections() {
    let log = |connections: &str| {
        let script = format!(
            "ulimit -n 1000 && exec {THROUGHLINE} sidecar --kafka localhost:1 --listen \
             127.0.0.1:0 --admin off {connections}"
        );
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        child.kill().unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap()
    };
    let warning = "open-file limit is too low for --connections";
    assert!(log("--connections 5000").contains(warning));
    assert!(!log("").contains("WARN"));
}

#[test]
fn every_served_metric_is_documented() {
    let running = SidecarProcess::start(&["--kafka", "localhost:1", "--outbound", "127.0.0.1:0"]);
    let mut stream = TcpStream::connect(running.json["admin"].as_str().unwrap()).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sidecar.md");
    let page = fs::read_to_string(path).unwrap();
    let mut count = 0;
    for line in metrics.lines() {
        let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let suffix = if kind == "counter" { "_total" } else { "" };
        let full = format!("{name}{suffix}");
        // The tables of Kafka and HTTP have their prefix in the heading.
        let short = full
            .trim_start_matches("throughline_kafka_")
            .trim_start_matches("throughline_http_");
        assert!(page.contains(&format!("`{short}`")), "{full}");
        count += 1;
    }
    assert!(count > 20, "{metrics}");
}
