//! `throughline weave`: joins the spans of files, or of a topic, that were reported without a
//! parent.

mod progress_line;
mod report;
mod stream;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::de::IgnoredAny;
use throughline_collector::{WeavingProgress, WovenSpans, decode_recorded_spans, weave_spans};
use throughline_model::{Span, TraceId};
use throughline_otlp::{OtlpResourceSpansJson, spans_to_json};

use self::progress_line::ProgressLine;
use crate::args::weave::WeaveArgs;
use crate::error::CommandError;

/// Name of standard input among the files.
const STDIN: &str = "-";

/// Reads, weaves and writes.
pub(crate) fn run(args: &WeaveArgs) -> Result<(), CommandError> {
    let min_confidence =
        confidence(&args.confidence).map_err(|it| CommandError::Usage(vec![it]))?;
    if args
        .kafka
        .from_kafka
        .as_ref()
        .is_some_and(|it| !it.is_empty())
    {
        return stream::run(args, min_confidence);
    }
    check_no_stream(args).map_err(|it| CommandError::Usage(vec![it]))?;
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

/// Checks that there are no options that only spans of a topic need.
fn check_no_stream(args: &WeaveArgs) -> Result<(), String> {
    let is_given = |option: &Option<String>| option.as_ref().is_some_and(|it| !it.is_empty());
    let options = [
        ("--to-kafka", is_given(&args.kafka.to_kafka)),
        ("--to-topic", is_given(&args.to_topic)),
        ("--forward", is_given(&args.forward.forward)),
        ("--decisions-topic", is_given(&args.kafka.decisions_topic)),
    ];
    match options.into_iter().find(|(_, is_given)| *is_given) {
        Some((option, _)) => Err(format!(
            "{option} has no effect on files; add --from-kafka in place of them, or leave it out"
        )),
        None => Ok(()),
    }
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
