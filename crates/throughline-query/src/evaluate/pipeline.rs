//! Spansets through the stages of a pipeline.

use std::collections::HashMap;

use super::span_value::{first_value, satisfies};
use super::structure::related;
use super::trace_view::TraceView;
use crate::traceql::{
    AggregateFilter, AggregateFunction, GroupKey, PipelineStage, QueryValue, SpansetExpression,
    SpansetOperator,
};

/// Spans of a trace that match a query together.
#[derive(Debug, Clone, Default)]
pub struct MatchedSpanset {
    /// Indexes of the spans in the trace, rising.
    pub spans: Vec<usize>,
    /// Groups and aggregates of the spanset, each with the text it was written as.
    pub values: Vec<(String, QueryValue)>,
}

/// Returns the spansets of a trace that match a query.
pub(crate) fn matched_spansets(
    query: &SpansetExpression,
    view: &TraceView<'_>,
) -> Vec<MatchedSpanset> {
    let all = MatchedSpanset {
        spans: (0..view.len()).collect(),
        values: Vec::new(),
    };
    evaluate(query, view, all)
}

/// Evaluates an expression within a spanset; spansets of the result are never empty.
fn evaluate(
    query: &SpansetExpression,
    view: &TraceView<'_>,
    input: MatchedSpanset,
) -> Vec<MatchedSpanset> {
    match query {
        SpansetExpression::Filter(condition) => {
            let mut matched = input;
            matched.spans.retain(|at| satisfies(condition, view, *at));
            some(matched)
        }
        SpansetExpression::Combine(left, operator, right) => {
            let values = input.values.clone();
            let left = all_spans(evaluate(left, view, input.clone()));
            let right = all_spans(evaluate(right, view, input));
            let spans = combine(view, left, *operator, right);
            some(MatchedSpanset { spans, values })
        }
        SpansetExpression::Pipeline(first, stages) => {
            let mut spansets = evaluate(first, view, input);
            for stage in stages {
                spansets = apply(stage, view, spansets);
            }
            spansets
        }
    }
}

fn some(spanset: MatchedSpanset) -> Vec<MatchedSpanset> {
    if spanset.spans.is_empty() {
        Vec::new()
    } else {
        vec![spanset]
    }
}

/// Returns the spans of all spansets, rising and each once.
fn all_spans(spansets: Vec<MatchedSpanset>) -> Vec<usize> {
    let mut spans: Vec<usize> = spansets.into_iter().flat_map(|it| it.spans).collect();
    spans.sort_unstable();
    spans.dedup();
    spans
}

fn combine(
    view: &TraceView<'_>,
    left: Vec<usize>,
    operator: SpansetOperator,
    right: Vec<usize>,
) -> Vec<usize> {
    let is_marked = |marks: &[bool], at: usize| marks.get(at).copied().unwrap_or_default();
    let mut spans = match operator {
        SpansetOperator::And if left.is_empty() || right.is_empty() => Vec::new(),
        SpansetOperator::And | SpansetOperator::Or => [left, right].concat(),
        SpansetOperator::Related(relation) => {
            let marks = related(view, &left, relation);
            right
                .into_iter()
                .filter(|at| is_marked(&marks, *at))
                .collect()
        }
        SpansetOperator::Unrelated(relation) => {
            let marks = related(view, &left, relation);
            right
                .into_iter()
                .filter(|at| !is_marked(&marks, *at))
                .collect()
        }
        SpansetOperator::Union(relation) => {
            let from_left = related(view, &left, relation);
            let from_right = related(view, &right, relation.inverse());
            let right = right.iter().filter(|at| is_marked(&from_left, **at));
            let left = left.iter().filter(|at| is_marked(&from_right, **at));
            left.chain(right).copied().collect()
        }
    };
    spans.sort_unstable();
    spans.dedup();
    spans
}

fn apply(
    stage: &PipelineStage,
    view: &TraceView<'_>,
    spansets: Vec<MatchedSpanset>,
) -> Vec<MatchedSpanset> {
    match stage {
        PipelineStage::Spansets(query) => spansets
            .into_iter()
            .flat_map(|spanset| evaluate(query, view, spanset))
            .collect(),
        PipelineStage::Aggregate(filter) => spansets
            .into_iter()
            .filter_map(|spanset| passed(filter, view, spanset))
            .collect(),
        PipelineStage::Group(key) => spansets
            .into_iter()
            .flat_map(|spanset| grouped(key, view, spanset))
            .collect(),
        PipelineStage::Coalesce => some(MatchedSpanset {
            spans: all_spans(spansets),
            values: Vec::new(),
        }),
        // The caller reads selected fields from the spans; see `SpansetExpression::fields`.
        PipelineStage::Select(_) => spansets,
    }
}

/// Returns the spanset with its aggregate if that compares as given.
fn passed(
    filter: &AggregateFilter,
    view: &TraceView<'_>,
    mut spanset: MatchedSpanset,
) -> Option<MatchedSpanset> {
    let value = aggregate(filter, view, &spanset.spans)?;
    let order = value.compare(&filter.literal);
    if !order.is_some_and(|order| filter.operator.accepts(order)) {
        return None;
    }
    spanset.values.push((filter.label.clone(), value));
    Some(spanset)
}

/// Returns the aggregate of the spans that have a value; `None` when none has.
fn aggregate(
    filter: &AggregateFilter,
    view: &TraceView<'_>,
    spans: &[usize],
) -> Option<QueryValue> {
    let Some(expression) = &filter.value else {
        return Some(QueryValue::Integer(
            i64::try_from(spans.len()).unwrap_or(i64::MAX),
        ));
    };
    let values = spans
        .iter()
        .filter_map(|at| first_value(expression, view, *at));
    let mut is_duration = false;
    let (mut sum, mut least, mut most, mut count) = (0.0, f64::INFINITY, f64::NEG_INFINITY, 0.0);
    for value in values {
        is_duration |= matches!(value, QueryValue::Duration(_));
        let Some(number) = value.as_number() else {
            continue;
        };
        sum += number;
        least = number.min(least);
        most = number.max(most);
        count += 1.0;
    }
    let number = match filter.function {
        AggregateFunction::Count => count,
        _ if count == 0.0 => return None,
        AggregateFunction::Average => sum / count,
        AggregateFunction::Minimum => least,
        AggregateFunction::Maximum => most,
        AggregateFunction::Sum => sum,
    };
    Some(if is_duration {
        QueryValue::seconds(number)
    } else {
        QueryValue::Number(number)
    })
}

/// Splits a spanset by a value, in the order of the first span of each group.
fn grouped(key: &GroupKey, view: &TraceView<'_>, spanset: MatchedSpanset) -> Vec<MatchedSpanset> {
    let mut groups: Vec<MatchedSpanset> = Vec::new();
    let mut by_text: HashMap<String, usize> = HashMap::new();
    for at in spanset.spans {
        let value = first_value(&key.value, view, at).unwrap_or(QueryValue::Nil);
        // The debug form distinguishes the text "1" from the number.
        let group = *by_text.entry(format!("{value:?}")).or_insert_with(|| {
            let mut values = spanset.values.clone();
            values.push((format!("by({})", key.label), value));
            let spans = Vec::new();
            groups.push(MatchedSpanset { spans, values });
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(group) {
            group.spans.push(at);
        }
    }
    groups
}
