//! TraceQL: text to a checked query.
//!
//! - [`lexer`]: tokens. [`parser`]: spansets, pipelines and metrics. [`field_parser`]: the
//!   expression within braces. [`checker`]: types, and the form that is evaluated.
//! - All of TraceQL but comparisons of two aggregates. Besides, attributes and intrinsics of the
//!   parent (`parent.a`), and fields of our own: `service`, `operation`, `topic`, `partition`,
//!   `offset`, `group`, `lag` (messages, or with a unit the time in the topic), `queue_time`.
//! - `with (..)` is accepted without effect: nothing is sampled, and the newest come first anyway.
//! - A number beside a duration is in seconds, the unit of OpenTelemetry's metrics.

mod arithmetic;
mod checked_query;
mod checker;
mod condition;
mod field_parser;
pub(crate) mod lexer;
mod literal;
mod metrics_query;
mod operand;
mod parser;
mod query_value;
mod selected_field;
mod spanset_query;
mod stage_parser;
mod token_cursor;

pub use self::arithmetic::ArithmeticOperator;
pub use self::checked_query::TraceqlQuery;
pub use self::condition::{QueryField, SpanCondition, ValueExpression};
pub use self::metrics_query::{MetricsAggregate, MetricsExpression, MetricsFunction};
pub use self::query_value::QueryValue;
pub use self::selected_field::SelectedField;
pub use self::spanset_query::{
    AggregateFilter, AggregateFunction, GroupKey, PipelineStage, SpansetExpression,
    SpansetOperator, StructuralRelation,
};
use crate::syntax_error::SyntaxError;

/// Parses and checks a query.
pub(crate) fn parse(text: &str) -> Result<TraceqlQuery, SyntaxError> {
    parser::parse(&lexer::tokenize(text)?)
}

/// Returns whether a text begins as a pipeline without a spanset does: `count() > 2`.
pub(crate) fn begins_with_stage(text: &str) -> bool {
    let word: &str = text
        .split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .next()
        .unwrap_or_default();
    let rest = text.get(word.len()..).unwrap_or_default();
    // A number begins arithmetic with metrics: `100 * ({} | rate())`.
    let is_number = text.starts_with(|it: char| it.is_ascii_digit() || it == '-')
        && text.contains('{')
        && !text.contains('=');
    stage_parser::is_stage(word) && rest.trim_start().starts_with('(') || is_number
}

/// Parses the name of a field, such as `span.http.route` or `duration`.
///
/// # Errors
/// Returns the remedy when there is no such field.
pub fn parse_field(name: &str) -> Result<QueryField, SyntaxError> {
    let tokens = lexer::tokenize(name)?;
    match tokens.as_slice() {
        [
            lexer::QueryToken {
                kind: lexer::TokenKind::Word { text, is_key },
                ..
            },
        ] => literal::field(text, *is_key).map_err(|message| SyntaxError::at(0, message)),
        _ => Err(SyntaxError::at(
            0,
            "expected a field, as in span.http.route or duration",
        )),
    }
}
