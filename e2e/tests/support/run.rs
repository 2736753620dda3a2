//! One run of a client: started, waited for, its lines read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use throughline_testkit::process::{Process, Spec};
use throughline_testkit::wait;

use super::record::{self, Headers, Record};

/// A client at work.
pub(crate) struct Run {
    process: Process,
    output: PathBuf,
    // Last, so that the process is gone before its folder is removed.
    _folder: TempDir,
}

/// Where a record went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) index: usize,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Outside of a transaction always.
    pub(crate) committed: bool,
}

/// What a consumer had.
#[derive(Debug, Clone)]
pub(crate) struct Consumed {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Headers,
    /// Told by `franz-go` alone.
    pub(crate) codec: String,
    /// In a share group.
    pub(crate) delivery_count: u64,
    pub(crate) released: bool,
}

/// Longest life of a client that is not told to be slow.
const LIMIT: Duration = Duration::from_secs(90);

/// Starts `spec` as a producer of these records.
pub(crate) fn produce(spec: Spec, bootstrap: &str, topic: &str, records: &[Record], options: &[(&str, &str)]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    std::fs::write(&input, record::to_lines(records)).unwrap();
    let spec = spec.args(["produce", "--bootstrap", bootstrap, "--topic", topic, "--input"]).arg(&input);
    start(spec, folder, options)
}

/// Starts `spec` as a consumer of `count` records.
pub(crate) fn consume(spec: Spec, bootstrap: &str, topics: &str, count: usize, options: &[(&str, &str)]) -> Run {
    let spec = spec.args(["consume", "--bootstrap", bootstrap, "--topics", topics, "--count", &count.to_string()]);
    start(spec, tempfile::tempdir().unwrap(), options)
}

/// Starts `spec` as a Streams application that carries `count` records from one topic to another.
pub(crate) fn streams(spec: Spec, bootstrap: &str, topics: [&str; 2], count: usize, options: &[(&str, &str)]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let [from, to] = topics;
    let spec =
        spec.args(["streams", "--bootstrap", bootstrap, "--topics", from, "--to", to, "--state"]).arg(folder.path());
    start(spec.args(["--count", &count.to_string()]), folder, options)
}

fn start(spec: Spec, folder: TempDir, options: &[(&str, &str)]) -> Run {
    let output = folder.path().join("output");
    let options = options.iter().flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()]);
    let process = spec.arg("--output").arg(&output).args(options).spawn().unwrap();
    Run { process, output, _folder: folder }
}

// === impl Run ===

impl Run {
    /// Waits until it has written so many lines.
    pub(crate) fn wait_for_lines(&self, count: usize) {
        let written = || {
            let lines = lines(&self.output).len();
            (lines >= count).then_some(Ok(())).or_else(|| self.process.crashed().map(Err))
        };
        match wait::until(LIMIT, written) {
            Some(Ok(())) => {}
            // It may have written them and ended between the two looks.
            Some(Err(crash)) => assert!(lines(&self.output).len() >= count, "{crash}"),
            None => panic!(
                "{} has written {} of {count} lines:\n{}",
                self.process.name(),
                lines(&self.output).len(),
                self.process.log().join("\n")
            ),
        }
    }

    /// Waits for its end, which must be a good one; gives its lines.
    pub(crate) fn lines(self) -> Vec<Value> {
        let status = self.process.wait(LIMIT).unwrap();
        let log = self.process.log().join("\n");
        assert!(status.success(), "{} ended with {status}:\n{log}", self.process.name());
        lines(&self.output)
    }

    /// The lines of a producer.
    pub(crate) fn acknowledged(self) -> Vec<Acknowledged> {
        self.lines().iter().filter(|line| line.get("index").is_some()).map(acknowledged).collect()
    }

    /// The lines of a consumer.
    pub(crate) fn consumed(self) -> Vec<Consumed> {
        self.lines().iter().filter(|line| line.get("headers").is_some()).map(consumed).collect()
    }
}

/// All lines that are whole.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))).collect()
}

fn acknowledged(line: &Value) -> Acknowledged {
    Acknowledged {
        index: usize::try_from(line["index"].as_u64().unwrap()).unwrap(),
        partition: partition(line),
        offset: line["offset"].as_i64().unwrap(),
        committed: line["committed"].as_bool().unwrap_or(true),
    }
}

fn consumed(line: &Value) -> Consumed {
    let headers = line["headers"].as_array().unwrap();
    Consumed {
        partition: partition(line),
        offset: line["offset"].as_i64().unwrap(),
        timestamp: line["timestamp"].as_i64().unwrap(),
        key: record::decode(&line["key"]),
        value: record::decode(&line["value"]),
        headers: headers
            .iter()
            .map(|header| (record::decode(&header[0]).unwrap_or_default(), record::decode(&header[1])))
            .collect(),
        codec: line["codec"].as_str().unwrap_or_default().to_owned(),
        delivery_count: line["delivery_count"].as_u64().unwrap_or_default(),
        released: line["released"].as_bool().unwrap_or_default(),
    }
}

fn partition(line: &Value) -> i32 {
    line["partition"].as_i64().and_then(|partition| i32::try_from(partition).ok()).unwrap()
}
