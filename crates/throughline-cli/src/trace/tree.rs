//! A trace in Jaeger's JSON, and its picture.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use throughline_model::duration;

use crate::terminal::{Paint, printable};

/// What `/api/traces/{id}` answers, as far as it is shown.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Answer {
    pub(super) data: Vec<TraceJson>,
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct TraceJson {
    #[serde(rename = "traceID")]
    trace_id: String,
    spans: Vec<SpanJson>,
    processes: HashMap<String, ProcessJson>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpanJson {
    #[serde(rename = "spanID")]
    span_id: String,
    operation_name: String,
    #[serde(default)]
    references: Vec<ReferenceJson>,
    start_time: u64,
    duration: u64,
    #[serde(default)]
    tags: Vec<TagJson>,
    #[serde(rename = "processID")]
    process_id: String,
}

#[derive(Debug, serde::Deserialize)]
struct ReferenceJson {
    #[serde(rename = "refType")]
    kind: String,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Debug, serde::Deserialize)]
struct TagJson {
    key: String,
    value: serde_json::Value,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProcessJson {
    service_name: String,
}

/// A span with its place in the tree.
struct Row<'a> {
    span: &'a SpanJson,
    /// The lines that lead to it.
    branches: String,
}

/// The trace as text: a heading, and one line for each span with its start, its duration and what it was.
pub(super) fn render(trace: &TraceJson, paint: Paint) -> String {
    let start = trace
        .spans
        .iter()
        .map(|span| span.start_time)
        .min()
        .unwrap_or_default();
    let mut out = heading(trace, start);
    for row in rows(trace) {
        let offset = format!(
            "+{}",
            duration::format(micro(row.span.start_time.saturating_sub(start)))
        );
        let numbers = format!(
            "{offset:>9} {:>8}",
            duration::format(micro(row.span.duration))
        );
        let line = format!(
            "{}  {}{} {}{}{}\n",
            paint.faint(&numbers),
            paint.faint(&row.branches),
            paint.named(trace.service(row.span)),
            printable(&row.span.operation_name),
            failure(row.span, paint),
            elsewhere(row.span, trace, paint),
        );
        out.push_str(&line);
    }
    out
}

fn heading(trace: &TraceJson, start: u64) -> String {
    let end = trace
        .spans
        .iter()
        .map(|span| span.start_time.saturating_add(span.duration))
        .max()
        .unwrap_or_default();
    let services: BTreeSet<&str> = trace.spans.iter().map(|span| trace.service(span)).collect();
    let count = |number: usize, noun: &str| {
        format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
    };
    format!(
        "trace {}: {} of {}, {}\n",
        printable(&trace.trace_id),
        count(trace.spans.len(), "span"),
        count(services.len(), "service"),
        duration::format(micro(end.saturating_sub(start))),
    )
}

/// The spans in the order of the tree. Walks with a stack of its own: how deep the tree is, is up to strangers.
fn rows(trace: &TraceJson) -> Vec<Row<'_>> {
    let by_id: HashMap<&str, usize> = trace
        .spans
        .iter()
        .enumerate()
        .map(|(index, span)| (span.span_id.as_str(), index))
        .collect();
    let mut children: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut roots = Vec::new();
    for (index, span) in trace.spans.iter().enumerate() {
        match span
            .parent(trace)
            .and_then(|parent| by_id.get(parent.span_id.as_str()))
        {
            Some(parent) if *parent != index => children.entry(*parent).or_default().push(index),
            Some(_) | None => roots.push(index),
        }
    }
    let mut rows = Vec::with_capacity(trace.spans.len());
    let mut seen = BTreeSet::new();
    // After the roots all others once more: spans that are each other's parents hang below none.
    for first in trace
        .by_start(roots)
        .into_iter()
        .chain(0..trace.spans.len())
    {
        let mut stack = vec![(first, String::new(), String::new())];
        while let Some((index, branches, indent)) = stack.pop() {
            let Some(span) = trace.spans.get(index).filter(|_| seen.insert(index)) else {
                continue;
            };
            let below = trace.by_start(children.remove(&index).unwrap_or_default());
            for (place, child) in below.iter().rev().enumerate() {
                let follows = trace
                    .spans
                    .get(*child)
                    .is_some_and(|span| span.follows(trace));
                let (corner, trunk) = if place == 0 {
                    ("\u{2514}", "   ")
                } else {
                    ("\u{251c}", "\u{2502}  ")
                };
                let arm = if follows { "~> " } else { "\u{2500} " };
                // Deeper than a terminal is wide, indenting says nothing.
                let deeper = if indent.len() > INDENT_MAX {
                    indent.clone()
                } else {
                    format!("{indent}{trunk}")
                };
                stack.push((*child, format!("{indent}{corner}{arm}"), deeper));
            }
            rows.push(Row { span, branches });
        }
    }
    rows
}

/// That it failed, and with what message.
fn failure(span: &SpanJson, paint: Paint) -> String {
    let Some(error) = span.tag("error") else {
        return String::new();
    };
    // The tag is a truth, as text perhaps, or the message itself.
    let text = error.as_str();
    if error.as_bool() == Some(false) || text == Some("false") {
        return String::new();
    }
    let described = || {
        span.tag("otel.status_description")
            .and_then(serde_json::Value::as_str)
    };
    let message = text.filter(|text| *text != "true").or_else(described);
    let text = message.map_or_else(|| "! failed".to_owned(), |message| format!("! {message}"));
    format!("  {}", paint.alarming(&text))
}

/// The other traces that the span refers to.
fn elsewhere(span: &SpanJson, trace: &TraceJson, paint: Paint) -> String {
    let others: BTreeSet<&str> = span
        .references
        .iter()
        .map(|reference| reference.trace_id.as_str())
        .collect();
    let others = others.into_iter().filter(|id| *id != trace.trace_id);
    others
        .map(|id| format!("  {}", paint.faint(&format!("~> trace {id}"))))
        .collect()
}

const fn micro(microseconds: u64) -> u64 {
    microseconds.saturating_mul(1000)
}

// === impl TraceJson, SpanJson ===

impl TraceJson {
    fn service(&self, span: &SpanJson) -> &str {
        self.processes
            .get(&span.process_id)
            .map_or("?", |process| process.service_name.as_str())
    }

    fn by_start(&self, mut indices: Vec<usize>) -> Vec<usize> {
        indices.sort_by_key(|index| self.spans.get(*index).map(|span| span.start_time));
        indices
    }
}

impl SpanJson {
    /// The first reference within the trace, which is Jaeger's rule.
    fn parent(&self, trace: &TraceJson) -> Option<&ReferenceJson> {
        self.references
            .iter()
            .find(|reference| reference.trace_id == trace.trace_id)
    }

    fn follows(&self, trace: &TraceJson) -> bool {
        self.parent(trace)
            .is_some_and(|parent| parent.kind == "FOLLOWS_FROM")
    }

    fn tag(&self, key: &str) -> Option<&serde_json::Value> {
        self.tags
            .iter()
            .find(|tag| tag.key == key)
            .map(|tag| &tag.value)
    }
}

/// Bytes of indent.
const INDENT_MAX: usize = 200;

#[cfg(test)]
mod tests;
