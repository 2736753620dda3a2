//! Parses the stages of a pipeline.

use super::checker;
use super::condition::SpanCondition;
use super::field_parser;
use super::literal::{self, QueryLiteral};
use super::metrics_query::{MetricsAggregate, MetricsExpression, MetricsFunction};
use super::operand::{OperandParser, QueryOperand, SUM_LEVEL, no_further_stage, span_filter};
use super::query_value::QueryValue;
use super::spanset_query::{
    AggregateFilter, AggregateFunction, GroupKey, PipelineStage, SpansetExpression,
};
use super::token_cursor::TokenCursor;
use crate::syntax_error::SyntaxError;

/// Names of all stages.
const STAGES: [&str; 19] = [
    "count",
    "avg",
    "min",
    "max",
    "sum",
    "by",
    "coalesce",
    "select",
    "rate",
    "count_over_time",
    "min_over_time",
    "max_over_time",
    "avg_over_time",
    "sum_over_time",
    "quantile_over_time",
    "histogram_over_time",
    "compare",
    "topk",
    "bottomk",
];

/// Maximum number of labels, selected fields and quantiles.
const MAX_LIST: usize = 32;

/// Default number of values of each attribute in `compare(..)`.
const DEFAULT_TOP: usize = 10;

/// Maximum number for `topk(..)`, `bottomk(..)` and `compare(..)`.
const MAX_TOP: usize = 1000;

/// Returns whether a word is the name of a stage.
pub(super) fn is_stage(word: &str) -> bool {
    STAGES.contains(&word)
}

/// Returns whether a stage begins here.
pub(super) fn begins_stage(cursor: &TokenCursor<'_>) -> bool {
    cursor.word().is_some_and(is_stage) && cursor.is_followed_by("(")
}

/// Parses one stage behind an operand.
pub(super) fn stage(
    cursor: &mut TokenCursor<'_>,
    input: QueryOperand,
    operands: OperandParser,
) -> Result<QueryOperand, SyntaxError> {
    let position = cursor.position();
    let operand = match input {
        QueryOperand::Spansets(spansets) => spanset_stage(cursor, spansets, operands)?,
        QueryOperand::Metrics(metrics) => QueryOperand::Metrics(metrics_stage(cursor, metrics)?),
        QueryOperand::Number(_) | QueryOperand::Seconds(_) => {
            let message = "a stage needs spansets before it, as in {} | rate()";
            return Err(SyntaxError::at(position, message));
        }
    };
    let QueryOperand::Metrics(mut metrics) = operand else {
        return Ok(operand);
    };
    let mut chain = 0;
    while let Some(comparison) = cursor.symbol().and_then(literal::comparison) {
        cursor.count(&mut chain)?;
        if metrics.has_comparison() {
            return Err(no_further_stage(cursor.position()));
        }
        cursor.advance();
        let threshold = threshold(cursor, operands)?;
        metrics = MetricsExpression::Filter(Box::new(metrics), comparison, threshold);
    }
    Ok(QueryOperand::Metrics(metrics))
}

/// Parses the number behind a comparison of metrics.
fn threshold(cursor: &mut TokenCursor<'_>, operands: OperandParser) -> Result<f64, SyntaxError> {
    let position = cursor.position();
    match operands(cursor, SUM_LEVEL)? {
        QueryOperand::Number(number) | QueryOperand::Seconds(number) => Ok(number),
        QueryOperand::Spansets(_) | QueryOperand::Metrics(_) => Err(SyntaxError::at(
            position,
            "metrics are compared with a number, as in rate() > 10",
        )),
    }
}

