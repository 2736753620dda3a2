//! Traces from a store to OTLP JSON and back.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use throughline_otlp::{decode_json, spans_to_json};
use throughline_segments::DiskStore;
use throughline_store::Store as _;

/// Name of standard input among the files.
const STDIN: &str = "-";

/// Writes all traces to stdout, a trace a line.
pub(super) fn export(store: &DiskStore) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    store.export(|spans| {
        if written.is_ok() {
            let resources = spans_to_json(spans.iter().map(|span| &**span));
            let document = serde_json::json!({ "resourceSpans": resources });
            written = writeln!(out, "{document}");
        }
    });
    written
        .and_then(|()| out.flush())
        .context("cannot write to stdout")
}

/// Adds the traces of files.
pub(super) fn import(store: &DiskStore, files: &[PathBuf]) -> Result<()> {
    let mut spans = 0;
    for path in files {
        let name = path.display();
        let input: Box<dyn BufRead> = if path == Path::new(STDIN) {
            Box::new(io::stdin().lock())
        } else {
            let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
            Box::new(BufReader::new(file))
        };
        for (line, number) in input.lines().zip(1u64..) {
            let line = line.with_context(|| format!("cannot read {name}"))?;
            if line.trim().is_empty() {
                continue;
            }
            let decoded =
                decode_json(line.as_bytes()).with_context(|| format!("{name}, line {number}"))?;
            spans += decoded.spans.len();
            store.insert(decoded.spans)?;
        }
    }
    store.seal();
    let mut out = io::stdout().lock();
    writeln!(out, "{spans} spans were imported").context("cannot write to stdout")
}
