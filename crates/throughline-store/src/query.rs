//! What is looked for, and whether a span is it.

use std::ops::RangeInclusive;

use throughline_model::{KeyValue, Span, Value};

use crate::filter::tag;

/// What is looked for. The default finds everything.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The service that made the span; any when absent.
    pub service: Option<String>,
    /// The span's name; any when absent.
    pub operation: Option<String>,
    /// Each must hold.
    pub attributes: Vec<AttributeFilter>,
    /// How long the span took, in nanoseconds.
    pub duration: RangeInclusive<u64>,
    /// When it started, in nanoseconds since the Unix epoch.
    pub start: RangeInclusive<u64>,
    /// At most so many traces.
    pub limit: usize,
    /// At most about so many spans in all traces found: no further trace is added once they are reached.
    pub spans_max: usize,
}

/// An attribute with the value it must have, compared as text, so that `200` finds the number and the string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeFilter {
    /// The attribute's name. Of the span, its events, its resource, or one of the tags Jaeger makes of other fields: `span.kind`,
    /// `error`, `otel.status_code`, `otel.status_description`, `otel.scope.name`, `otel.scope.version`.
    pub key: String,
    /// Its value as text.
    pub value: String,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            service: None,
            operation: None,
            attributes: Vec::new(),
            duration: 0..=u64::MAX,
            start: 0..=u64::MAX,
            limit: usize::MAX,
            spans_max: usize::MAX,
        }
    }
}

impl Query {
    /// Whether this span makes its trace one that is looked for.
    #[must_use]
    pub fn matches(&self, span: &Span) -> bool {
        self.start.contains(&span.start)
            && self.duration.contains(&span.duration())
            && self
                .operation
                .as_ref()
                .is_none_or(|operation| *operation == span.name)
            && self
                .service
                .as_ref()
                .is_none_or(|service| *service == span.service())
            && self.attributes.iter().all(|filter| filter.matches(span))
    }
}

impl AttributeFilter {
    fn matches(&self, span: &Span) -> bool {
        self.matches_any(&span.attributes)
            || self.matches_any(&span.resource.attributes)
            || span
                .events
                .iter()
                .any(|event| self.matches_any(&event.attributes))
            || self.matches_field(span)
    }

    fn matches_any(&self, attributes: &[KeyValue]) -> bool {
        attributes
            .iter()
            .any(|pair| pair.key == self.key && self.matches_value(&pair.value))
    }

    fn matches_value(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => *text == self.value,
            Value::Bool(truth) => self.value.parse() == Ok(*truth),
            Value::Int(number) => self.value.parse() == Ok(*number),
            Value::Double(number) => self.value.parse() == Ok(*number),
            Value::Empty => self.value.is_empty(),
            Value::Array(values) => values.iter().any(|value| self.matches_value(value)),
            Value::Bytes(_) | Value::Map(_) => false,
        }
    }

    /// The tags that Jaeger makes of the fields of a span.
    fn matches_field(&self, span: &Span) -> bool {
        tag(&self.key, span).is_some_and(|value| value == self.value)
    }
}
