//! Traces outlive the collector: a restart, and a kill at any moment.
#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use throughline_model::{SpanId, TraceId};
use throughline_segments::{DiskSettings, DiskStore};
use throughline_store::{SpanKey, Store as _};

const THROUGHLINE: &str = env!("CARGO_BIN_EXE_throughline");

/// Spans of a request of the load.
const BATCH_SPANS: u64 = 50;

fn throughline(arguments: &[&str]) -> Command {
    let mut command = Command::new(THROUGHLINE);
    command.args(arguments).stdin(Stdio::null());
    // The environment of the test run must not configure the command.
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("THROUGHLINE_"))
    {
        command.env_remove(name);
    }
    command
}

/// A collector that is killed with the test.
struct DiskCollector {
    child: Child,
    addresses: serde_json::Value,
}

impl DiskCollector {
    fn start(data: &Path, more: &[&str]) -> Self {
        let mut child = throughline(&["up", "--json", "--data", data.to_str().unwrap()])
            .env("THROUGHLINE_MIN_FREE", "0")
            .args(["--otlp-grpc-port", "0", "--otlp-http-port", "0"])
            .args([
                "--zipkin-port",
                "0",
                "--query-port",
                "0",
                "--query-grpc-port",
                "off",
            ])
            .args(["--jaeger-http-port", "off", "--jaeger-compact-port", "off"])
            .args([
                "--jaeger-binary-port",
                "off",
                "--jaeger-sampling-port",
                "off",
            ])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.as_mut().unwrap());
        output.read_line(&mut line).unwrap();
        let addresses = serde_json::from_str(&line).unwrap();
        Self { child, addresses }
    }

    fn url(&self, endpoint: &str) -> String {
        let address = self.addresses.get(endpoint).unwrap();
        format!("http://{}", address.as_str().unwrap())
    }

    /// Ends the process at once (SIGKILL).
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for DiskCollector {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

/// Returns the ids of a request's spans.
fn ids(request: u64) -> impl Iterator<Item = (u128, u64)> {
    let first = request * BATCH_SPANS + 1;
    (first..first + BATCH_SPANS).map(|span| (u128::from(span / 8 + 1), span))
}

/// Sends a request; returns whether it was acknowledged.
fn send(url: &str, request: u64) -> bool {
    let spans: Vec<serde_json::Value> = ids(request)
        .map(|(trace, span)| {
            serde_json::json!({
                "traceId": format!("{trace:032x}"),
                "spanId": format!("{span:016x}"),
                "name": format!("operation {}", span % 5),
                "kind": 2,
                "startTimeUnixNano": (1_764_450_000_000_000_000 + span * 1_000).to_string(),
                "endTimeUnixNano": (1_764_450_000_000_000_500 + span * 1_000).to_string(),
                "attributes": [{ "key": "user", "value": { "intValue": span.to_string() } }],
            })
        })
        .collect();
    let resource = serde_json::json!({
        "attributes": [{ "key": "service.name", "value": { "stringValue": "shop" } }]
    });
    let group = serde_json::json!({ "resource": resource, "scopeSpans": [{ "spans": spans }] });
    let body = serde_json::json!({ "resourceSpans": [group] });
    let sent = ureq::post(format!("{url}/v1/traces")).send_json(&body);
    sent.is_ok_and(|response| response.status() == 200)
}

/// Sends from several threads until the collector is gone; returns the acknowledged requests.
fn load(url: &str, first: u64, kill: impl FnOnce()) -> Vec<u64> {
    let next = AtomicU64::new(first);
    let acknowledged = Mutex::new(Vec::new());
    let send_until_refused = || {
        loop {
            let request = next.fetch_add(1, Ordering::Relaxed);
            if !send(url, request) {
                return;
            }
            acknowledged.lock().unwrap().push(request);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(send_until_refused);
        }
        kill();
    });
    acknowledged.into_inner().unwrap()
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn segments(data: &Path) -> usize {
    let hours = std::fs::read_dir(data.join("segments"))
        .into_iter()
        .flatten();
    let files = hours
        .flatten()
        .flat_map(|hour| std::fs::read_dir(hour.path()).into_iter().flatten());
    let files = files.flatten().map(|file| file.path());
    files
        .filter(|path| path.extension().is_some_and(|it| it == "parquet"))
        .count()
}

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    let is_full = std::env::var_os("THROUGHLINE_FULL").is_some_and(|full| full == "1");
    let rounds = if is_full { 100 } else { 3 };
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<u64> = Vec::new();
    for round in 0..rounds {
        // Small enough that segments are sealed while the load runs.
        let durability = if round % 2 == 0 { "fsync" } else { "interval" };
        let settings = ["--store-memory", "4MiB", "--durability", durability];
        let mut collector = DiskCollector::start(folder.path(), &settings);
        let url = collector.url("otlp_http");
        let before = segments(folder.path());
        let first = acknowledged.iter().max().map_or(0, |last| last + 100);
        // At another moment of each round, and in some while a segment is written.
        let pause = Duration::from_millis(50 + round * 37 % 400);
        let sent = load(&url, first, || {
            wait_for("no segment was sealed", || segments(folder.path()) > before);
            std::thread::park_timeout(pause);
            collector.kill();
        });
        assert!(!sent.is_empty());
        acknowledged.extend(sent);
    }
    let opened = Instant::now();
    let store = DiskStore::open(folder.path(), DiskSettings::default()).unwrap();
    eprintln!(
        "{} requests in {} rounds, opened in {:?}",
        acknowledged.len(),
        rounds,
        opened.elapsed()
    );
    let mut stored = std::collections::HashSet::new();
    store.export(|spans| stored.extend(spans.iter().map(|span| SpanKey::of(span))));
    let lost = acknowledged
        .iter()
        .flat_map(|request| ids(*request))
        .filter(|(trace, span)| {
            !stored.contains(&SpanKey {
                trace_id: TraceId::from_bytes(trace.to_be_bytes()).unwrap(),
                span_id: SpanId::from_bytes(span.to_be_bytes()).unwrap(),
            })
        });
    assert_eq!(lost.count(), 0);
    assert!(store.occupancy().spans as u64 >= acknowledged.len() as u64 * BATCH_SPANS);
}

