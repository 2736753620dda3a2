//! Queries for metrics.

use throughline_store::ComparisonOperator;

use super::arithmetic::ArithmeticOperator;
use super::condition::{SpanCondition, ValueExpression};
use super::spanset_query::{GroupKey, SpansetExpression};

/// An expression whose value is a set of time series.
#[derive(Debug, Clone)]
pub enum MetricsExpression {
    /// A function over the matching spans.
    Aggregate(Box<MetricsAggregate>),
    /// The same number at each time, without labels.
    Constant(f64),
    /// Series with equal labels combined.
    Math(Box<Self>, ArithmeticOperator, Box<Self>),
    /// Only samples that compare as given.
    Filter(Box<Self>, ComparisonOperator, f64),
    /// `topk(..)`: the greatest samples at each time.
    Top(Box<Self>, usize),
    /// `bottomk(..)`: the least samples at each time.
    Bottom(Box<Self>, usize),
}

/// A function over the matching spans.
#[derive(Debug, Clone)]
pub struct MetricsAggregate {
    /// Spans that are counted.
    pub spansets: SpansetExpression,
    /// Function.
    pub function: MetricsFunction,
    /// Labels of the series.
    pub by: Vec<GroupKey>,
}

/// A function over the spans of one interval.
#[derive(Debug, Clone)]
pub enum MetricsFunction {
    /// Spans per second.
    Rate,
    /// Number of spans.
    Count,
    /// Least value.
    Minimum(ValueExpression),
    /// Greatest value.
    Maximum(ValueExpression),
    /// Mean.
    Average(ValueExpression),
    /// Sum.
    Sum(ValueExpression),
    /// Quantiles from 0 to 1, each a series.
    Quantile(ValueExpression, Vec<f64>),
    /// Counts by powers of two.
    Histogram(ValueExpression),
    /// Frequent attribute values of the spans that satisfy a condition, and of the others.
    Compare {
        /// Spans of the selection.
        selection: SpanCondition,
        /// Number of values for each attribute.
        top: usize,
        /// Range of the selection's start, in nanoseconds since the Unix epoch.
        range: Option<(u64, u64)>,
    },
}

// === impl MetricsExpression ===

impl MetricsExpression {
    /// Returns the name of the function, or that of arithmetic.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Aggregate(aggregate) => match &aggregate.function {
                MetricsFunction::Rate => "rate",
                MetricsFunction::Count => "count_over_time",
                MetricsFunction::Minimum(_) => "min_over_time",
                MetricsFunction::Maximum(_) => "max_over_time",
                MetricsFunction::Average(_) => "avg_over_time",
                MetricsFunction::Sum(_) => "sum_over_time",
                MetricsFunction::Quantile(..) => "quantile_over_time",
                MetricsFunction::Histogram(_) => "histogram_over_time",
                MetricsFunction::Compare { .. } => "compare",
            },
            Self::Constant(_) | Self::Math(..) => "math",
            Self::Filter(inner, ..) | Self::Top(inner, _) | Self::Bottom(inner, _) => inner.name(),
        }
    }

    /// Returns whether the expression contains `compare(..)`.
    pub(super) fn has_comparison(&self) -> bool {
        match self {
            Self::Aggregate(aggregate) => {
                matches!(aggregate.function, MetricsFunction::Compare { .. })
            }
            Self::Constant(_) => false,
            Self::Math(left, _, right) => left.has_comparison() || right.has_comparison(),
            Self::Filter(inner, ..) | Self::Top(inner, _) | Self::Bottom(inner, _) => {
                inner.has_comparison()
            }
        }
    }
}
