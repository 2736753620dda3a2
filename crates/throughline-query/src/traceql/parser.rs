//! Parses whole queries: spansets, pipelines, metrics and arithmetic with metrics.
//!
//! Operands are spansets, metrics or numbers, and the type of the left one decides what an operator
//! means: `>` is "child of" between spansets, and a comparison after metrics. From loosest to
//! tightest, spansets: `||`, `&&`, structural operators; metrics: comparisons, `+ -`, `* /`.

use throughline_store::ComparisonOperator;

use super::arithmetic::ArithmeticOperator;
use super::checked_query::TraceqlQuery;
use super::lexer::{QueryToken, TokenKind};
use super::literal::{self, QueryLiteral};
use super::metrics_query::MetricsExpression;
use super::operand::{QueryOperand, SUM_LEVEL, no_further_stage, span_filter};
use super::query_value::SECOND;
use super::spanset_query::{SpansetExpression, SpansetOperator};
use super::stage_parser;
use super::token_cursor::TokenCursor;
use crate::syntax_error::SyntaxError;

/// An operator and its precedence.
#[derive(Clone, Copy)]
enum OperandOperator {
    Spansets(SpansetOperator),
    Math(ArithmeticOperator),
    Compare(ComparisonOperator),
}

/// Parses a whole query.
pub(super) fn parse(tokens: &[QueryToken]) -> Result<TraceqlQuery, SyntaxError> {
    let mut cursor = TokenCursor::new(tokens);
    let operand = pipeline(&mut cursor)?;
    if cursor.word() == Some("with") {
        cursor.advance();
        skip_hints(&mut cursor)?;
    }
    if cursor.peek().is_some() {
        return Err(cursor.unexpected("the end, an operator or |"));
    }
    match operand {
        QueryOperand::Spansets(expression) => Ok(TraceqlQuery::Spansets(expression)),
        QueryOperand::Metrics(expression) => Ok(TraceqlQuery::Metrics(expression)),
        QueryOperand::Number(_) | QueryOperand::Seconds(_) => Err(SyntaxError::at(
            0,
            "a query needs spansets, as in { duration > 1s }, and not only numbers",
        )),
    }
}

/// Parses operands and the stages behind them.
fn pipeline(cursor: &mut TokenCursor<'_>) -> Result<QueryOperand, SyntaxError> {
    // `count() > 2` alone is a pipeline over all spans.
    let mut operand = if stage_parser::begins_stage(cursor) {
        if cursor.word() == Some("coalesce") {
            return Err(cursor.unexpected("spansets before coalesce(), as in {} | by(name)"));
        }
        let every = QueryOperand::Spansets(SpansetExpression::every_span());
        stage_parser::stage(cursor, every, operands)?
    } else {
        operands(cursor, 1)?
    };
    let mut chain = 0;
    while cursor.take("|") {
        cursor.count(&mut chain)?;
        operand = stage_parser::stage(cursor, operand, operands)?;
    }
    Ok(operand)
}

/// Parses operators of at least this precedence and their operands.
fn operands(cursor: &mut TokenCursor<'_>, least: u8) -> Result<QueryOperand, SyntaxError> {
    let mut left = operand(cursor)?;
    let mut chain = 0;
    while let Some(symbol) = cursor.symbol()
        && let Some((operator, level)) = operator(symbol, &left)
        && level >= least
    {
        let position = cursor.position();
        cursor.count(&mut chain)?;
        cursor.advance();
        cursor.enter()?;
        let right_position = cursor.position();
        let right = operands(cursor, level + 1)?;
        cursor.leave();
        left = combine(left, (operator, symbol, position), right, right_position)?;
    }
    Ok(left)
}

/// Parses one operand: a spanset, something in parentheses, or a number.
fn operand(cursor: &mut TokenCursor<'_>) -> Result<QueryOperand, SyntaxError> {
    if cursor.take("(") {
        cursor.enter()?;
        let inner = pipeline(cursor)?;
        cursor.expect(")")?;
        cursor.leave();
        return Ok(inner);
    }
    if cursor.symbol() == Some("{") {
        let filter = span_filter(cursor)?;
        return Ok(QueryOperand::Spansets(SpansetExpression::Filter(filter)));
    }
    if cursor.take("-") {
        let position = cursor.position();
        cursor.enter()?;
        let inner = operand(cursor)?;
        cursor.leave();
        return match inner {
            QueryOperand::Number(number) => Ok(QueryOperand::Number(-number)),
            QueryOperand::Seconds(number) => Ok(QueryOperand::Seconds(-number)),
            QueryOperand::Spansets(_) | QueryOperand::Metrics(_) => {
                Err(SyntaxError::at(position, "expected a number after `-`"))
            }
        };
    }
    let expected = "`{`, the beginning of a spanset";
    if let Some(word) = cursor.word() {
        let number = match QueryLiteral::from_word(word) {
            QueryLiteral::Number(_, number) => QueryOperand::Number(number),
            QueryLiteral::Time(time) => {
                #[expect(clippy::cast_precision_loss, reason = "a threshold need not be exact")]
                let seconds = time as f64 / SECOND;
                QueryOperand::Seconds(seconds)
            }
            QueryLiteral::Text(_)
            | QueryLiteral::Boolean(_)
            | QueryLiteral::Nil
            | QueryLiteral::Word(_) => return Err(cursor.unexpected(expected)),
        };
        cursor.advance();
        return Ok(number);
    }
    Err(cursor.unexpected(expected))
}