#[test]
fn traces_are_still_there_after_a_restart_and_other_commands_read_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("traces");
    let mut collector = DiskCollector::start(&data, &[]);
    assert_eq!(
        collector.addresses.get("data").unwrap().as_str(),
        data.to_str()
    );
    assert!(send(&collector.url("otlp_http"), 0));
    let path = format!("/api/traces/{:032x}", 2);
    let trace = |collector: &DiskCollector| {
        let url = format!("{}{path}", collector.url("query"));
        let mut response = ureq::get(url).call().unwrap();
        let body: serde_json::Value = response.body_mut().read_json().unwrap();
        body.get("data").unwrap().clone()
    };
    let before = trace(&collector);
    // A second collector on the folder is refused.
    let refused = throughline(&["up", "--data", data.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.contains("in use by another process"), "{message}");
    collector.kill();
    let mut collector = DiskCollector::start(&data, &[]);
    assert_eq!(trace(&collector), before);
    collector.kill();
    let store = |arguments: &[&str]| -> Output {
        let output = throughline(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    };
    let data = data.to_str().unwrap();
    store(&["store", "compact", "--data", data]);
    let checked = store(&["store", "check", "--data", data]);
    let checked = String::from_utf8(checked.stdout).unwrap();
    assert!(
        checked.contains(": 50 spans in 1 segments, 0 requests in"),
        "{checked}"
    );
    let exported = store(&["store", "export", "--data", data]).stdout;
    let file = folder.path().join("traces.jsonl");
    std::fs::write(&file, &exported).unwrap();
    let copy = folder.path().join("copy");
    let copy = copy.to_str().unwrap();
    store(&["store", "import", "--data", copy, file.to_str().unwrap()]);
    assert_eq!(store(&["store", "export", "--data", copy]).stdout, exported);
}

#[test]
fn a_damaged_segment_is_reported_and_the_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path(), DiskSettings::default()).unwrap();
    drop(store);
    let hour = folder.path().join("segments/2026-11-29T22");
    std::fs::create_dir_all(&hour).unwrap();
    std::fs::write(
        hour.join("0000000000000007-0000000000000007.parquet"),
        b"PAR1",
    )
    .unwrap();
    let data = folder.path().to_str().unwrap();
    let output = throughline(&["store", "check", "--data", data])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("not a readable segment")
    );
    let mut collector = DiskCollector::start(folder.path(), &[]);
    assert!(send(&collector.url("otlp_http"), 0));
    collector.kill();
}

#[test]
fn a_full_disk_refuses_spans_as_retryable() {
    let folder = tempfile::tempdir().unwrap();
    // No disk has so much space left.
    let collector = DiskCollector::start(folder.path(), &["--min-free", "8000000GiB"]);
    let url = format!("{}/v1/traces", collector.url("otlp_http"));
    let agent = ureq::Agent::config_builder().http_status_as_error(false);
    let agent = ureq::Agent::from(agent.build());
    let body = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":
        "00000000000000000000000000000001","spanId":"0000000000000001","name":"a",
        "startTimeUnixNano":"1","endTimeUnixNano":"2"}]}]}]}"#;
    let mut refused = None;
    // The collector looks at the disk when it starts, which takes a moment.
    wait_for("the spans were not refused", || {
        let request = agent.post(&url).content_type("application/json");
        let response = request.send(body).unwrap();
        refused = Some(response).filter(|response| response.status() == 503);
        refused.is_some()
    });
    let refused = refused.unwrap();
    assert!(refused.headers().contains_key("retry-after"));
}
