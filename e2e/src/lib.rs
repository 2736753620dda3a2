//! Reads traces in Jaeger's JSON and answers questions about them: parents, children, services,
//! reference types.
#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

pub mod modes;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A set of traces.
#[derive(Debug, Clone)]
pub struct TraceSet {
    /// All spans of all traces.
    pub spans: Vec<TraceSpan>,
}

/// One span.
#[derive(Debug, Clone)]
pub struct TraceSpan {
    /// Trace id, in hex.
    pub trace: String,
    /// Span id, in hex.
    pub id: String,
    /// Operation name.
    pub name: String,
    /// Service that recorded the span.
    pub service: String,
    /// Type, trace and span of each reference, in order.
    pub references: Vec<(String, String, String)>,
    /// Tags; of a repeated name the last one.
    pub tags: BTreeMap<String, Value>,
    /// Start in microseconds since the epoch.
    pub start: u64,
    /// Duration in microseconds.
    pub duration: u64,
}

// === impl TraceSet ===

impl TraceSet {
    /// Reads `{"data":[..]}`.
    ///
    /// # Panics
    /// Panics if the JSON has another shape.
    #[must_use]
    pub fn from_json(json: &Value) -> Self {
        let traces = json["data"]
            .as_array()
            .unwrap_or_else(|| panic!("no list \"data\" in {json}"));
        Self {
            spans: traces.iter().flat_map(spans_of).collect(),
        }
    }

    /// Returns the number of traces.
    #[must_use]
    pub fn count(&self) -> usize {
        self.spans
            .iter()
            .map(|span| &span.trace)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// Returns the services of one trace.
    #[must_use]
    pub fn services(&self, trace: &str) -> BTreeSet<&str> {
        self.spans
            .iter()
            .filter(|span| span.trace == trace)
            .map(|span| span.service.as_str())
            .collect()
    }

    /// Returns the spans with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Vec<&TraceSpan> {
        self.spans.iter().filter(|span| span.name == name).collect()
    }

    /// Returns the only span with this name.
    ///
    /// # Panics
    /// Panics if there is not exactly one.
    #[must_use]
    pub fn only(&self, name: &str) -> &TraceSpan {
        match self.named(name)[..] {
            [span] => span,
            ref spans => panic!(
                "{} spans named {name:?} instead of one in:\n{self}",
                spans.len()
            ),
        }
    }

    /// Returns the spans whose first reference is this span.
    #[must_use]
    pub fn children(&self, parent: &TraceSpan) -> Vec<&TraceSpan> {
        self.spans
            .iter()
            .filter(|span| self.parent(span).is_some_and(|found| found.id == parent.id))
            .collect()
    }

    /// Returns the span of the first reference.
    #[must_use]
    pub fn parent(&self, span: &TraceSpan) -> Option<&TraceSpan> {
        // Later references are links, which do not make a parent.
        let (_, trace, id) = span.references.first()?;
        self.spans
            .iter()
            .find(|other| other.trace == *trace && other.id == *id)
    }

    /// Returns whether `span` is a direct or indirect child of `ancestor`.
    #[must_use]
    pub fn is_below(&self, span: &TraceSpan, ancestor: &TraceSpan) -> bool {
        // Counts the steps: a cycle of references would otherwise loop forever.
        let mut above = self.parent(span);
        let mut steps = 0;
        while let Some(found) = above {
            steps += 1;
            if found.id == ancestor.id {
                return true;
            }
            assert!(
                steps <= self.spans.len(),
                "parents form a cycle in:\n{self}"
            );
            above = self.parent(found);
        }
        false
    }
}

impl std::fmt::Display for TraceSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for span in &self.spans {
            let TraceSpan {
                trace,
                id,
                name,
                service,
                references,
                duration,
                ..
            } = span;
            writeln!(
                f,
                "  {trace} {id} {service}: {name} ({duration} us) {references:?}"
            )?;
        }
        Ok(())
    }
}

/// Returns the number of spans of each consumer group.
#[must_use]
pub fn count_by_group(spans: &[TraceSpan]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for span in spans {
        *counts.entry(span.group().to_owned()).or_default() += 1;
    }
    counts
}

// === impl TraceSpan ===

impl TraceSpan {
    /// Returns the text of a tag, or an empty string.
    #[must_use]
    pub fn tag(&self, key: &str) -> &str {
        self.tags
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Returns the consumer group, or an empty string.
    #[must_use]
    pub fn group(&self) -> &str {
        self.tag("messaging.consumer.group.name")
    }

    /// Returns the type of the only reference.
    ///
    /// # Panics
    /// Panics if there is not exactly one.
    #[must_use]
    pub fn reference(&self) -> &str {
        match &self.references[..] {
            [(kind, _, _)] => kind,
            references => panic!(
                "{} has {} references instead of one",
                self.name,
                references.len()
            ),
        }
    }

    /// Returns the end, in microseconds since the epoch.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + self.duration
    }
}

fn spans_of(trace: &Value) -> Vec<TraceSpan> {
    let processes = &trace["processes"];
    trace["spans"]
        .as_array()
        .expect("a trace has spans")
        .iter()
        .map(|span| parse_span(span, processes))
        .collect()
}

fn parse_span(span: &Value, processes: &Value) -> TraceSpan {
    let text = |value: &Value| {
        value
            .as_str()
            .unwrap_or_else(|| panic!("expected a string in {span}"))
            .to_owned()
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    TraceSpan {
        trace: text(&span["traceID"]),
        id: text(&span["spanID"]),
        name: text(&span["operationName"]),
        // Jaeger's JSON keeps the service in a table of processes per trace.
        service: text(&processes[&text(&span["processID"])]["serviceName"]),
        references: list(&span["references"])
            .iter()
            .map(|reference| {
                (
                    text(&reference["refType"]),
                    text(&reference["traceID"]),
                    text(&reference["spanID"]),
                )
            })
            .collect(),
        tags: list(&span["tags"])
            .iter()
            .map(|tag| (text(&tag["key"]), tag["value"].clone()))
            .collect(),
        // Jaeger's JSON has times in microseconds.
        start: span["startTime"].as_u64().expect("a span has a start"),
        duration: span["duration"].as_u64().expect("a span has a duration"),
    }
}
