//! Parses the expression within braces into a syntax tree; the checker gives it a meaning.
//!
//! From loosest to tightest: `||`, `&&`, comparisons, `+ -`, `* / %`, `^`, and `! -` before a
//! value.

use super::arithmetic::ArithmeticOperator;
use super::condition::QueryField;
use super::lexer::TokenKind;
use super::literal::{self, FilterOperator, QueryLiteral};
use super::token_cursor::TokenCursor;
use crate::syntax_error::SyntaxError;

/// Precedence of `^`, the only operator that is evaluated from the right.
const POWER_LEVEL: u8 = 3;

/// A node of the syntax tree and its position.
#[derive(Debug, Clone)]
pub(super) struct FieldExpression {
    pub(super) position: usize,
    pub(super) node: FieldNode,
}

/// The kind of a node.
#[derive(Debug, Clone)]
pub(super) enum FieldNode {
    Field(QueryField),
    Literal(QueryLiteral),
    Not(Box<FieldExpression>),
    Negate(Box<FieldExpression>),
    All(Vec<FieldExpression>),
    Any(Vec<FieldExpression>),
    Compare(Box<FieldExpression>, FilterOperator, Box<FieldExpression>),
    Arithmetic(
        Box<FieldExpression>,
        ArithmeticOperator,
        Box<FieldExpression>,
    ),
}

/// Parses a condition.
pub(super) fn condition(cursor: &mut TokenCursor<'_>) -> Result<FieldExpression, SyntaxError> {
    // `&&` binds tighter than `||`, as in TraceQL.
    let position = cursor.position();
    let mut any = vec![conjunction(cursor)?];
    while cursor.take("||") {
        any.push(conjunction(cursor)?);
    }
    Ok(single(position, any, FieldNode::Any))
}

/// Parses a value without comparisons, as the argument of a function.
pub(super) fn value(cursor: &mut TokenCursor<'_>) -> Result<FieldExpression, SyntaxError> {
    arithmetic(cursor, 1)
}

fn conjunction(cursor: &mut TokenCursor<'_>) -> Result<FieldExpression, SyntaxError> {
    let position = cursor.position();
    let mut all = vec![comparison(cursor)?];
    while cursor.take("&&") {
        all.push(comparison(cursor)?);
    }
    Ok(single(position, all, FieldNode::All))
}

fn comparison(cursor: &mut TokenCursor<'_>) -> Result<FieldExpression, SyntaxError> {
    let left = arithmetic(cursor, 1)?;
    let Some(operator) = cursor.symbol().and_then(FilterOperator::from_symbol) else {
        return Ok(left);
    };
    cursor.advance();
    let right = operand(cursor)?;
    Ok(FieldExpression {
        position: left.position,
        node: FieldNode::Compare(Box::new(left), operator, Box::new(right)),
    })
}

/// Parses the right side of a comparison, where a word without quotes is probably a text.
fn operand(cursor: &mut TokenCursor<'_>) -> Result<FieldExpression, SyntaxError> {
    // With what follows, so that the errors show the whole text in quotes.
    if let Some("=" | ">" | "<" | "}" | ")" | "/" | "~") = cursor.symbol() {
        let run = cursor.unquoted_run(cursor.index());
        let mut error = cursor.unexpected("a value");
        // A path: `{ .http.route = /pay }`.
        if run.len() > 1 && cursor.symbol() == Some("/") {
            let quoting = format!(": put texts in quotes, as in {:?}", run.concat());
            error.message.push_str(&quoting);
        }
        return Err(error);
    }
    if let Some(word) = cursor.word()
        && let QueryLiteral::Word(_) = QueryLiteral::from_word(word)
        && literal::field(word, false).is_err()
    {
        let run = cursor.unquoted_run(cursor.index());
        if run.len() > 1 {
            let run = run.concat();
            let message = format!("texts need quotes: write {run:?}");
            return Err(SyntaxError::at(cursor.position(), message));
        }
    }
    arithmetic(cursor, 1)
}

/// Parses arithmetic of at least this precedence.
fn arithmetic(cursor: &mut TokenCursor<'_>, least: u8) -> Result<FieldExpression, SyntaxError> {
    let mut left = unary(cursor)?;
    let mut chain = 0;
    while let Some(operator) = cursor.symbol().and_then(ArithmeticOperator::from_symbol) {
        let level = level(operator);
        if level < least {
            break;
        }
        cursor.count(&mut chain)?;
        cursor.advance();
        cursor.enter()?;
        let is_right = level == POWER_LEVEL;
        let right = arithmetic(cursor, if is_right { level } else { level + 1 })?;
        cursor.leave();
        left = FieldExpression {
            position: left.position,
            node: FieldNode::Arithmetic(Box::new(left), operator, Box::new(right)),
        };
    }
    Ok(left)
}

const fn level(operator: ArithmeticOperator) -> u8 {
    match operator {
        ArithmeticOperator::Add | ArithmeticOperator::Subtract => 1,
        ArithmeticOperator::Multiply
        | ArithmeticOperator::Divide
        | ArithmeticOperator::Remainder => 2,
        ArithmeticOperator::Power => POWER_LEVEL,
    }
}

fn unary(cursor: &mut TokenCursor<'_>) -> Result<FieldExpression, SyntaxError> {
    let position = cursor.position();
    let node = if cursor.take("!") {
        cursor.enter()?;
        let inner = unary(cursor)?;
        cursor.leave();
        FieldNode::Not(Box::new(inner))
    } else if cursor.take("-") {
        cursor.enter()?;
        let inner = unary(cursor)?;
        cursor.leave();
        // A negative literal is one value: the store compares it without arithmetic.
        if let FieldNode::Literal(QueryLiteral::Number(text, number)) = inner.node {
            FieldNode::Literal(QueryLiteral::Number(format!("-{text}"), -number))
        } else {
            FieldNode::Negate(Box::new(inner))
        }
    } else if cursor.take("(") {
        cursor.enter()?;
        let inner = condition(cursor)?;
        cursor.expect(")")?;
        cursor.leave();
        return Ok(inner);
    } else {
        primary(cursor)?
    };
    Ok(FieldExpression { position, node })
}

fn primary(cursor: &mut TokenCursor<'_>) -> Result<FieldNode, SyntaxError> {
    let expected = "a field or a value, as in span.http.route, duration or 200ms";
    let Some(token) = cursor.peek() else {
        return Err(cursor.unexpected(expected));
    };
    let (text, is_key) = match &token.kind {
        TokenKind::Quoted(text) => {
            cursor.advance();
            return Ok(FieldNode::Literal(QueryLiteral::Text(text.clone())));
        }
        TokenKind::Symbol(_) => return Err(cursor.unexpected(expected)),
        TokenKind::Word { text, is_key } => (text, *is_key),
    };
    let node = match literal::field(text, is_key) {
        Ok(field) => FieldNode::Field(field),
        Err(message) if is_key || text.starts_with('.') => {
            return Err(SyntaxError::at(token.position, message));
        }
        Err(_) => FieldNode::Literal(QueryLiteral::from_word(text)),
    };
    cursor.advance();
    Ok(node)
}

/// Returns the only part, or joins several.
fn single(
    position: usize,
    mut parts: Vec<FieldExpression>,
    join: fn(Vec<FieldExpression>) -> FieldNode,
) -> FieldExpression {
    if parts.len() == 1
        && let Some(only) = parts.pop()
    {
        return only;
    }
    FieldExpression {
        position,
        node: join(parts),
    }
}