/// Returns what a symbol means behind an operand, and its precedence.
fn operator(symbol: &str, left: &QueryOperand) -> Option<(OperandOperator, u8)> {
    if let QueryOperand::Spansets(_) = left {
        let operator = SpansetOperator::from_symbol(symbol)?;
        let level = match operator {
            SpansetOperator::Or => 1,
            SpansetOperator::And => 2,
            SpansetOperator::Related(_)
            | SpansetOperator::Unrelated(_)
            | SpansetOperator::Union(_) => 3,
        };
        return Some((OperandOperator::Spansets(operator), level));
    }
    if let Some(operator) = ArithmeticOperator::from_symbol(symbol) {
        let level = match operator {
            ArithmeticOperator::Add | ArithmeticOperator::Subtract => SUM_LEVEL,
            ArithmeticOperator::Multiply | ArithmeticOperator::Divide => SUM_LEVEL + 1,
            ArithmeticOperator::Remainder | ArithmeticOperator::Power => return None,
        };
        return Some((OperandOperator::Math(operator), level));
    }
    let comparison = literal::comparison(symbol)?;
    Some((OperandOperator::Compare(comparison), SUM_LEVEL - 1))
}

fn combine(
    left: QueryOperand,
    (operator, symbol, position): (OperandOperator, &str, usize),
    right: QueryOperand,
    right_position: usize,
) -> Result<QueryOperand, SyntaxError> {
    use QueryOperand::{Metrics, Number, Seconds, Spansets};
    Ok(match (left, operator, right) {
        (Spansets(left), OperandOperator::Spansets(operator), Spansets(right)) => Spansets(
            SpansetExpression::Combine(Box::new(left), operator, Box::new(right)),
        ),
        (Number(left), OperandOperator::Math(operator), Number(right)) => {
            Number(operator.apply(left, right))
        }
        (left, OperandOperator::Math(operator), right) => {
            let left = metrics(left, symbol, position)?;
            let right = metrics(right, symbol, right_position)?;
            if left.has_comparison() || right.has_comparison() {
                return Err(no_further_stage(position));
            }
            Metrics(MetricsExpression::Math(
                Box::new(left),
                operator,
                Box::new(right),
            ))
        }
        (Metrics(left), OperandOperator::Compare(operator), Number(right) | Seconds(right)) => {
            if left.has_comparison() {
                return Err(no_further_stage(position));
            }
            Metrics(MetricsExpression::Filter(Box::new(left), operator, right))
        }
        (Metrics(_), OperandOperator::Compare(_), _) => {
            let message = "metrics are compared with a number, as in rate() > 10";
            return Err(SyntaxError::at(right_position, message));
        }
        (_, OperandOperator::Compare(_), _) => {
            let message = "a comparison needs metrics or a field on its left side: write the field \
                           in braces, as in { duration > 1s }";
            return Err(SyntaxError::at(position, message));
        }
        (_, OperandOperator::Spansets(_), _) => {
            let message = format!("expected a spanset in braces on both sides of `{symbol}`");
            return Err(SyntaxError::at(right_position, message));
        }
    })
}

/// Returns an operand of arithmetic.
fn metrics(
    operand: QueryOperand,
    symbol: &str,
    position: usize,
) -> Result<MetricsExpression, SyntaxError> {
    match operand {
        QueryOperand::Metrics(expression) => Ok(expression),
        QueryOperand::Number(number) => Ok(MetricsExpression::Constant(number)),
        QueryOperand::Spansets(_) => Err(SyntaxError::at(
            position,
            format!(
                "`{symbol}` combines metrics and numbers: put each pipeline in parentheses, as in \
                 ({{}} | rate()) {symbol} 2"
            ),
        )),
        QueryOperand::Seconds(_) => Err(SyntaxError::at(
            position,
            format!("`{symbol}` takes a number without a unit; durations are in seconds"),
        )),
    }
}

/// Skips hints such as `(most_recent=true)`, which have no effect here.
fn skip_hints(cursor: &mut TokenCursor<'_>) -> Result<(), SyntaxError> {
    cursor.expect("(")?;
    while !cursor.take(")") {
        let is_hint = matches!(
            cursor.peek().map(|token| &token.kind),
            Some(
                TokenKind::Word { .. } | TokenKind::Quoted(_) | TokenKind::Symbol("=" | "," | "-")
            )
        );
        if !is_hint {
            return Err(cursor.unexpected("a hint, as in most_recent=true, or `)`"));
        }
        cursor.advance();
    }
    Ok(())
}
