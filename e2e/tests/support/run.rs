//! Starts a client, waits for it and reads its output lines.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use throughline_testkit::process::{ChildProcess, ProcessSpec};
use throughline_testkit::wait;

use super::record::{self, RecordHeaders, TestRecord};

/// A running client.
pub(crate) struct ClientRun {
    process: ChildProcess,
    /// Task and topic, for messages.
    task: String,
    output: PathBuf,
    // Dropped last: the process must be gone before its folder is removed.
    _folder: TempDir,
}

/// Acknowledgement of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AckedRecord {
    pub(crate) index: usize,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Always true outside of a transaction.
    pub(crate) committed: bool,
}

/// A consumed record.
#[derive(Debug, Clone)]
pub(crate) struct ConsumedRecord {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: RecordHeaders,
    /// Reported by `franz-go` only.
    pub(crate) codec: String,
    /// Share groups only.
    pub(crate) delivery_count: u64,
    pub(crate) released: bool,
}

/// Maximum run time of a client.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Starts `spec` as a producer of these records.
pub(crate) fn produce(
    spec: ProcessSpec,
    bootstrap: &str,
    topic: &str,
    records: &[TestRecord],
    options: &[(&str, &str)],
) -> ClientRun {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    std::fs::write(&input, record::to_lines(records)).unwrap();
    let spec = spec
        .args([
            "produce",
            "--bootstrap",
            bootstrap,
            "--topic",
            topic,
            "--input",
        ])
        .arg(&input);
    start(
        spec,
        format!("producer of {} records to {topic}", records.len()),
        folder,
        options,
    )
}

/// Starts `spec` as a consumer of `count` records.
pub(crate) fn consume(
    spec: ProcessSpec,
    bootstrap: &str,
    topics: &str,
    count: usize,
    options: &[(&str, &str)],
) -> ClientRun {
    let spec = spec.args([
        "consume",
        "--bootstrap",
        bootstrap,
        "--topics",
        topics,
        "--count",
        &count.to_string(),
    ]);
    start(
        spec,
        format!("consumer of {count} records from {topics}"),
        tempfile::tempdir().unwrap(),
        options,
    )
}

/// Starts `spec` as a Streams application that copies `count` records from one topic to another.
pub(crate) fn streams(
    spec: ProcessSpec,
    bootstrap: &str,
    topics: [&str; 2],
    count: usize,
    options: &[(&str, &str)],
) -> ClientRun {
    let folder = tempfile::tempdir().unwrap();
    let [from, to] = topics;
    let spec = spec
        .args([
            "streams",
            "--bootstrap",
            bootstrap,
            "--topics",
            from,
            "--to",
            to,
            "--state",
        ])
        .arg(folder.path());
    let task = format!("Streams from {from} to {to}");
    start(
        spec.args(["--count", &count.to_string()]),
        task,
        folder,
        options,
    )
}

fn start(spec: ProcessSpec, task: String, folder: TempDir, options: &[(&str, &str)]) -> ClientRun {
    let output = folder.path().join("output");
    let options = options
        .iter()
        .flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()]);
    let process = spec
        .arg("--output")
        .arg(&output)
        .args(options)
        .spawn()
        .unwrap();
    ClientRun {
        process,
        task,
        output,
        _folder: folder,
    }
}

// === impl ClientRun ===

impl ClientRun {
    /// Waits until the client has written `count` lines.
    #[track_caller]
    pub(crate) fn wait_for_lines(&self, count: usize) {
        let written = || {
            let lines = lines(&self.output).len();
            (lines >= count)
                .then_some(Ok(()))
                .or_else(|| self.process.crashed().map(Err))
        };
        match wait::until(TIMEOUT, written) {
            Some(Ok(())) => {}
            // The client may have written the lines and ended since the last poll.
            Some(Err(crash)) => assert!(
                lines(&self.output).len() >= count,
                "{}: {crash}",
                self.state()
            ),
            None => panic!(
                "{} did not write {count} lines within {TIMEOUT:?}:\n{}",
                self.state(),
                self.log()
            ),
        }
    }

