//! Jaeger's search, expressed as a query of the one engine.

use std::ops::RangeInclusive;

use crate::{
    AttributeScope, ComparisonOperator, SpanField, SpanFilter, TraceExpression, TraceQuery,
    ValuePredicate,
};

/// A search as Jaeger defines it: *one* span of a trace satisfies all conditions at once. Unlike
/// Jaeger's, the service is optional. The default matches every trace, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanSearch {
    /// Service of the span; any when absent.
    pub service: Option<String>,
    /// Name of the span; any when absent.
    pub operation: Option<String>,
    /// Tags that the span must have.
    pub tags: Vec<TagCondition>,
    /// Range of the span's duration, in nanoseconds.
    pub duration: RangeInclusive<u64>,
    /// Range of the span's start, in nanoseconds since the Unix epoch.
    pub start: RangeInclusive<u64>,
    /// Maximum number of traces.
    pub limit: usize,
    /// No further trace is added once the traces found hold this number of spans.
    pub max_spans: usize,
}

/// A tag with its value, compared as text: `200` matches the number and the string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagCondition {
    /// Name of an attribute of the span, its events or its resource, or of a tag that Jaeger
    /// derives from a field: `span.kind`, `error`, `otel.status_code`, `otel.status_description`,
    /// `otel.scope.name`, `otel.scope.version`.
    pub key: String,
    /// Value as text.
    pub value: String,
}

impl Default for SpanSearch {
    fn default() -> Self {
        Self {
            service: None,
            operation: None,
            tags: Vec::new(),
            duration: 0..=u64::MAX,
            start: 0..=u64::MAX,
            limit: usize::MAX,
            max_spans: usize::MAX,
        }
    }
}

impl From<SpanSearch> for TraceQuery {
    fn from(search: SpanSearch) -> Self {
        let mut parts = Vec::new();
        let texts = [
            (SpanField::Service, &search.service),
            (SpanField::Name, &search.operation),
        ];
        for (field, text) in texts {
            let text = text.as_deref();
            parts.extend(text.map(|it| SpanFilter::Is(field, ValuePredicate::equal(it))));
        }
        // Ranges before tags: they are cheaper to check.
        add_range(&mut parts, &SpanField::StartTime, &search.start);
        add_range(&mut parts, &SpanField::Duration, &search.duration);
        for tag in &search.tags {
            let field = SpanField::Attribute(AttributeScope::JaegerTag, tag.key.clone());
            parts.push(SpanFilter::Is(field, ValuePredicate::equal(&tag.value)));
        }
        // The search walks traces by their first start. A trace whose first span starts after the
        // range has no span in it; one whose first span starts before the range may have.
        let start = if search.start.is_empty() {
            search.start
        } else {
            0..=*search.start.end()
        };
        Self {
            expression: (!parts.is_empty()).then(|| TraceExpression::Spans(SpanFilter::All(parts))),
            start,
            limit: search.limit,
            max_spans: search.max_spans,
            ..Self::default()
        }
    }
}

/// Adds the bounds of a range that exclude anything.
fn add_range(parts: &mut Vec<SpanFilter>, field: &SpanField, range: &RangeInclusive<u64>) {
    let (least, most) = (*range.start(), *range.end());
    let mut add = |operator, bound| {
        let predicate = ValuePredicate::Time(operator, bound);
        parts.push(SpanFilter::Is(field.clone(), predicate));
    };
    if least > 0 {
        add(ComparisonOperator::AtLeast, least);
    }
    if most < u64::MAX {
        add(ComparisonOperator::AtMost, most);
    }
}
