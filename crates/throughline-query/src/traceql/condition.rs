//! Conditions on one span, and the expressions they compare.

use regex::Regex;
use throughline_store::{ComparisonOperator, SpanField, SpanFilter};

use super::arithmetic::ArithmeticOperator;
use super::query_value::QueryValue;

/// A condition on a span.
#[derive(Debug, Clone)]
pub enum SpanCondition {
    /// The filter of the store decides.
    Filter(SpanFilter),
    /// The span's parent is stored, and passes the filter.
    ParentFilter(SpanFilter),
    /// All parts hold; an empty list is always true.
    All(Vec<Self>),
    /// At least one part holds; an empty list is never true.
    Any(Vec<Self>),
    /// The inner condition does not hold.
    Not(Box<Self>),
    /// Two values compare as given.
    Compare(ValueExpression, ComparisonOperator, ValueExpression),
    /// A text matches a regular expression, or does not.
    Match {
        /// Value whose text is matched.
        text: ValueExpression,
        /// Anchored expression.
        regex: Regex,
        /// True when it must not match.
        is_negated: bool,
    },
    /// The value is true.
    Truth(ValueExpression),
}

/// An expression with a value.
#[derive(Debug, Clone)]
pub enum ValueExpression {
    /// Field of the span.
    Field(QueryField),
    /// Literal.
    Literal(QueryValue),
    /// Number with the other sign.
    Negate(Box<Self>),
    /// Two numbers combined.
    Arithmetic(Box<Self>, ArithmeticOperator, Box<Self>),
}

/// A field that an expression can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryField {
    /// Field of the span.
    Span(SpanField),
    /// Field of the span's parent.
    Parent(SpanField),
    /// `span:childCount`: number of children.
    ChildCount,
    /// `nestedSetLeft`: number of the span in a depth-first walk, as it is entered.
    NestedSetLeft,
    /// `nestedSetRight`: number of the span as it is left.
    NestedSetRight,
    /// `nestedSetParent`: `nestedSetLeft` of the parent; -1 for a root.
    NestedSetParent,
}

// === impl ValueExpression ===

impl ValueExpression {
    /// Returns whether the value depends on the span.
    pub(super) fn uses_span(&self) -> bool {
        match self {
            Self::Field(_) => true,
            Self::Literal(_) => false,
            Self::Negate(inner) => inner.uses_span(),
            Self::Arithmetic(left, _, right) => left.uses_span() || right.uses_span(),
        }
    }
}

// === impl SpanCondition ===

impl SpanCondition {
    /// Creates the condition that holds for every span.
    pub(super) const fn always() -> Self {
        Self::All(Vec::new())
    }

    /// Returns the opposite condition.
    pub(super) fn negated(self) -> Self {
        if let Self::Filter(filter) = self {
            Self::Filter(SpanFilter::Not(Box::new(filter)))
        } else {
            Self::Not(Box::new(self))
        }
    }
}
