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
mod syntax_error;
mod traceql;

use throughline_model::{SpanId, TraceId};
use throughline_store::{AttributeScope, SpanField, SpanFilter, TraceExpression, ValuePredicate};

use self::lexer::{QueryToken, TokenKind};
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
    let tokens = lexer::tokenize(text)?;
    match tokens.first() {
        // No logfmt pair begins with a bracket.
        Some(QueryToken {
            kind: TokenKind::Symbol("{" | "("),
            ..
        }) => {
            let expression = traceql::parse(&tokens)?;
            Ok(Some(ParsedQuery::Trace(expression)))
        }
        _ => parse_logfmt(&tokens).map(|filter| Some(ParsedQuery::Span(filter))),
    }
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

/// Parses `key=value key="other value"`: all pairs must hold on one span.
fn parse_logfmt(tokens: &[QueryToken]) -> Result<SpanFilter, SyntaxError> {
    let mut parts = Vec::new();
    let mut rest = tokens;
    while let Some((key, tail)) = rest.split_first() {
        let (TokenKind::Word { text: name, .. } | TokenKind::Quoted(name)) = &key.kind else {
            let expected = "a key, as in key=value, or { .. } around a TraceQL query";
            return Err(key.unexpected(expected));
        };
        let Some((
            QueryToken {
                kind: TokenKind::Symbol("="),
                ..
            },
            tail,
        )) = tail.split_first()
        else {
            let message = format!(
                "{name:?} is not a condition: write {name}=value, \
                 or {{ .. }} around a TraceQL query"
            );
            return Err(SyntaxError::at(key.position, message));
        };
        let Some((
            QueryToken {
                kind: TokenKind::Word { text: value, .. } | TokenKind::Quoted(value),
                ..
            },
            tail,
        )) = tail.split_first()
        else {
            return Err(SyntaxError::at(
                key.end,
                format!("a value is missing: write {name}=value"),
            ));
        };
        parts.push(SpanFilter::Is(
            SpanField::Attribute(AttributeScope::JaegerTag, name.clone()),
            ValuePredicate::equal(value),
        ));
        rest = tail;
    }
    Ok(SpanFilter::All(parts))
}

#[cfg(test)]
mod tests;
