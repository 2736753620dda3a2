//! Values and conditions of one span.

use throughline_store::{ComparisonOperator, SpanField};

use super::trace_view::TraceView;
use crate::traceql::{QueryField, QueryValue, SpanCondition, ValueExpression};

/// Maximum number of values of one expression that are compared.
const MAX_VALUES: usize = 64;

// === impl TraceView ===

impl TraceView<'_> {
    /// Returns the first value of an expression for the span at this index.
    #[must_use]
    pub fn value(&self, expression: &ValueExpression, at: usize) -> Option<QueryValue> {
        first_value(expression, self, at)
    }
}

/// Returns whether a span satisfies a condition.
pub(crate) fn satisfies(condition: &SpanCondition, view: &TraceView<'_>, at: usize) -> bool {
    match condition {
        SpanCondition::Filter(filter) => view
            .span(at)
            .is_some_and(|span| filter.matches(span, view.properties())),
        SpanCondition::ParentFilter(filter) => view
            .parent(at)
            .and_then(|parent| view.span(parent))
            .is_some_and(|span| filter.matches(span, view.properties())),
        SpanCondition::All(parts) => parts.iter().all(|part| satisfies(part, view, at)),
        SpanCondition::Any(parts) => parts.iter().any(|part| satisfies(part, view, at)),
        SpanCondition::Not(inner) => !satisfies(inner, view, at),
        SpanCondition::Compare(left, operator, right) => {
            compare(&values(left, view, at), *operator, &values(right, view, at))
        }
        SpanCondition::Match {
            text,
            regex,
            is_negated,
        } => {
            let values = values(text, view, at);
            let is_match = |value: &QueryValue| regex.is_match(&value.to_text());
            if *is_negated {
                !values.is_empty() && !values.iter().any(is_match)
            } else {
                values.iter().any(is_match)
            }
        }
        SpanCondition::Truth(value) => values(value, view, at).iter().any(QueryValue::is_true),
    }
}

/// Returns the first value of an expression.
pub(crate) fn first_value(
    expression: &ValueExpression,
    view: &TraceView<'_>,
    at: usize,
) -> Option<QueryValue> {
    match expression {
        ValueExpression::Field(field) => {
            let mut first = None;
            visit_field(field, view, at, &mut |value| {
                first = Some(value);
                true
            });
            first
        }
        ValueExpression::Literal(_)
        | ValueExpression::Negate(_)
        | ValueExpression::Arithmetic(..) => values(expression, view, at).into_iter().next(),
    }
}

/// Returns whether two numbers of values compare as given, by the rules of the parent module.
fn compare(left: &[QueryValue], operator: ComparisonOperator, right: &[QueryValue]) -> bool {
    let is_nil = |values: &[QueryValue]| values.iter().all(|value| *value == QueryValue::Nil);
    if is_nil(left) || is_nil(right) {
        let is_named = |values: &[QueryValue]| values.contains(&QueryValue::Nil);
        // Without a `nil` in the query, a missing field satisfies nothing.
        return (is_named(left) || is_named(right))
            && match operator {
                ComparisonOperator::Equal => is_nil(left) && is_nil(right),
                ComparisonOperator::Unequal => !(is_nil(left) && is_nil(right)),
                ComparisonOperator::Less
                | ComparisonOperator::AtMost
                | ComparisonOperator::AtLeast
                | ComparisonOperator::More => false,
            };
    }
    let mut pairs = left
        .iter()
        .flat_map(|left| right.iter().map(move |right| left.compare(right)));
    match operator {
        // Values of types that do not compare are different.
        ComparisonOperator::Unequal => {
            pairs.all(|order| order.is_none_or(std::cmp::Ordering::is_ne))
        }
        ComparisonOperator::Less
        | ComparisonOperator::AtMost
        | ComparisonOperator::Equal
        | ComparisonOperator::AtLeast
        | ComparisonOperator::More => {
            pairs.any(|order| order.is_some_and(|order| operator.accepts(order)))
        }
    }
}

/// Returns the values of an expression: none when a field is missing.
fn values(expression: &ValueExpression, view: &TraceView<'_>, at: usize) -> Vec<QueryValue> {
    match expression {
        ValueExpression::Field(field) => {
            let mut values = Vec::new();
            visit_field(field, view, at, &mut |value| {
                values.push(value);
                values.len() >= MAX_VALUES
            });
            values
        }
        ValueExpression::Literal(value) => vec![value.clone()],
        ValueExpression::Negate(inner) => {
            let inner = values(inner, view, at);
            inner.iter().filter_map(QueryValue::negated).collect()
        }
        ValueExpression::Arithmetic(left, operator, right) => {
            let (left, right) = (values(left, view, at), values(right, view, at));
            left.iter()
                .flat_map(|left| {
                    right
                        .iter()
                        .filter_map(|right| left.combined(*operator, right))
                })
                .take(MAX_VALUES)
                .collect()
        }
    }
}

/// Passes each value of a field to `visit` until it returns true.
fn visit_field(
    field: &QueryField,
    view: &TraceView<'_>,
    at: usize,
    visit: &mut dyn FnMut(QueryValue) -> bool,
) {
    match field {
        QueryField::Span(field) => visit_span(field, view, Some(at), visit),
        QueryField::Parent(field) => visit_span(field, view, view.parent(at), visit),
        QueryField::ChildCount => {
            visit(QueryValue::Integer(view.child_count(at)));
        }
        QueryField::NestedSetLeft => {
            visit(QueryValue::Integer(view.nested_set(at).left));
        }
        QueryField::NestedSetRight => {
            visit(QueryValue::Integer(view.nested_set(at).right));
        }
        QueryField::NestedSetParent => {
            visit(QueryValue::Integer(view.nested_set(at).parent));
        }
    }
}

fn visit_span(
    field: &SpanField,
    view: &TraceView<'_>,
    at: Option<usize>,
    visit: &mut dyn FnMut(QueryValue) -> bool,
) {
    if let Some(span) = at.and_then(|at| view.span(at)) {
        field.visit_values(span, view.properties(), &mut |value| {
            QueryValue::of_field(value).is_some_and(&mut *visit)
        });
    }
}
