//! A trace in Jaeger's JSON, rendered as a tree.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use throughline_model::convention::{
    KAFKA_ACKNOWLEDGED, KAFKA_HANDLED, MESSAGING_OPERATION_TYPE, PARENT_CONFIDENCE, PARENT_EVIDENCE,
};
use throughline_model::destination::destination;
use throughline_model::{SpanKind, duration};

use crate::terminal::{ColorMode, printable};

/// Cap on the indent of a row: beyond a terminal's width, deeper indents show nothing more.
const MAX_INDENT_BYTES: usize = 200;

/// The response of `/api/traces/{id}`, as far as the tree shows it.
#[derive(Debug, serde::Deserialize)]
pub(super) struct TreeResponse {
    pub(super) data: Vec<TreeTrace>,
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct TreeTrace {
    #[serde(rename = "traceID")]
    trace_id: String,
    spans: Vec<TreeSpan>,
    processes: HashMap<String, TreeProcess>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct TreeSpan {
    #[serde(rename = "spanID")]
    span_id: String,
    operation_name: String,
    #[serde(default)]
    references: Vec<TreeReference>,
    start_time: u64,
    duration: u64,
    #[serde(default)]
    tags: Vec<TreeTag>,
    #[serde(rename = "processID")]
    process_id: String,
}

#[derive(Debug, serde::Deserialize)]
struct TreeReference {
    #[serde(rename = "refType")]
    kind: String,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Debug, serde::Deserialize)]
struct TreeTag {
    key: String,
    value: serde_json::Value,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct TreeProcess {
    service_name: String,
}

/// A span at its position in the tree.
struct TreeRow<'a> {
    span: &'a TreeSpan,
    /// The lines of the tree up to the span.
    branches: String,
    /// Id of the parent, if the trace does not have it.
    missing_parent: Option<&'a str>,
}

/// Renders a trace: a heading, and one line for each span with its start, duration, service and
/// name.
pub(super) fn render(trace: &TreeTrace, colors: ColorMode) -> String {
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
            duration::format(nanos(row.span.start_time.saturating_sub(start)))
        );
        let numbers = format!(
            "{offset:>9} {:>8}",
            duration::format(nanos(row.span.duration))
        );
        let line = format!(
            "{}  {}{} {}{}{}{}{}\n",
            colors.dim(&numbers),
            colors.dim(&row.branches),
            colors.name(trace.service(row.span)),
            printable(&row.span.operation_name),
            colors.destination(&row.span.destination()),
            error_text(row.span, colors),
            parent_text(row.span, row.missing_parent, colors),
            linked_traces(row.span, trace, colors),
        );
        out.push_str(&line);
    }
    out
}

fn heading(trace: &TreeTrace, start: u64) -> String {
    // Children may end after the root, so the trace is as long as its latest span. Commits may
    // follow seconds later and keep nobody waiting.
    let last = trace.spans.iter().map(TreeSpan::end).max();
    let settled = last.unwrap_or_default();
    let work = trace.spans.iter().filter(|span| !span.settles());
    let end = work.map(TreeSpan::end).max().unwrap_or(settled);
    let committed = if settled > end {
        format!(
            ", committed after {}",
            duration::format(nanos(settled - end))
        )
    } else {
        String::new()
    };
    let services: BTreeSet<&str> = trace.spans.iter().map(|span| trace.service(span)).collect();
    let count = |number: usize, noun: &str| {
        format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
    };
    format!(
        "trace {}: {} of {}, {}{committed}\n",
        printable(&trace.trace_id),
        count(trace.spans.len(), "span"),
        count(services.len(), "service"),
        duration::format(nanos(end.saturating_sub(start))),
    )
}

/// Returns the spans in the order of the tree. The walk uses a stack of its own rather than
/// recursion: the depth is up to untrusted senders.
fn rows(trace: &TreeTrace) -> Vec<TreeRow<'_>> {
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
            // A span that is its own parent is shown as a root.
            Some(parent) if *parent != index => children.entry(*parent).or_default().push(index),
            Some(_) | None => roots.push(index),
        }
    }
    let mut rows = Vec::with_capacity(trace.spans.len());
    let mut seen = BTreeSet::new();
    // After the roots every span once more: spans in a cycle of parents are below no root.
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
            let children_of_span = trace.by_start(children.remove(&index).unwrap_or_default());
            // The stack is popped from the end, so children go on it in reverse order.
            for (index_from_last, child) in children_of_span.iter().rev().enumerate() {
                let follows_from = trace
                    .spans
                    .get(*child)
                    .is_some_and(|span| span.follows_from(trace));
                let (corner, trunk) = if index_from_last == 0 {
                    ("\u{2514}", "   ")
                } else {
                    ("\u{251c}", "\u{2502}  ")
                };
                let arm = if follows_from { "~> " } else { "\u{2500} " };
                let deeper = if indent.len() > MAX_INDENT_BYTES {
                    indent.clone()
                } else {
                    format!("{indent}{trunk}")
                };
                stack.push((*child, format!("{indent}{corner}{arm}"), deeper));
            }
            let parent = span.parent(trace).map(|parent| parent.span_id.as_str());
            rows.push(TreeRow {
                span,
                branches,
                missing_parent: parent.filter(|parent| !by_id.contains_key(parent)),
            });
        }
    }
    rows
}

