//! The result of the parser.

use super::metrics_query::MetricsExpression;
use super::spanset_query::SpansetExpression;

/// A checked query.
#[derive(Debug, Clone)]
pub enum TraceqlQuery {
    /// Spansets of matching traces.
    Spansets(SpansetExpression),
    /// Time series.
    Metrics(MetricsExpression),
}
