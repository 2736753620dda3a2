//! One run of a client: started, waited for, its lines read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use throughline_testkit::process::{ChildProcess, ProcessSpec};
use throughline_testkit::wait;

use super::record::{self, RecordHeaders, TestRecord};

/// A client at work.
pub(crate) struct ClientRun {
    process: ChildProcess,
    /// What it does, and with which topic.
    work: String,
    output: PathBuf,
    // Last, so that the process is gone before its folder is removed.
    _folder: TempDir,
}

/// Where a record went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AckedRecord {
    pub(crate) index: usize,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Outside of a transaction always.
    pub(crate) committed: bool,
}

/// What a consumer had.
#[derive(Debug, Clone)]
pub(crate) struct ConsumedRecord {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: RecordHeaders,
    /// Told by `franz-go` alone.
    pub(crate) codec: String,
    /// In a share group.
    pub(crate) delivery_count: u64,
    pub(crate) released: bool,
}

/// Longest life of a client that is not told to be slow.
const LIMIT: Duration = Duration::from_secs(90);

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

/// Starts `spec` as a Streams application that carries `count` records from one topic to another.
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
    let work = format!("Streams from {from} to {to}");
    start(
        spec.args(["--count", &count.to_string()]),
        work,
        folder,
        options,
    )
}

fn start(spec: ProcessSpec, work: String, folder: TempDir, options: &[(&str, &str)]) -> ClientRun {
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
        work,
        output,
        _folder: folder,
    }
}

// === impl Run ===

impl ClientRun {
    /// Waits until it has written so many lines.
    #[track_caller]
    pub(crate) fn wait_for_lines(&self, count: usize) {
        let written = || {
            let lines = lines(&self.output).len();
            (lines >= count)
                .then_some(Ok(()))
                .or_else(|| self.process.crashed().map(Err))
        };
        match wait::until(LIMIT, written) {
            Some(Ok(())) => {}
            // It may have written them and ended between the two looks.
            Some(Err(crash)) => assert!(
                lines(&self.output).len() >= count,
                "{}: {crash}",
                self.state()
            ),
            None => panic!(
                "{} has not written {count} lines within {LIMIT:?}:\n{}",
                self.state(),
                self.log()
            ),
        }
    }

    /// Waits for its end, which must be a good one; gives its lines.
    #[track_caller]
    pub(crate) fn lines(self) -> Vec<Value> {
        match self.process.wait(LIMIT) {
            Ok(status) => assert!(
                status.success(),
                "{} ended with {status}:\n{}",
                self.state(),
                self.log()
            ),
            Err(_) => panic!(
                "{} has not ended within {LIMIT:?}:\n{}",
                self.state(),
                self.log()
            ),
        }
        lines(&self.output)
    }

    /// The lines of a producer.
    #[track_caller]
    pub(crate) fn acknowledged(self) -> Vec<AckedRecord> {
        self.lines()
            .iter()
            .filter(|line| line.get("index").is_some())
            .map(acknowledged)
            .collect()
    }

    /// The lines of a consumer.
    #[track_caller]
    pub(crate) fn consumed(self) -> Vec<ConsumedRecord> {
        self.lines()
            .iter()
            .filter(|line| line.get("headers").is_some())
            .map(consumed)
            .collect()
    }

    /// Who it is and how far it has come, for one who asks why.
    fn state(&self) -> String {
        let lines = lines(&self.output);
        let last: String = lines
            .last()
            .map(ToString::to_string)
            .unwrap_or_default()
            .chars()
            .take(300)
            .collect();
        let (name, work, count) = (self.process.name(), &self.work, lines.len());
        format!("{name}, {work} ({count} lines so far, the last: {last})")
    }

    /// What it said.
    fn log(&self) -> String {
        let log = self.process.log();
        if log.is_empty() {
            "it said nothing".to_owned()
        } else {
            log[log.len().saturating_sub(40)..].join("\n")
        }
    }
}

/// All lines that are whole.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect()
}

fn acknowledged(line: &Value) -> AckedRecord {
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
