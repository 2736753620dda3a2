//! The query language: parses a query line and evaluates it over a [`Store`].
//!
//! A query line is TraceQL (grafana.com/docs/tempo/latest/traceql), logfmt as in Jaeger, or a bare
//! id; see [`parse`]. Most searches for traces can be expressed as the store's own
//! [`TraceExpression`]; all others, such as structural operators, pipelines and metrics, select
//! candidates with the store and evaluate each trace here.
//!
//! | module | duty |
//! |---|---|
//! | [`traceql`] | tokens, parser, checker: text to [`TraceqlQuery`] |
//! | [`logfmt`] | `key=value` pairs |
//! | [`evaluate`] | the spansets of one trace that match a query |
//! | [`candidate`] | the store's condition that every matching trace satisfies |
//! | [`search`] | pages of matching traces, in an order |
//! | [`metrics`] | time series over matching spans |
#![forbid(unsafe_code)]

mod candidate;
mod evaluate;
mod logfmt;
mod metrics;
mod search;
mod syntax_error;
mod traceql;

use throughline_model::{SpanId, TraceId};
#[cfg(doc)]
use throughline_store::Store;
use throughline_store::{SpanField, SpanFilter, TraceExpression, ValuePredicate};

pub use self::candidate::Candidates;
pub use self::evaluate::{MatchedSpanset, TraceView};
pub use self::metrics::{
    MetricSample, MetricSeries, MetricsError, MetricsRange, MetricsResult, evaluate_metrics,
};
pub use self::search::{MatchedTrace, SearchRequest, search_matches};
pub use self::syntax_error::SyntaxError;
pub use self::traceql::{
    AggregateFilter, AggregateFunction, ArithmeticOperator, GroupKey, MetricsAggregate,
    MetricsExpression, MetricsFunction, PipelineStage, QueryField, QueryValue, SelectedField,
    SpanCondition, SpansetExpression, SpansetOperator, StructuralRelation, TraceqlQuery,
    ValueExpression, parse_field,
};

/// Maximum length of a query, in characters.
const MAX_LENGTH: usize = 4096;

/// A parsed query line.
#[derive(Debug, Clone)]
pub enum ParsedQuery {
    /// A TraceQL query for spansets.
    Spansets(SpansetExpression),
    /// A TraceQL query for metrics.
    Metrics(MetricsExpression),
    /// A condition on one span, which must hold together with the other conditions on that span.
    Span(SpanFilter),
    /// A condition on the trace.
    Trace(TraceExpression),
}

/// Parses a query line; returns `None` for an empty one.
///
/// # Errors
/// Returns the position and the remedy of the first mistake.
pub fn parse(text: &str) -> Result<Option<ParsedQuery>, SyntaxError> {
    check_length(text)?;
    // Only ids are trimmed: positions in errors refer to the text as typed.
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(None);
    }
    if let Some(expression) = parse_id(trimmed) {
        return Ok(Some(ParsedQuery::Trace(expression)));
    }
    // No logfmt pair begins with a bracket, or with a word and a parenthesis.
    if trimmed.starts_with(['{', '(']) || traceql::begins_with_stage(trimmed) {
        return parse_traceql(text).map(Some);
    }
    logfmt::parse(text).map(|filter| Some(ParsedQuery::Span(filter)))
}

/// Parses a TraceQL query.
///
/// # Errors
/// Returns the position and the remedy of the first mistake.
pub fn parse_traceql(text: &str) -> Result<ParsedQuery, SyntaxError> {
    check_length(text)?;
    Ok(match traceql::parse(text)? {
        TraceqlQuery::Spansets(expression) => ParsedQuery::Spansets(expression),
        TraceqlQuery::Metrics(expression) => ParsedQuery::Metrics(expression),
    })
}

/// Parses logfmt, `key=value` pairs that hold together on one span.
///
/// # Errors
/// Returns the position and the remedy of the first mistake.
pub fn parse_logfmt(text: &str) -> Result<SpanFilter, SyntaxError> {
    check_length(text)?;
    logfmt::parse(text)
}

fn check_length(text: &str) -> Result<(), SyntaxError> {
    if text.chars().count() > MAX_LENGTH {
        return Err(SyntaxError::at(
            MAX_LENGTH,
            format!("a query has at most {MAX_LENGTH} characters"),
        ));
    }
    Ok(())
}

/// Parses a bare id: 32 hex digits are a trace id, 16 a span id or a 64-bit trace id.
fn parse_id(text: &str) -> Option<TraceExpression> {
    let is = |field, id: String| SpanFilter::Is(field, ValuePredicate::equal(&id));
    let filter = match text.len() {
        32 => is(SpanField::TraceId, TraceId::from_hex(text)?.to_string()),
        // Both are possible: 64-bit trace ids are common with Zipkin.
        16 => SpanFilter::Any(vec![
            is(SpanField::Id, SpanId::from_hex(text)?.to_string()),
            is(SpanField::TraceId, TraceId::from_hex(text)?.to_string()),
        ]),
        _ => return None,
    };
    Some(TraceExpression::Spans(filter))
}

#[cfg(test)]
mod tests;
