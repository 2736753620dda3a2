//! Conditions on spans and traces.
//!
//! Attributes are compared as text or number whatever their type: `200` matches the number and the
//! string. Where a field has several values (an array, the events of a span), one of them must
//! satisfy the predicate; for `!=` and `!~` all of them must. A missing field is neither equal nor
//! unequal to anything but `nil`.

mod field;
mod json_text;
mod predicate;
mod properties;

use throughline_model::Span;

pub use self::field::{AttributeScope, SpanField};
pub(crate) use self::field::{JAEGER_TAGS, status_name};
pub use self::predicate::{
    ComparisonOperator, EqualityLiteral, FieldValue, PatternError, ValuePredicate,
};
pub use self::properties::TraceProperties;

/// A condition on a trace.
#[derive(Debug, Clone)]
pub enum TraceExpression {
    /// At least one span passes the filter.
    Spans(SpanFilter),
    /// All parts hold.
    All(Vec<Self>),
    /// At least one part holds.
    Any(Vec<Self>),
    /// The inner expression holds, and the number of spans it matches compares as given.
    Count(Box<Self>, ComparisonOperator, u64),
}

/// A condition on a span.
#[derive(Debug, Clone)]
pub enum SpanFilter {
    /// All parts hold; an empty list is always true.
    All(Vec<Self>),
    /// At least one part holds; an empty list is never true.
    Any(Vec<Self>),
    /// The inner filter does not hold.
    Not(Box<Self>),
    /// A field satisfies a predicate.
    Is(SpanField, ValuePredicate),
}

// === impl TraceExpression ===

impl TraceExpression {
    /// Returns whether a trace matches. Each call of `spans` iterates over its spans from the
    /// beginning.
    pub fn matches_trace<'a, I>(
        &self,
        properties: &TraceProperties<'_>,
        spans: &impl Fn() -> I,
    ) -> bool
    where
        I: Iterator<Item = &'a Span>,
    {
        match self {
            Self::Spans(filter) => spans().any(|span| filter.matches(span, properties)),
            Self::All(parts) => parts.iter().all(|it| it.matches_trace(properties, spans)),
            Self::Any(parts) => parts.iter().any(|it| it.matches_trace(properties, spans)),
            Self::Count(inner, operator, number) => {
                let matching = spans().filter(|span| inner.matches_span(span, properties));
                let count = matching.count() as u64;
                // TraceQL pipes only spansets that match into `count()`, so `count() = 0` finds
                // nothing.
                operator.accepts(count.cmp(number)) && inner.matches_trace(properties, spans)
            }
        }
    }

    /// Returns whether a span is one of the spans that make the expression true.
    #[must_use]
    pub fn matches_span(&self, span: &Span, properties: &TraceProperties<'_>) -> bool {
        match self {
            Self::Spans(filter) => filter.matches(span, properties),
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().any(|part| part.matches_span(span, properties))
            }
            Self::Count(inner, _, _) => inner.matches_span(span, properties),
        }
    }

    /// Returns whether all fields that the expression is about satisfy a condition.
    pub fn has_only_fields(&self, accepts: &dyn Fn(&SpanField) -> bool) -> bool {
        match self {
            Self::Spans(filter) => filter.has_only_fields(accepts),
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().all(|part| part.has_only_fields(accepts))
            }
            Self::Count(inner, _, _) => inner.has_only_fields(accepts),
        }
    }

    /// Returns whether every span matches trivially, so that a list of matches has no value.
    #[must_use]
    pub fn matches_every_span(&self) -> bool {
        match self {
            Self::Spans(SpanFilter::All(parts)) => parts.is_empty(),
            Self::Spans(_) => false,
            Self::All(parts) | Self::Any(parts) => parts.iter().all(Self::matches_every_span),
            Self::Count(inner, _, _) => inner.matches_every_span(),
        }
    }
}

// === impl SpanFilter ===

impl SpanFilter {
    fn has_only_fields(&self, accepts: &dyn Fn(&SpanField) -> bool) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().all(|part| part.has_only_fields(accepts))
            }
            Self::Not(part) => part.has_only_fields(accepts),
            Self::Is(field, _) => accepts(field),
        }
    }

    /// Returns whether a span passes the filter.
    #[must_use]
    pub fn matches(&self, span: &Span, properties: &TraceProperties<'_>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(span, properties)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(span, properties)),
            Self::Not(part) => !part.matches(span, properties),
            Self::Is(field, predicate) => {
                predicate.matches(|visit| field.visit_values(span, properties, visit))
            }
        }
    }
}
