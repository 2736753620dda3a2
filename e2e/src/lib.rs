//! Reads traces in Jaeger's JSON, for tests to ask of them what a person would: who is below whom, in which service, by
//! which kind of reference.
#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

pub mod modes;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// All traces that something caused.
#[derive(Debug, Clone)]
pub struct TraceSet {
    /// All spans, of all the traces.
    pub spans: Vec<TraceSpan>,
}

/// One span.
#[derive(Debug, Clone)]
pub struct TraceSpan {
    /// The trace it is in, as hex.
    pub trace: String,
    /// Its id, as hex.
    pub id: String,
    /// Its operation name.
    pub name: String,
    /// The service that made it.
    pub service: String,
    /// Type, trace and span of each reference, in order.
    pub references: Vec<(String, String, String)>,
    /// Its tags; the last one of a name.
    pub tags: BTreeMap<String, Value>,
    /// Start in microseconds since the epoch.
    pub start: u64,
    /// Duration in microseconds.
    pub duration: u64,
}

// === impl Traces ===

impl TraceSet {
    /// From `{"data":[..]}`.
    ///
    /// # Panics
    /// When the JSON is not of that shape.
    #[must_use]
    pub fn from_json(json: &Value) -> Self {
        let traces = json["data"]
            .as_array()
            .unwrap_or_else(|| panic!("no list 'data' in {json}"));
        Self {
            spans: traces.iter().flat_map(spans_of).collect(),
        }
    }

    /// How many traces there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.spans
            .iter()
            .map(|span| &span.trace)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// The services of one trace.
    #[must_use]
    pub fn services(&self, trace: &str) -> BTreeSet<&str> {
        self.spans
            .iter()
            .filter(|span| span.trace == trace)
            .map(|span| span.service.as_str())
            .collect()
    }

    /// The spans of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Vec<&TraceSpan> {
        self.spans.iter().filter(|span| span.name == name).collect()
    }

    /// The one span of this name.
    ///
    /// # Panics
    /// When there is none, or more than one.
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

    /// The spans whose first reference is this span.
    #[must_use]
    pub fn children(&self, parent: &TraceSpan) -> Vec<&TraceSpan> {
        self.spans
            .iter()
            .filter(|span| self.parent(span).is_some_and(|found| found.id == parent.id))
            .collect()
    }

    /// The span that the first reference names.
    #[must_use]
    pub fn parent(&self, span: &TraceSpan) -> Option<&TraceSpan> {
        let (_, trace, id) = span.references.first()?;
        self.spans
            .iter()
            .find(|other| other.trace == *trace && other.id == *id)
    }

    /// Whether `span` is `ancestor`'s child, or the child of its child, and so on.
    #[must_use]
    pub fn is_below(&self, span: &TraceSpan, ancestor: &TraceSpan) -> bool {
        let mut above = self.parent(span);
        let mut steps = 0;
        while let Some(found) = above {
            steps += 1;
            if found.id == ancestor.id {
                return true;
            }
            assert!(steps <= self.spans.len(), "a circle of parents in:\n{self}");
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

// === impl Span ===

impl TraceSpan {
    /// The text of a tag, empty when there is none.
    #[must_use]
    pub fn tag(&self, key: &str) -> &str {
        self.tags
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The type of the only reference.
    ///
    /// # Panics
    /// When there is none, or more than one.
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

    /// When it ended, in microseconds since the epoch.
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
        .map(|span| read(span, processes))
        .collect()
}

fn read(span: &Value, processes: &Value) -> TraceSpan {
    let text = |value: &Value| {
        value
            .as_str()
            .unwrap_or_else(|| panic!("no text where one belongs in {span}"))
            .to_owned()
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    TraceSpan {
        trace: text(&span["traceID"]),
        id: text(&span["spanID"]),
        name: text(&span["operationName"]),
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
        start: span["startTime"].as_u64().expect("a span has a start"),
        duration: span["duration"].as_u64().expect("a span has a duration"),
    }
}
