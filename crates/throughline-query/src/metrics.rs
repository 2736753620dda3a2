//! Evaluates metrics: time series over the spans that match.
//!
//! A sample at a time covers the spans that started in the step before it, that time included.
//! Durations are in seconds.

mod accumulator;
mod combination;
mod metrics_range;
mod series_table;
mod value_comparison;

use std::ops::ControlFlow;

use throughline_store::{
    ComparisonOperator, SpanField, SpanFilter, Store, TraceExpression, TraceQuery, ValuePredicate,
    WeavingView,
};

use self::accumulator::{SeriesBuilder, SpanValue};
pub use self::metrics_range::MetricsRange;
use self::series_table::{MAX_SERIES, SeriesTable};
pub use self::series_table::{MetricSample, MetricSeries};
use crate::evaluate::{TraceView, first_value, matched_spansets};
use crate::search::for_each_candidate;
use crate::traceql::{MetricsAggregate, MetricsExpression, MetricsFunction};

/// Maximum number of samples of one series.
const MAX_STEPS: u64 = 11_000;

/// Maximum number of functions in one query, each of which reads the spans.
const MAX_FUNCTIONS: usize = 16;

/// The series of a query.
#[derive(Debug, Clone, Default)]
pub struct MetricsResult {
    /// Series, by labels.
    pub series: Vec<MetricSeries>,
    /// True when series are missing because there were too many.
    pub is_partial: bool,
}

/// The reason why metrics cannot be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetricsError {
    /// The range has too many steps.
    #[error("the range has more than {MAX_STEPS} steps: take a longer step or a shorter range")]
    TooManySteps,
    /// The query has too many functions.
    #[error("the query has more than {MAX_FUNCTIONS} functions: make several queries")]
    TooManyFunctions,
}

/// Evaluates a query for a range of times.
///
/// # Errors
/// Returns [`MetricsError`] when the range or the query is too large.
pub fn evaluate_metrics(
    store: &dyn Store,
    expression: &MetricsExpression,
    range: MetricsRange,
    view: WeavingView,
) -> Result<MetricsResult, MetricsError> {
    if range.steps > MAX_STEPS {
        return Err(MetricsError::TooManySteps);
    }
    if function_count(expression) > MAX_FUNCTIONS {
        return Err(MetricsError::TooManyFunctions);
    }
    let table = evaluate(store, expression, range, view);
    let is_partial = table.is_partial || table.rows.len() > MAX_SERIES;
    let rows = table.rows.into_values();
    let series = rows.filter_map(|row| row.into_series(range));
    Ok(MetricsResult {
        series: series.take(MAX_SERIES).collect(),
        is_partial,
    })
}

fn function_count(expression: &MetricsExpression) -> usize {
    match expression {
        MetricsExpression::Aggregate(_) => 1,
        MetricsExpression::Constant(_) => 0,
        MetricsExpression::Math(left, _, right) => function_count(left) + function_count(right),
        MetricsExpression::Filter(inner, ..)
        | MetricsExpression::Top(inner, _)
        | MetricsExpression::Bottom(inner, _) => function_count(inner),
    }
}

fn evaluate(
    store: &dyn Store,
    expression: &MetricsExpression,
    range: MetricsRange,
    view: WeavingView,
) -> SeriesTable {
    let of = |inner: &MetricsExpression| evaluate(store, inner, range, view);
    match expression {
        MetricsExpression::Aggregate(own) => aggregate(store, own, range, view),
        MetricsExpression::Constant(number) => SeriesTable::constant(*number, range),
        MetricsExpression::Math(left, operator, right) => {
            let is_constant = |it: &MetricsExpression| matches!(it, MetricsExpression::Constant(_));
            let broadcast = (is_constant(left), is_constant(right));
            combination::combine(&of(left), *operator, &of(right), broadcast)
        }
        MetricsExpression::Filter(inner, operator, threshold) => {
            combination::filter(of(inner), *operator, *threshold)
        }
        MetricsExpression::Top(inner, number) => combination::select(of(inner), *number, true),
        MetricsExpression::Bottom(inner, number) => combination::select(of(inner), *number, false),
    }
}

fn aggregate(
    store: &dyn Store,
    aggregate: &MetricsAggregate,
    range: MetricsRange,
    view: WeavingView,
) -> SeriesTable {
    if let MetricsFunction::Compare {
        selection,
        top,
        range: window,
    } = &aggregate.function
    {
        let mut counts = value_comparison::ValueComparison::new(selection, *top, *window);
        for_each_span(store, aggregate, range, view, |trace, at, step| {
            counts.add(trace, at, step);
        });
        return counts.into_table(range);
    }
    let mut builder = SeriesBuilder::new(aggregate, range);
    for_each_span(store, aggregate, range, view, |trace, at, step| {
        let value = match &aggregate.function {
            MetricsFunction::Rate | MetricsFunction::Count | MetricsFunction::Compare { .. } => {
                Some(SpanValue::Occurrence)
            }
            MetricsFunction::Minimum(value)
            | MetricsFunction::Maximum(value)
            | MetricsFunction::Average(value)
            | MetricsFunction::Sum(value)
            | MetricsFunction::Quantile(value, _)
            | MetricsFunction::Histogram(value) => first_value(value, trace, at)
                .and_then(|value| value.as_number())
                .map(SpanValue::Number),
        };
        if let Some(value) = value {
            builder.add(trace, at, step, value);
        }
    });
    builder.into_table()
}

/// Passes each matching span that started in the range to `visit`, with its step.
fn for_each_span(
    store: &dyn Store,
    aggregate: &MetricsAggregate,
    range: MetricsRange,
    view: WeavingView,
    mut visit: impl FnMut(&TraceView<'_>, usize, usize),
) {
    let (start, end) = (range.start, range.end());
    let bound =
        |operator, time| SpanFilter::Is(SpanField::StartTime, ValuePredicate::Time(operator, time));
    let query = TraceQuery {
        // A trace whose first span starts before the range may have spans in it.
        expression: Some(TraceExpression::Spans(SpanFilter::All(vec![
            bound(ComparisonOperator::AtLeast, start.saturating_add(1)),
            bound(ComparisonOperator::AtMost, end),
        ]))),
        start: 0..=end,
        view,
        ..TraceQuery::default()
    };
    for_each_candidate(store, &query, &aggregate.spansets, |_, trace| {
        let view = TraceView::new(trace);
        let mut matched: Vec<usize> = matched_spansets(&aggregate.spansets, &view)
            .into_iter()
            .flat_map(|spanset| spanset.spans)
            .collect();
        // A span counts once, even in several spansets.
        matched.sort_unstable();
        matched.dedup();
        for at in matched {
            let start = view.span(at).map(|span| span.start);
            if let Some(step) = start.and_then(|start| range.step_of(start)) {
                visit(&view, at, step);
            }
        }
        ControlFlow::Continue(())
    });
}
