//! The query line: TraceQL as far as it goes, logfmt as in Jaeger, or a bare id.
//!
//! Of TraceQL (grafana.com/docs/tempo/latest/traceql) are understood: `{ .. }` with intrinsics, attributes of all scopes, all comparisons,
//! `&&`, `||`, `!` and parentheses; spansets joined by `&&` and `||`; `| count() > 2`. `| select(..)` and `with (..)` change nothing here,
//! since whole traces are given and the newest come first anyway. Structure (`>>`, `>`, `~`) and the other aggregates are refused by name.
//!
//! Our own words: `service`, `operation`, `topic`, `partition`, `offset`, `group`, `lag` (messages, or with a unit the time in the topic)
//! and `queue_time`.

mod lexer;
mod literal;
mod traceql;

use throughline_model::{SpanId, TraceId};
use throughline_store::{Expression, Field, Filter, Scope, Test};

use self::lexer::{Lexeme, Token};

/// Why a query is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// What to do about it.
    pub(crate) message: String,
    /// Where, in characters from 0.
    pub(crate) position: usize,
}

/// What a query line asks for.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    /// Something of the trace.
    Trace(Expression),
    /// Something of a span, which holds together with what else is asked of it.
    Span(Filter),
}

/// Reads a query line; `None` when it is empty.
pub(crate) fn parse(text: &str) -> Result<Option<Asked>, Mistake> {
    if text.chars().count() > LENGTH_MAX {
        return Err(Mistake::at(
            LENGTH_MAX,
            format!("a query has at most {LENGTH_MAX} characters"),
        ));
    }
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(None);
    }
    if let Some(expression) = id(trimmed) {
        return Ok(Some(Asked::Trace(expression)));
    }
    let tokens = lexer::tokens(text)?;
    match tokens.first() {
        Some(Token {
            lexeme: Lexeme::Symbol("{" | "("),
            ..
        }) => traceql::parse(&tokens).map(|it| Some(Asked::Trace(it))),
        _ => logfmt(&tokens).map(|filter| Some(Asked::Span(filter))),
    }
}

/// A bare id: 32 hex digits are a trace, 16 a span or a short trace.
fn id(text: &str) -> Option<Expression> {
    let is = |field, id: String| Filter::Is(field, Test::equal(&id));
    let filter = match text.len() {
        32 => is(Field::TraceId, TraceId::from_hex(text)?.to_string()),
        16 => Filter::Any(vec![
            is(Field::Id, SpanId::from_hex(text)?.to_string()),
            is(Field::TraceId, TraceId::from_hex(text)?.to_string()),
        ]),
        _ => return None,
    };
    Some(Expression::Spans(filter))
}

/// `key=value key="other value"`: all must hold on one span.
fn logfmt(tokens: &[Token]) -> Result<Filter, Mistake> {
    let mut parts = Vec::new();
    let mut rest = tokens;
    while let Some((key, tail)) = rest.split_first() {
        let (Lexeme::Word { text: name, .. } | Lexeme::Quoted(name)) = &key.lexeme else {
            return Err(key.unexpected("a key, as in key=value, or { .. } around a TraceQL query"));
        };
        let Some((
            Token {
                lexeme: Lexeme::Symbol("="),
                ..
            },
            tail,
        )) = tail.split_first()
        else {
            let message = format!(
                "{name:?} is no condition: write {name}=value, or {{ .. }} around a TraceQL query"
            );
            return Err(Mistake::at(key.position, message));
        };
        let Some((
            Token {
                lexeme: Lexeme::Word { text: value, .. } | Lexeme::Quoted(value),
                ..
            },
            tail,
        )) = tail.split_first()
        else {
            return Err(Mistake::at(
                key.end,
                format!("a value is missing: write {name}=value"),
            ));
        };
        parts.push(Filter::Is(
            Field::Attribute(Scope::Tag, name.clone()),
            Test::equal(value),
        ));
        rest = tail;
    }
    Ok(Filter::All(parts))
}

// === impl Mistake ===

impl Mistake {
    pub(crate) fn at(position: usize, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            position,
        }
    }
}

/// Characters of a query.
const LENGTH_MAX: usize = 4096;

#[cfg(test)]
mod tests;