    /// Waits until the client has ended successfully; returns its lines.
    #[track_caller]
    pub(crate) fn lines(self) -> Vec<Value> {
        match self.process.wait(TIMEOUT) {
            Ok(status) => assert!(
                status.success(),
                "{} ended with {status}:\n{}",
                self.state(),
                self.log()
            ),
            Err(_) => panic!(
                "{} did not end within {TIMEOUT:?}:\n{}",
                self.state(),
                self.log()
            ),
        }
        lines(&self.output)
    }

    /// Returns the acknowledgements of a producer.
    #[track_caller]
    pub(crate) fn acknowledged(self) -> Vec<AckedRecord> {
        self.lines()
            .iter()
            .filter(|line| line.get("index").is_some())
            .map(acknowledged_of)
            .collect()
    }

    /// Returns the acknowledgements of a producer that may fail. A failure is written to stderr.
    #[track_caller]
    #[expect(clippy::print_stderr, reason = "shows the failure of a client")]
    pub(crate) fn acknowledged_in_part(self) -> Vec<AckedRecord> {
        let status = self.process.wait(TIMEOUT);
        if !status.is_ok_and(|it| it.success()) {
            eprintln!("{} failed:\n{}", self.state(), self.log());
        }
        let lines = lines(&self.output);
        let acknowledged = lines.iter().filter(|line| line.get("index").is_some());
        acknowledged.map(acknowledged_of).collect()
    }

    /// Returns the records of a consumer.
    #[track_caller]
    pub(crate) fn consumed(self) -> Vec<ConsumedRecord> {
        self.lines()
            .iter()
            .filter(|line| line.get("headers").is_some())
            .map(consumed)
            .collect()
    }

    /// Describes client and progress for a failure message.
    fn state(&self) -> String {
        let lines = lines(&self.output);
        let last: String = lines
            .last()
            .map(ToString::to_string)
            .unwrap_or_default()
            .chars()
            .take(300)
            .collect();
        let (name, task, count) = (self.process.name(), &self.task, lines.len());
        format!("{name}, {task} ({count} lines so far, the last: {last})")
    }

    /// Returns the end of the client's log.
    fn log(&self) -> String {
        let log = self.process.log();
        if log.is_empty() {
            "no output".to_owned()
        } else {
            log[log.len().saturating_sub(40)..].join("\n")
        }
    }
}

/// Parses all complete lines.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The client may be writing its last line.
    let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    complete
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect()
}

fn acknowledged_of(line: &Value) -> AckedRecord {
    AckedRecord {
        index: usize::try_from(line["index"].as_u64().unwrap()).unwrap(),
        partition: partition(line),
        offset: line["offset"].as_i64().unwrap(),
        committed: line["committed"].as_bool().unwrap_or(true),
    }
}

fn consumed(line: &Value) -> ConsumedRecord {
    let headers = line["headers"].as_array().unwrap();
    ConsumedRecord {
        partition: partition(line),
        offset: line["offset"].as_i64().unwrap(),
        timestamp: line["timestamp"].as_i64().unwrap(),
        key: record::decode(&line["key"]),
        value: record::decode(&line["value"]),
        headers: headers
            .iter()
            .map(|header| {
                (
                    record::decode(&header[0]).unwrap_or_default(),
                    record::decode(&header[1]),
                )
            })
            .collect(),
        codec: line["codec"].as_str().unwrap_or_default().to_owned(),
        delivery_count: line["delivery_count"].as_u64().unwrap_or_default(),
        released: line["released"].as_bool().unwrap_or_default(),
    }
}

fn partition(line: &Value) -> i32 {
    line["partition"]
        .as_i64()
        .and_then(|partition| i32::try_from(partition).ok())
        .unwrap()
}