fn spanset_stage(
    cursor: &mut TokenCursor<'_>,
    input: SpansetExpression,
    operands: OperandParser,
) -> Result<QueryOperand, SyntaxError> {
    if let Some("{" | "(") = cursor.symbol() {
        let position = cursor.position();
        return match operands(cursor, 1)? {
            QueryOperand::Spansets(inner) => Ok(QueryOperand::Spansets(
                input.then(PipelineStage::Spansets(inner)),
            )),
            QueryOperand::Metrics(_) | QueryOperand::Number(_) | QueryOperand::Seconds(_) => {
                Err(SyntaxError::at(position, "expected a spanset or a stage"))
            }
        };
    }
    let position = cursor.position();
    let from = cursor.index();
    let Some(word) = cursor.word().filter(|word| is_stage(word)) else {
        let expected = format!("a stage: one of {}", STAGES.join(", "));
        return Err(cursor.unexpected(&expected));
    };
    cursor.advance();
    cursor.expect("(")?;
    let stage = match word {
        "count" => {
            cursor.expect(")")?;
            aggregate_filter(cursor, from, AggregateFunction::Count, None)?
        }
        "avg" | "min" | "max" | "sum" => {
            let value = field_parser::value(cursor)?;
            cursor.expect(")")?;
            let function = match word {
                "avg" => AggregateFunction::Average,
                "min" => AggregateFunction::Minimum,
                "max" => AggregateFunction::Maximum,
                _ => AggregateFunction::Sum,
            };
            let value = checker::number(&value)?;
            aggregate_filter(cursor, from, function, Some(value))?
        }
        "by" => {
            let key = group_key(cursor)?;
            cursor.expect(")")?;
            PipelineStage::Group(key)
        }
        "coalesce" => {
            cursor.expect(")")?;
            PipelineStage::Coalesce
        }
        "select" => PipelineStage::Select(key_list(cursor)?),
        "topk" | "bottomk" => {
            let message = format!("{word}() selects among series: put rate() or so before it");
            return Err(SyntaxError::at(position, message));
        }
        _ => return metrics_aggregate(cursor, word, input),
    };
    Ok(QueryOperand::Spansets(input.then(stage)))
}

/// Parses the comparison behind an aggregate.
fn aggregate_filter(
    cursor: &mut TokenCursor<'_>,
    from: usize,
    function: AggregateFunction,
    value: Option<super::ValueExpression>,
) -> Result<PipelineStage, SyntaxError> {
    let label = cursor.written(from, cursor.index());
    let Some(operator) = cursor.symbol().and_then(literal::comparison) else {
        return Err(cursor.unexpected("a comparison, as in count() > 2"));
    };
    cursor.advance();
    if cursor.word().is_some_and(is_stage) {
        return Err(SyntaxError::at(
            cursor.position(),
            "aggregates are compared with a number or a duration; comparing two aggregates is not \
             supported",
        ));
    }
    let literal = constant(cursor)?;
    Ok(PipelineStage::Aggregate(AggregateFilter {
        function,
        value,
        label,
        operator,
        literal,
    }))
}

/// Parses a constant number or duration, which may be computed: `2 / 6`.
fn constant(cursor: &mut TokenCursor<'_>) -> Result<QueryValue, SyntaxError> {
    let position = cursor.position();
    let expression = field_parser::value(cursor)?;
    if let field_parser::FieldNode::Literal(QueryLiteral::Word(word)) = &expression.node {
        let message = format!("expected a number or a duration, found `{word}`");
        return Err(SyntaxError::at(position, message));
    }
    checker::constant(&expression)
}

/// Parses the arguments and labels of a metrics function; its name and `(` are behind.
fn metrics_aggregate(
    cursor: &mut TokenCursor<'_>,
    word: &str,
    spansets: SpansetExpression,
) -> Result<QueryOperand, SyntaxError> {
    let value = |cursor: &mut TokenCursor<'_>| {
        let value = field_parser::value(cursor)?;
        checker::number(&value)
    };
    let function = match word {
        "rate" => MetricsFunction::Rate,
        "count_over_time" => MetricsFunction::Count,
        "min_over_time" => MetricsFunction::Minimum(value(cursor)?),
        "max_over_time" => MetricsFunction::Maximum(value(cursor)?),
        "avg_over_time" => MetricsFunction::Average(value(cursor)?),
        "sum_over_time" => MetricsFunction::Sum(value(cursor)?),
        "histogram_over_time" => MetricsFunction::Histogram(value(cursor)?),
        "quantile_over_time" => {
            let value = value(cursor)?;
            MetricsFunction::Quantile(value, quantiles(cursor)?)
        }
        _ => comparison(cursor)?,
    };
    cursor.expect(")")?;
    let by = if cursor.word() == Some("by") {
        cursor.advance();
        cursor.expect("(")?;
        key_list(cursor)?
    } else {
        Vec::new()
    };
    let aggregate = MetricsAggregate {
        spansets,
        function,
        by,
    };
    Ok(QueryOperand::Metrics(MetricsExpression::Aggregate(
        Box::new(aggregate),
    )))
}

