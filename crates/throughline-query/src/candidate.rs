//! The store's condition that every trace with matching spans satisfies.

use throughline_store::{SpanFilter, TraceExpression};

use crate::traceql::{
    AggregateFunction, PipelineStage, QueryValue, SpanCondition, SpansetExpression, SpansetOperator,
};

/// A condition that the store can check, and whether it is all of the query.
#[derive(Debug, Clone)]
pub struct Candidates {
    /// Condition that every matching trace satisfies.
    pub expression: TraceExpression,
    /// True when every trace that satisfies it matches.
    pub is_exact: bool,
}

// === impl Candidates ===

impl Candidates {
    /// Derives the condition of a query.
    #[must_use]
    pub fn of(query: &SpansetExpression) -> Self {
        match query {
            SpansetExpression::Filter(condition) => Self::of_condition(condition),
            SpansetExpression::Combine(left, operator, right) => {
                Self::of_operator(left, *operator, right)
            }
            SpansetExpression::Pipeline(first, stages) => stages
                .iter()
                .fold(Self::of(first), |input, stage| input.then(stage)),
        }
    }

    fn of_condition(condition: &SpanCondition) -> Self {
        let (filter, is_exact) = filter_of(condition);
        Self {
            expression: TraceExpression::Spans(filter),
            is_exact,
        }
    }

    fn of_operator(
        left: &SpansetExpression,
        operator: SpansetOperator,
        right: &SpansetExpression,
    ) -> Self {
        let (left, right) = (Self::of(left), Self::of(right));
        let both = left.is_exact && right.is_exact;
        let (expression, is_exact) = match operator {
            SpansetOperator::And => (
                TraceExpression::All(vec![left.expression, right.expression]),
                both,
            ),
            SpansetOperator::Or => (
                TraceExpression::Any(vec![left.expression, right.expression]),
                both,
            ),
            SpansetOperator::Related(_) | SpansetOperator::Union(_) => (
                TraceExpression::All(vec![left.expression, right.expression]),
                false,
            ),
            // The left side may have no spans at all.
            SpansetOperator::Unrelated(_) => (right.expression, false),
        };
        Self {
            expression,
            is_exact,
        }
    }

    fn then(self, stage: &PipelineStage) -> Self {
        match stage {
            PipelineStage::Select(_) => self,
            PipelineStage::Aggregate(filter)
                if self.is_exact && filter.function == AggregateFunction::Count =>
            {
                match whole_number(&filter.literal) {
                    Some(number) => Self {
                        expression: TraceExpression::Count(
                            Box::new(self.expression),
                            filter.operator,
                            number,
                        ),
                        is_exact: true,
                    },
                    None => self.inexact(),
                }
            }
            PipelineStage::Aggregate(_) | PipelineStage::Group(_) | PipelineStage::Coalesce => {
                self.inexact()
            }
            PipelineStage::Spansets(inner) => Self {
                expression: TraceExpression::All(vec![self.expression, Self::of(inner).expression]),
                is_exact: false,
            },
        }
    }

    fn inexact(self) -> Self {
        Self {
            is_exact: false,
            ..self
        }
    }
}

/// Returns a filter that every span with this condition passes, and whether it is all of it.
fn filter_of(condition: &SpanCondition) -> (SpanFilter, bool) {
    let each = |parts: &[SpanCondition]| -> (Vec<SpanFilter>, bool) {
        let filters: Vec<_> = parts.iter().map(filter_of).collect();
        let is_exact = filters.iter().all(|(_, is_exact)| *is_exact);
        (filters.into_iter().map(|(it, _)| it).collect(), is_exact)
    };
    match condition {
        SpanCondition::Filter(filter) => (filter.clone(), true),
        SpanCondition::All(parts) => {
            let (filters, is_exact) = each(parts);
            (SpanFilter::All(filters), is_exact)
        }
        SpanCondition::Any(parts) => {
            let (filters, is_exact) = each(parts);
            (SpanFilter::Any(filters), is_exact)
        }
        // The complement of a necessary condition is not necessary for the complement.
        SpanCondition::Not(inner) => match filter_of(inner) {
            (filter, true) => (SpanFilter::Not(Box::new(filter)), true),
            (_, false) => every_span(),
        },
        SpanCondition::ParentFilter(_)
        | SpanCondition::Compare(..)
        | SpanCondition::Match { .. }
        | SpanCondition::Truth(_) => every_span(),
    }
}

const fn every_span() -> (SpanFilter, bool) {
    (SpanFilter::All(Vec::new()), false)
}

fn whole_number(value: &QueryValue) -> Option<u64> {
    let number = value.as_number()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a whole number in the range"
    )]
    let whole = (number >= 0.0 && number.fract() == 0.0 && number < 1e15).then_some(number as u64);
    whole
}
