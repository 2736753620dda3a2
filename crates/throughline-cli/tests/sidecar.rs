//! The sidecar as a person or a script meets it: what it prints, how it is told of mistakes, reloaded and ended.
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
    // What the one who runs the tests has set must not matter.
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

/// A sidecar that ends with the test, and what it has logged.
struct Running {
    child: Child,
    json: serde_json::Value,
    log: Arc<Mutex<String>>,
}

impl Running {
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

    fn until_logged(&self, text: &str) {
        until(
            || self.log.lock().unwrap().contains(text),
            || format!("{text:?} is missing in:\n{}", self.log.lock().unwrap()),
        );
    }

    fn end(&mut self) -> ExitStatus {
        let mut status = None;
        let ended = || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        };
        until(ended, || "it does not end".to_owned());
        status.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

fn until(mut condition: impl FnMut() -> bool, otherwise: impl Fn() -> String) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{}", otherwise());
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn it_needs_no_more_than_a_cluster_and_says_where_clients_are_to_connect() {
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
    let mut said = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    while !said.contains("Ctrl-C") {
        assert_ne!(lines.read_line(&mut said).unwrap(), 0, "{said}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for part in [
        "bootstrap.servers=127.0.0.1:",
        "in place of localhost:9092",
        "http://localhost:4318/v1/traces",
        "kafka-console-producer.sh --bootstrap-server 127.0.0.1:",
    ] {
        assert!(said.contains(part), "{part:?} is missing in:\n{said}");
    }
}

#[test]
fn all_mistakes_of_arguments_variables_and_file_are_in_one_message() {
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
        "4 mistakes".to_owned(),
        "--kafka \"nowhere\" is not a host and port".to_owned(),
        format!("drain in {} \"soon\" is no duration", path.display()),
        format!(
            "sample in {} \"2\" is no number from 0 to 1",
            path.display()
        ),
        "THROUGHLINE_SIDECAR_NAMING \"best\" is not known; use otel or opentracing".to_owned(),
    ] {
        assert!(
            message.contains(&part),
            "{part:?} is missing in:\n{message}"
        );
    }
}

#[test]
fn a_check_tells_whether_the_configuration_is_right_and_opens_nothing() {
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
fn an_address_in_use_is_named_with_the_option_that_changes_it() {
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
fn it_ends_on_sigterm_with_success_once_its_connections_have() {
    let broker = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut running = Running::start(&["--kafka", &broker.local_addr().unwrap().to_string()]);
    let mut client = TcpStream::connect(running.json["kafka"].as_str().unwrap()).unwrap();
    // A request of an API that nobody knows; it is under way when the signal comes.
    let request = [0, 0, 0, 10, 3, 231, 0, 0, 0, 0, 0, 1, 255, 255];
    client.write_all(&request).unwrap();
    let (mut at_broker, _) = broker.accept().unwrap();
    at_broker.read_exact(&mut [0; 14]).unwrap();
    running.signal("-TERM");
    running.until_logged("told to stop");
    let answer = [0, 0, 0, 4, 0, 0, 0, 1];
    at_broker.write_all(&answer).unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, answer);
    assert_eq!(running.end().code(), Some(0));
}

#[test]
fn the_file_is_read_again_when_it_changes_and_on_sighup() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidecar.yaml");
    let write = |path: &Path, text: &str| fs::write(path, text).unwrap();
    write(&path, "kafka: localhost:1\nsample: 1\n");
    let running = Running::start(&["--config", path.to_str().unwrap()]);
    write(&path, "kafka: localhost:1\nsample: 0.5\ninject: false\n");
    running.until_logged("changed=\"sample, inject\"");
    // As Kubernetes and careful editors do it: another file in the place of the old one.
    write(
        &path.with_extension("new"),
        "kafka: localhost:2\nsample: 0.5\ninject: false\n",
    );
    fs::rename(path.with_extension("new"), &path).unwrap();
    running.until_logged("these hold after a restart only changed=\"kafka\"");
    write(&path, "kafka: localhost:2\nsample: 5\n");
    running.until_logged("the configuration stays as it is");
    running.until_logged("\"5\" is no number from 0 to 1");
    running.signal("-HUP");
    until(
        || {
            running
                .log
                .lock()
                .unwrap()
                .matches("stays as it is")
                .count()
                > 1
        },
        || "SIGHUP is not heard".to_owned(),
    );
}
