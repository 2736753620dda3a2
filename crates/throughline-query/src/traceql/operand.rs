//! The operands of a query, and what the parsers of operators and of stages share.

use super::checker;
use super::condition::SpanCondition;
use super::field_parser;
use super::metrics_query::MetricsExpression;
use super::spanset_query::SpansetExpression;
use super::token_cursor::TokenCursor;
use crate::syntax_error::SyntaxError;

/// Precedence of `+` and `-` between metrics; comparisons are one looser.
pub(super) const SUM_LEVEL: u8 = 4;

/// An operand of a query.
pub(super) enum QueryOperand {
    Spansets(SpansetExpression),
    Metrics(MetricsExpression),
    Number(f64),
    /// Duration in seconds, which only a comparison can have.
    Seconds(f64),
}

/// A parser of operators of at least a precedence, and of their operands.
pub(super) type OperandParser = fn(&mut TokenCursor<'_>, u8) -> Result<QueryOperand, SyntaxError>;

/// Parses `{ .. }`.
pub(super) fn span_filter(cursor: &mut TokenCursor<'_>) -> Result<SpanCondition, SyntaxError> {
    cursor.expect("{")?;
    if cursor.take("}") {
        return Ok(SpanCondition::always());
    }
    let expression = field_parser::condition(cursor)?;
    if !cursor.take("}") {
        return Err(cursor.unclosed());
    }
    checker::condition(&expression)
}

/// Returns the error for a stage or operator after `compare(..)`.
pub(super) fn no_further_stage(position: usize) -> SyntaxError {
    SyntaxError::at(
        position,
        "compare() is the last stage: its series are counts of values, not one measure",
    )
}
