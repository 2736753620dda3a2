//! Command line and JSON lines of the `rdkafka` client.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write, stdout};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use serde_json::{Value, json};

/// Options of the command line: pairs of `--name value`.
pub(crate) struct Options(BTreeMap<String, String>);

/// A record to produce.
pub(crate) struct InputRecord {
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Acknowledgement of a record.
pub(crate) struct AcknowledgementLine {
    index: usize,
    topic: String,
    partition: i32,
    offset: i64,
}

/// Writer of output lines. Each line is complete before the next begins.
pub(crate) struct LineWriter(Mutex<Box<dyn Write + Send>>);

// === impl Options ===

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = BTreeMap::new();
        while let Some(name) = arguments.next() {
            let bare = name.strip_prefix("--").map(str::to_owned);
            let (bare, value) = bare
                .zip(arguments.next())
                .ok_or_else(|| anyhow!("expected --name value: {name}"))?;
            options.insert(bare, value);
        }
        Ok(Self(options))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn get(&self, name: &str) -> Result<&str> {
        self.find(name)
            .ok_or_else(|| anyhow!("--{name} is missing"))
    }

    pub(crate) fn or<'a>(&'a self, name: &str, otherwise: &'a str) -> &'a str {
        self.find(name).unwrap_or(otherwise)
    }

    pub(crate) fn number(&self, name: &str, otherwise: u64) -> Result<u64> {
        self.find(name).map_or(Ok(otherwise), |text| {
            text.parse().with_context(|| format!("--{name} {text}"))
        })
    }
}

// === impl InputRecord ===

impl InputRecord {
    fn read(line: &str) -> Result<Self> {
        let line: Value = serde_json::from_str(line)?;
        let member = |name: &str| line.get(name).cloned().unwrap_or_default();
        let mut headers = Vec::new();
        for header in member("headers").as_array().into_iter().flatten() {
            let key = decode(header.get(0))?.context("a header without a name")?;
            headers.push((String::from_utf8(key)?, decode(header.get(1))?));
        }
        Ok(Self {
            partition: member("partition")
                .as_i64()
                .map(i32::try_from)
                .transpose()?,
            timestamp: member("timestamp").as_i64(),
            key: decode(line.get("key"))?,
            value: decode(line.get("value"))?,
            headers,
        })
    }

    pub(crate) fn headers(&self) -> OwnedHeaders {
        let empty = OwnedHeaders::new_with_capacity(self.headers.len());
        self.headers.iter().fold(empty, |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: value.as_ref(),
            })
        })
    }
}

/// Reads the records of an input file.
pub(crate) fn read(path: &str) -> Result<Vec<InputRecord>> {
    let file = File::open(path).with_context(|| format!("opening {path}"))?;
    BufReader::new(file)
        .lines()
        .map(|line| InputRecord::read(&line?))
        .collect()
}

// === impl AcknowledgementLine ===

impl AcknowledgementLine {
    pub(crate) fn new(index: usize, message: &BorrowedMessage<'_>) -> Self {
        Self {
            index,
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
        }
    }

    pub(crate) fn json(&self, committed: Option<bool>) -> Value {
        let Self {
            index,
            topic,
            partition,
            offset,
        } = self;
        let mut line =
            json!({"index": index, "topic": topic, "partition": partition, "offset": offset});
        if let (Some(committed), Some(members)) = (committed, line.as_object_mut()) {
            members.insert("committed".to_owned(), committed.into());
        }
        line
    }
}

/// Formats a consumed record as a line.
pub(crate) fn consumed(message: &BorrowedMessage<'_>) -> Value {
    let headers: Vec<Value> = message
        .headers()
        .into_iter()
        .flat_map(|headers| headers.iter())
        .map(|header| json!([encode(Some(header.key.as_bytes())), encode(header.value)]))
        .collect();
    json!({
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp().to_millis(),
        "key": encode(message.key()),
        "value": encode(message.payload()),
        "headers": headers,
    })
}

// === impl LineWriter ===

impl LineWriter {
    pub(crate) fn create(options: &Options) -> Result<Self> {
        let file: Box<dyn Write + Send> = match options.or("output", "-") {
            "-" => Box::new(stdout()),
            path => Box::new(File::create(path).with_context(|| format!("creating {path}"))?),
        };
        Ok(Self(Mutex::new(file)))
    }

    pub(crate) fn write(&self, line: &Value) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A closed output cannot be reported; the reader misses the line.
        file.write_all(format!("{line}\n").as_bytes())
            .unwrap_or_default();
        file.flush().unwrap_or_default();
    }
}

fn encode(bytes: Option<&[u8]>) -> Value {
    bytes.map(|bytes| STANDARD.encode(bytes)).into()
}

fn decode(text: Option<&Value>) -> Result<Option<Vec<u8>>> {
    let Some(text) = text.filter(|text| !text.is_null()) else {
        return Ok(None);
    };
    ensure!(text.is_string(), "{text} is not bytes in base64");
    Ok(Some(STANDARD.decode(text.as_str().unwrap_or_default())?))
}
