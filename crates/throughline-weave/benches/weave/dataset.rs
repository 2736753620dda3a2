//! Tables of spans with ground truth.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

/// Largest table that is read.
const MAX_BYTES: u64 = 256 << 20;

/// Resolution of the timestamps of records.
const RECORD_TICK_US: i64 = 1_000;

/// One span. Kinds: S request received, C request made, P record sent, D record delivered, K commit
/// that covers a delivery.
#[derive(Debug, Clone)]
pub(crate) struct SpanRow {
    pub(crate) trace: u64,
    pub(crate) span: u64,
    /// -1: none.
    pub(crate) parent: i64,
    pub(crate) kind: char,
    pub(crate) service: String,
    pub(crate) peer: String,
    pub(crate) operation: String,
    pub(crate) start_us: i64,
    pub(crate) duration_us: i64,
    pub(crate) partition: String,
    pub(crate) offset: Option<i64>,
    /// When a record was made; producers send some later.
    pub(crate) made_us: Option<i64>,
}

/// All spans of a set.
#[derive(Debug, Clone)]
pub(crate) struct SpanTable {
    pub(crate) name: String,
    pub(crate) rows: Vec<SpanRow>,
}

/// Returns the tables in a directory, in the order of their names.
pub(crate) fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".tsv.gz") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

// === impl SpanRow ===

impl SpanRow {
    /// Returns when an outbound message began: the end of the millisecond in which a record was
    /// made.
    pub(crate) fn begun_us(&self) -> i64 {
        let made = self.made_us.map(|made| made + RECORD_TICK_US);
        made.map_or(self.start_us, |made| made.min(self.start_us))
    }
}

// === impl SpanTable ===

impl SpanTable {
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        GzDecoder::new(File::open(path)?)
            .take(MAX_BYTES)
            .read_to_string(&mut text)?;
        let rows = text
            .lines()
            .skip(1)
            .map(parse_row)
            .collect::<Option<Vec<SpanRow>>>();
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "a row is invalid");
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: file_name.trim_end_matches(".tsv.gz").to_owned(),
            rows: rows.ok_or_else(invalid)?,
        })
    }

    pub(crate) fn has_records(&self) -> bool {
        self.rows.iter().any(|row| row.kind == 'D')
    }

    /// Returns the rows with the starts of traces moved together; durations stay.
    pub(crate) fn compressed(&self, factor: i64) -> Vec<SpanRow> {
        let mut starts: HashMap<u64, i64> = HashMap::new();
        for row in &self.rows {
            let start = starts.entry(row.trace).or_insert(row.start_us);
            *start = (*start).min(row.start_us);
        }
        let mut rows = self.rows.clone();
        for row in &mut rows {
            let start = starts[&row.trace];
            let shift = start / factor - start;
            row.start_us += shift;
            row.made_us = row.made_us.map(|made| made + shift);
        }
        rows
    }
}

fn parse_row(line: &str) -> Option<SpanRow> {
    let fields: Vec<&str> = line.split('\t').collect();
    let field = |index: usize| fields.get(index).copied();
    Some(SpanRow {
        trace: field(0)?.parse().ok()?,
        span: field(1)?.parse().ok()?,
        parent: field(2)?.parse().ok()?,
        kind: field(3)?.chars().next()?,
        service: field(4)?.to_owned(),
        peer: field(5)?.to_owned(),
        operation: field(6)?.to_owned(),
        start_us: field(7)?.parse().ok()?,
        duration_us: field(8)?.parse().ok()?,
        partition: field(9).unwrap_or_default().to_owned(),
        offset: field(10).and_then(|offset| offset.parse().ok()),
        made_us: field(12).and_then(|made| made.parse().ok()),
    })
}
