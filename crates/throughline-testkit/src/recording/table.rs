//! A table of spans as `cargo xtask bench weave` reads it (`docs/weaving.md`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::reference::{self, BACKGROUND};
use crate::legacy_span::{LegacySpan, spans};

/// Spans with their true parents.
#[derive(Debug, Clone, Default)]
pub struct RecordedTable {
    rows: Vec<RecordedSpan>,
}

#[derive(Debug, Clone)]
struct RecordedSpan {
    /// The request that it belongs to.
    request: u64,
    kind: char,
    peer: &'static str,
    operation: String,
    start_us: u64,
    duration_us: u64,
    partition: String,
    offset: String,
}

const HEADER: &str =
    "trace\tspan\tparent\tkind\tservice\tpeer\top\tstart_us\tdur_us\tpartition\toffset";

// === impl RecordedTable ===

impl RecordedTable {
    /// Reads the spans of the service from its traces (Jaeger's JSON).
    pub(super) fn of<'a>(traces: impl Iterator<Item = &'a Value>) -> Self {
        let spans: Vec<LegacySpan<'_>> = traces.flat_map(spans).collect();
        let requests: BTreeMap<&str, u64> = spans
            .iter()
            .filter_map(|span| Some((span.id.1, request(span)?)))
            .collect();
        let rows = spans.iter().filter_map(|span| {
            let own = requests.get(span.id.1).copied();
            // A commit belongs to the delivery below which it is recorded.
            let of_parent = || requests.get(span.parents.first()?.1).copied();
            RecordedSpan::of(span, own.or_else(of_parent)?)
        });
        let mut rows: Vec<RecordedSpan> = rows.collect();
        rows.sort_by_key(|row| row.start_us);
        Self { rows }
    }

    /// Returns the number of spans.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Writes the table, compressed.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        let mut encoder = GzEncoder::new(file, Compression::default());
        encoder.write_all(self.text().as_bytes())?;
        encoder.finish()?;
        Ok(())
    }

    /// Returns the table as tab-separated text.
    fn text(&self) -> String {
        let first = self.rows.first().map_or(0, |row| row.start_us);
        let (mut text, mut traces) = (format!("{HEADER}\n"), TraceNumbers::default());
        // A request starts before its calls; equal times must not put a call before it.
        let causes = self.rows.iter().filter(|row| row.is_cause());
        for row in causes {
            traces.add_cause(row.request);
        }
        for row in &self.rows {
            let (trace, span, parent) = traces.number(row);
            let RecordedSpan {
                kind,
                peer,
                operation,
                start_us,
                duration_us,
                partition,
                offset,
                ..
            } = row;
            let start = start_us - first;
            writeln!(
                text,
                "{trace}\t{span}\t{parent}\t{kind}\tservice\t{peer}\t{operation}\t{start}\t\
                 {duration_us}\t{partition}\t{offset}"
            )
            .unwrap_or_default();
        }
        text
    }
}

/// Numbers of traces and of their spans. The cause, a request or delivery, is span 0 of its trace.
#[derive(Debug, Default)]
struct TraceNumbers {
    spans_of: BTreeMap<u64, (usize, usize)>,
    traces: usize,
}

// === impl TraceNumbers ===

impl TraceNumbers {
    fn add_cause(&mut self, request: u64) {
        self.spans_of.insert(request, (self.traces, 1));
        self.traces += 1;
    }

    /// Returns trace, span and parent of a row; a call without a cause is a trace of its own.
    fn number(&mut self, row: &RecordedSpan) -> (usize, usize, i64) {
        match self.spans_of.get_mut(&row.request) {
            Some((trace, _)) if row.is_cause() => (*trace, 0, -1),
            Some((trace, next)) => {
                *next += 1;
                (*trace, *next - 1, 0)
            }
            None => {
                self.traces += 1;
                (self.traces - 1, 0, -1)
            }
        }
    }
}

// === impl RecordedSpan ===

impl RecordedSpan {
    fn of(span: &LegacySpan<'_>, request: u64) -> Option<Self> {
        let is_commit = span.operation.starts_with("commit ");
        let (kind, peer) = match span.tag("span.kind")? {
            "server" => ('S', "external"),
            "producer" => ('P', "kafka"),
            "client" if is_commit => ('K', "kafka"),
            "client" => ('C', "backend"),
            "consumer" => ('D', "kafka"),
            _ => return None,
        };
        let operation = match kind {
            'S' => span.tag("url.path")?.to_owned(),
            'C' => path(span.tag("url.full")?).to_owned(),
            _ => span.tag("messaging.destination.name")?.to_owned(),
        };
        Some(Self {
            request,
            kind,
            peer,
            operation,
            start_us: span.start,
            // A delivery is a moment: the sidecar does not know how long a record is handled.
            duration_us: if kind == 'D' { 0 } else { span.duration },
            partition: span.tag_text("messaging.destination.partition.id"),
            offset: span.tag_text("messaging.kafka.offset"),
        })
    }

    /// Returns whether the row can be a parent: a request or a delivery.
    fn is_cause(&self) -> bool {
        matches!(self.kind, 'S' | 'D') && self.request != BACKGROUND
    }
}

/// Returns the path of a URL.
fn path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').and_then(|slash| rest.get(slash..));
    let path = path.unwrap_or_default();
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// Returns the request that a span names in its query or record key.
fn request(span: &LegacySpan<'_>) -> Option<u64> {
    let query = |key: &'static str| {
        let (_, reference) = span.tag(key)?.rsplit_once("reference=")?;
        Some(reference)
    };
    let reference = query("url.query")
        .or_else(|| query("url.full"))
        .or_else(|| span.tag("messaging.kafka.message.key"));
    reference::request(reference?)
}
