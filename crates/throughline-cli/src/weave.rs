//! `throughline weave`: joins the spans of files that were reported without a parent.

mod report;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Read as _, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::de::IgnoredAny;
use throughline_collector::{WeavingProgress, WovenSpans, decode_recorded_spans, weave_spans};
use throughline_model::{Span, TraceId};
use throughline_otlp::{OtlpResourceSpansJson, spans_to_json};

use crate::args::weave::WeaveArgs;
use crate::error::CommandError;

/// Name of standard input among the files.
const STDIN: &str = "-";

/// Time between two lines of progress, where nobody looks on.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Reads, weaves and writes.
pub(crate) fn run(args: &WeaveArgs) -> Result<(), CommandError> {
    let min_confidence =
        confidence(&args.confidence).map_err(|it| CommandError::Usage(vec![it]))?;
    let mut progress = ProgressLine::new();
    let mut spans = Vec::new();
    for file in &args.files {
        progress.show(&format!("reading {}", file.display()));
        spans.extend(read(file)?);
    }
    let woven = weave_spans(spans, min_confidence, &mut |state: WeavingProgress| {
        let (done, all) = (state.done, state.processes);
        progress.show(&format!("weaving: {done} of {all} processes"));
    });
    progress.show("writing");
    write(&woven, args.output.as_deref())?;
    progress.clear();
    report::print(&woven.report, min_confidence);
    Ok(())
}

/// Parses the least confidence.
pub(crate) fn confidence(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|it| (0.5..=1.0).contains(it));
    parsed.ok_or_else(|| format!("--confidence {text:?} is not a number from 0.5 to 1"))
}

fn read(file: &Path) -> Result<Vec<Span>> {
    let is_stdin = file == Path::new(STDIN);
    let name = if is_stdin {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    };
    let mut bytes = Vec::new();
    let read = if is_stdin {
        io::stdin().lock().read_to_end(&mut bytes)
    } else {
        File::open(file).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    read.with_context(|| format!("cannot read {name}"))?;
    let mut spans = Vec::new();
    let mut rejected = 0;
    for (line, document) in documents(&bytes) {
        let decoded =
            decode_recorded_spans(document).with_context(|| format!("{name}, line {line}"))?;
        rejected += decoded.rejected.total();
        spans.extend(decoded.spans);
    }
    if spans.is_empty() && rejected == 0 {
        bail!(
            "{name} has no spans; expected OTLP JSON ({{\"resourceSpans\": ...}}) or Jaeger JSON \
             ({{\"data\": ...}})"
        );
    }
    if rejected > 0 {
        report::warn_rejected(&name, rejected);
    }
    Ok(spans)
}

/// Returns the JSON documents of a file with the lines that they begin in: its lines, or the whole
/// when the first line is only a part of one.
fn documents(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
    let mut lines = lines
        .filter(|(line, _)| !line.trim_ascii().is_empty())
        .map(|(line, number)| (number, line));
    let is_whole = |line: &[u8]| serde_json::from_slice::<IgnoredAny>(line).is_ok();
    match lines.next() {
        Some(first) if is_whole(first.1) => std::iter::once(first).chain(lines).collect(),
        Some((number, _)) => vec![(number, bytes)],
        None => Vec::new(),
    }
}

fn write(woven: &WovenSpans, output: Option<&Path>) -> Result<()> {
    let Some(path) = output else {
        let out = BufWriter::new(io::stdout().lock());
        return write_traces(woven, out).context("cannot write to stdout");
    };
    let file =
        File::create(path).map_err(|error| anyhow!("cannot write {}: {error}", path.display()))?;
    write_traces(woven, BufWriter::new(file))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a line for each trace.
fn write_traces(woven: &WovenSpans, mut out: impl Write) -> io::Result<()> {
    let mut traces: BTreeMap<TraceId, Vec<&Span>> = BTreeMap::new();
    for span in &woven.spans {
        traces.entry(span.trace_id).or_default().push(span);
    }
    for spans in traces.into_values() {
        let line = TraceLine {
            resource_spans: spans_to_json(spans),
        };
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// A line of the result: a request of OTLP with the spans of a trace.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct TraceLine<'a> {
    resource_spans: Vec<OtlpResourceSpansJson<'a>>,
}

/// A line on stderr that says how far the work is: rewritten on a terminal, and written now and
/// then elsewhere.
struct ProgressLine {
    is_terminal: bool,
    last: Option<Instant>,
    begin: Instant,
}

// === impl ProgressLine ===

impl ProgressLine {
    fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            last: None,
            begin: Instant::now(),
        }
    }

    fn show(&mut self, text: &str) {
        let interval = if self.is_terminal {
            Duration::from_millis(100)
        } else {
            PROGRESS_INTERVAL
        };
        // Short work has no progress.
        let since = self.last.unwrap_or(self.begin);
        if since.elapsed() < interval {
            return;
        }
        self.last = Some(Instant::now());
        let mut out = io::stderr().lock();
        // If stderr is closed, nobody reads it.
        let written = if self.is_terminal {
            write!(out, "\r\x1b[K{text}").and_then(|()| out.flush())
        } else {
            writeln!(out, "{text}")
        };
        written.unwrap_or_default();
    }

    fn clear(&self) {
        if self.is_terminal && self.last.is_some() {
            write!(io::stderr().lock(), "\r\x1b[K").unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_documents_unless_one_document_has_several_lines() {
        let lines = |text: &'static str| {
            let found = documents(text.as_bytes()).into_iter();
            let found = found.map(|(line, text)| (line, text.len()));
            found.collect::<Vec<_>>()
        };
        assert_eq!(lines("{}\n\n{\"a\":1}\n"), [(1, 2), (3, 7)]);
        assert_eq!(lines("\n{\n}\n"), [(2, 5)]);
        assert_eq!(lines(" \n"), []);
    }
}