/// Returns the error mark of a span and its message; empty without an error.
fn error_text(span: &TreeSpan, colors: ColorMode) -> String {
    let Some(error) = span.tag("error") else {
        return String::new();
    };
    // OpenTracing's `error` tag is a bool, a bool as text, or the message itself.
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
    format!("  {}", colors.error(&text))
}

/// Returns the remark on the parent of a span, as on the page: it is inferred, unknown or missing.
/// Empty for one that the message carried.
fn parent_text(span: &TreeSpan, missing: Option<&str>, colors: ColorMode) -> String {
    let evidence = span.tag(PARENT_EVIDENCE).and_then(|tag| tag.as_str());
    let confidence = span.tag(PARENT_CONFIDENCE).and_then(|tag| {
        let text = tag.as_str().and_then(|text| text.parse().ok());
        text.or_else(|| tag.as_f64())
    });
    let is_carried = matches!(evidence, None | Some("header" | "request-id" | "thread"));
    let text = if evidence == Some("open") {
        "? cause unknown".to_owned()
    } else if confidence.is_some() || !is_carried {
        let percent = confidence.map_or_else(String::new, |part| format!(" {}", percent(part)));
        let words =
            evidence.map_or_else(String::new, |name| format!(" ({})", evidence_words(name)));
        format!("? inferred{percent}{words}")
    } else if let Some(parent) = missing {
        format!("? parent {parent} is missing")
    } else {
        return String::new();
    };
    format!("  {}", colors.dim(&text))
}

/// Formats a fraction; only certainty is 100 %.
fn percent(part: f64) -> String {
    let text = if (0.99..1.0).contains(&part) {
        format!("{:.1}", (part * 1000.0).floor().min(999.0) / 10.0)
    } else {
        format!("{:.0}", part.clamp(0.0, 1.0) * 100.0)
    };
    format!("{text} %")
}

fn evidence_words(name: &str) -> &str {
    match name {
        "sole" => "only one request was in flight",
        "tokens" => "shares a value with one of several requests in flight",
        "structure" => "only one of several requests in flight had come to this step",
        "timing" => "one of several requests in flight had most likely come to this step",
        "order" => "matched by order among several requests in flight",
        other => other,
    }
}

/// Returns the other traces that the span refers to.
fn linked_traces(span: &TreeSpan, trace: &TreeTrace, colors: ColorMode) -> String {
    let others: BTreeSet<&str> = span
        .references
        .iter()
        .map(|reference| reference.trace_id.as_str())
        .collect();
    let others = others.into_iter().filter(|id| *id != trace.trace_id);
    others
        .map(|id| format!("  {}", colors.dim(&format!("~> trace {id}"))))
        .collect()
}

const fn nanos(microseconds: u64) -> u64 {
    microseconds.saturating_mul(1000)
}

// === impl TreeTrace, TreeSpan ===

impl TreeTrace {
    fn service(&self, span: &TreeSpan) -> &str {
        self.processes
            .get(&span.process_id)
            .map_or("?", |process| process.service_name.as_str())
    }

    fn by_start(&self, mut indices: Vec<usize>) -> Vec<usize> {
        indices.sort_by_key(|index| self.spans.get(*index).map(|span| span.start_time));
        indices
    }
}

impl TreeSpan {
    /// Returns the first reference within the trace: Jaeger's rule for the parent.
    fn parent(&self, trace: &TreeTrace) -> Option<&TreeReference> {
        self.references
            .iter()
            .find(|reference| reference.trace_id == trace.trace_id)
    }

    fn follows_from(&self, trace: &TreeTrace) -> bool {
        self.parent(trace)
            .is_some_and(|parent| parent.kind == "FOLLOWS_FROM")
    }

    const fn end(&self) -> u64 {
        self.start_time.saturating_add(self.duration)
    }

    /// Returns whether the span is a commit or acknowledgement, by the collector's rule.
    fn settles(&self) -> bool {
        let text = |key| self.tag(key).and_then(serde_json::Value::as_str);
        text(MESSAGING_OPERATION_TYPE) == Some("settle")
            || text("messaging.operation") == Some("settle")
            || self.tag(KAFKA_HANDLED).is_some()
            || self.tag(KAFKA_ACKNOWLEDGED).is_some()
            || text("message_bus.destination")
                .is_some_and(|topic| self.operation_name.strip_prefix("Commit_") == Some(topic))
    }

    /// Returns where the call of a client went; empty for other spans.
    fn destination(&self) -> String {
        let kind = self.tag("span.kind").and_then(serde_json::Value::as_str);
        let kind = kind.and_then(SpanKind::from_name).unwrap_or_default();
        let text = |key: &str| {
            let tag = self.tag(key)?;
            let number = || tag.as_number().map(|it| Cow::Owned(it.to_string()));
            tag.as_str().map(Cow::Borrowed).or_else(number)
        };
        destination(&self.operation_name, kind, text).unwrap_or_default()
    }

    fn tag(&self, key: &str) -> Option<&serde_json::Value> {
        self.tags
            .iter()
            .find(|tag| tag.key == key)
            .map(|tag| &tag.value)
    }
}

#[cfg(test)]
mod tests;