fn quantiles(cursor: &mut TokenCursor<'_>) -> Result<Vec<f64>, SyntaxError> {
    let mut quantiles = Vec::new();
    while cursor.take(",") {
        let word = cursor.word().and_then(|word| word.parse::<f64>().ok());
        let Some(quantile) = word.filter(|it| (0.0..=1.0).contains(it)) else {
            return Err(cursor.unexpected("a quantile from 0 to 1"));
        };
        cursor.advance();
        check_list(cursor, quantiles.len())?;
        quantiles.push(quantile);
    }
    if quantiles.is_empty() {
        return Err(cursor.unexpected("a quantile, as in quantile_over_time(duration, 0.9)"));
    }
    Ok(quantiles)
}

/// Parses the arguments of `compare({ .. }, 10, start, end)`.
fn comparison(cursor: &mut TokenCursor<'_>) -> Result<MetricsFunction, SyntaxError> {
    let selection: SpanCondition = span_filter(cursor)?;
    let mut numbers = Vec::new();
    while cursor.take(",") {
        let Some(number) = cursor.word().and_then(|word| word.parse::<u64>().ok()) else {
            return Err(cursor.unexpected("a whole number"));
        };
        check_list(cursor, numbers.len())?;
        cursor.advance();
        numbers.push(number);
    }
    let (top, range) = match numbers.as_slice() {
        [] => (None, None),
        [top] => (Some(*top), None),
        [top, start, end] => (Some(*top), Some((*start, *end))),
        _ => return Err(cursor.unexpected("compare({ .. }, top, start, end)")),
    };
    let top = match top {
        None => DEFAULT_TOP,
        Some(top) => usize::try_from(top)
            .ok()
            .filter(|top| (1..=MAX_TOP).contains(top))
            .ok_or_else(|| cursor.unexpected(&format!("a number from 1 to {MAX_TOP}")))?,
    };
    Ok(MetricsFunction::Compare {
        selection,
        top,
        range,
    })
}

fn metrics_stage(
    cursor: &mut TokenCursor<'_>,
    input: MetricsExpression,
) -> Result<MetricsExpression, SyntaxError> {
    let position = cursor.position();
    let Some(word @ ("topk" | "bottomk")) = cursor.word() else {
        return Err(cursor.unexpected("topk(10) or bottomk(10), the only stages after metrics"));
    };
    cursor.advance();
    cursor.expect("(")?;
    let number = cursor.word().and_then(|word| word.parse::<usize>().ok());
    let Some(number) = number.filter(|number| (1..=MAX_TOP).contains(number)) else {
        return Err(cursor.unexpected(&format!("a number from 1 to {MAX_TOP}")));
    };
    cursor.advance();
    cursor.expect(")")?;
    if input.has_comparison() {
        return Err(no_further_stage(position));
    }
    let input = Box::new(input);
    Ok(match word {
        "topk" => MetricsExpression::Top(input, number),
        _ => MetricsExpression::Bottom(input, number),
    })
}

/// Parses keys up to the closing parenthesis.
fn key_list(cursor: &mut TokenCursor<'_>) -> Result<Vec<GroupKey>, SyntaxError> {
    let mut keys = vec![group_key(cursor)?];
    while cursor.take(",") {
        check_list(cursor, keys.len())?;
        keys.push(group_key(cursor)?);
    }
    cursor.expect(")")?;
    Ok(keys)
}

fn group_key(cursor: &mut TokenCursor<'_>) -> Result<GroupKey, SyntaxError> {
    let from = cursor.index();
    let expression = field_parser::value(cursor)?;
    Ok(GroupKey {
        value: checker::value(&expression)?,
        label: cursor.written(from, cursor.index()),
    })
}

fn check_list(cursor: &TokenCursor<'_>, length: usize) -> Result<(), SyntaxError> {
    if length < MAX_LIST {
        return Ok(());
    }
    Err(cursor.unexpected(&format!("at most {MAX_LIST} of these")))
}
