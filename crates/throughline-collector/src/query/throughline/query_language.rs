//! The query line: a subset of TraceQL, logfmt as in Jaeger, or a bare id.
//!
//! The subset of TraceQL (grafana.com/docs/tempo/latest/traceql): `{ .. }` with intrinsics,
//! attributes of all scopes, all comparisons, `&&`, `||`, `!` and parentheses; spansets joined by
//! `&&` and `||`; `| count() > 2`. `| select(..)` and `with (..)` are accepted without effect,
//! since whole traces are returned and the newest come first anyway. Structural operators (`>>`,
//! `>`, `~`) and the other aggregates are rejected by name.
//!
//! Fields of our own: `service`, `operation`, `topic`, `partition`, `offset`, `group`, `lag`
//! (messages, or with a unit the time in the topic) and `queue_time`.

mod lexer;
mod literal;
mod logfmt;
mod syntax_error;
mod traceql;

use throughline_model::{SpanId, TraceId};
use throughline_store::{SpanField, SpanFilter, TraceExpression, ValuePredicate};

pub(crate) use self::syntax_error::SyntaxError;

/// Maximum length of a query, in characters.
const MAX_LENGTH: usize = 4096;

/// A parsed query line.
#[derive(Debug, Clone)]
pub(crate) enum ParsedQuery {
    /// A condition on the trace.
    Trace(TraceExpression),
    /// A condition on one span, which must hold together with the other conditions on that span.
    Span(SpanFilter),
}

/// Parses a query line; returns `None` for an empty one.
pub(crate) fn parse(text: &str) -> Result<Option<ParsedQuery>, SyntaxError> {
    if text.chars().count() > MAX_LENGTH {
        return Err(SyntaxError::at(
            MAX_LENGTH,
            format!("a query has at most {MAX_LENGTH} characters"),
        ));
    }
    // Only ids are trimmed: positions in errors refer to the text as typed.
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(None);
    }
    if let Some(expression) = parse_id(trimmed) {
        return Ok(Some(ParsedQuery::Trace(expression)));
    }
    // No logfmt pair begins with a bracket.
    if trimmed.starts_with(['{', '(']) {
        let expression = traceql::parse(&lexer::tokenize(text)?)?;
        return Ok(Some(ParsedQuery::Trace(expression)));
    }
    logfmt::parse(text).map(|filter| Some(ParsedQuery::Span(filter)))
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
