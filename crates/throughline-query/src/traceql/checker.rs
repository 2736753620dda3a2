//! Checks the types of an expression and gives it the form that is evaluated.
//!
//! A comparison of a field with a literal becomes a filter of the store, which has an index for it;
//! everything else is computed for each span.

use throughline_model::SpanKind;
use throughline_store::{ComparisonOperator, SpanField, SpanFilter, ValuePredicate};

use super::arithmetic::ArithmeticOperator;
use super::condition::{QueryField, SpanCondition, ValueExpression};
use super::field_parser::{FieldExpression, FieldNode};
use super::literal::{self, FilterOperator, QueryLiteral};
use super::query_value::QueryValue;
use crate::syntax_error::SyntaxError;

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ValueType {
    /// Known only when the span is: an attribute.
    Any,
    Text,
    Number,
    Duration,
    Boolean,
    Status,
    Kind,
    Nil,
}

/// Checks a condition.
pub(super) fn condition(expression: &FieldExpression) -> Result<SpanCondition, SyntaxError> {
    let each = |parts: &[FieldExpression]| parts.iter().map(condition).collect::<Result<_, _>>();
    match &expression.node {
        FieldNode::All(parts) => each(parts).map(SpanCondition::All),
        FieldNode::Any(parts) => each(parts).map(SpanCondition::Any),
        FieldNode::Not(inner) => condition(inner).map(SpanCondition::negated),
        FieldNode::Compare(left, operator, right) => compare(left, *operator, right),
        FieldNode::Literal(QueryLiteral::Boolean(true)) => Ok(SpanCondition::always()),
        FieldNode::Literal(QueryLiteral::Boolean(false)) => Ok(SpanCondition::Any(Vec::new())),
        // A bare field must be true.
        FieldNode::Field(QueryField::Span(field)) if type_of_field(field) == ValueType::Any => {
            let is_true = SpanFilter::Is(field.clone(), ValuePredicate::equal("true"));
            Ok(SpanCondition::Filter(is_true))
        }
        FieldNode::Literal(QueryLiteral::Word(word)) => Err(unknown_word(word, expression)),
        FieldNode::Field(_)
        | FieldNode::Literal(_)
        | FieldNode::Negate(_)
        | FieldNode::Arithmetic(..) => {
            let (value, value_type) = value_of(expression)?;
            if matches!(value_type, ValueType::Any | ValueType::Boolean) {
                return Ok(SpanCondition::Truth(value));
            }
            Err(SyntaxError::at(
                expression.position,
                format!(
                    "{} is not a condition: compare it with a value (= != > >= < <= =~ !~)",
                    value_type.name()
                ),
            ))
        }
    }
}

/// Checks a value that depends on the span.
pub(super) fn value(expression: &FieldExpression) -> Result<ValueExpression, SyntaxError> {
    let (value, _) = value_of(expression)?;
    if value.uses_span() {
        return Ok(value);
    }
    Err(SyntaxError::at(
        expression.position,
        "a field is needed here, as in duration or span.size: a constant is the same for all spans",
    ))
}

/// Checks a value that depends on the span and is a number.
pub(super) fn number(expression: &FieldExpression) -> Result<ValueExpression, SyntaxError> {
    let (_, value_type) = value_of(expression)?;
    if matches!(
        value_type,
        ValueType::Any | ValueType::Number | ValueType::Duration
    ) {
        return value(expression);
    }
    Err(SyntaxError::at(
        expression.position,
        format!(
            "expected a number or a duration, found {}",
            value_type.name()
        ),
    ))
}

/// Computes a constant number or duration.
pub(super) fn constant(expression: &FieldExpression) -> Result<QueryValue, SyntaxError> {
    let (value, value_type) = value_of(expression)?;
    let constant = match value_type {
        ValueType::Number | ValueType::Duration => compute(&value),
        ValueType::Any
        | ValueType::Text
        | ValueType::Boolean
        | ValueType::Status
        | ValueType::Kind
        | ValueType::Nil => None,
    };
    constant.ok_or_else(|| {
        SyntaxError::at(
            expression.position,
            "expected a constant number or duration, as in 10 or 1.5s",
        )
    })
}

fn compute(value: &ValueExpression) -> Option<QueryValue> {
    match value {
        ValueExpression::Field(_) => None,
        ValueExpression::Literal(value) => Some(value.clone()),
        ValueExpression::Negate(inner) => compute(inner)?.negated(),
        ValueExpression::Arithmetic(left, operator, right) => {
            compute(left)?.combined(*operator, &compute(right)?)
        }
    }
}

fn compare(
    left: &FieldExpression,
    operator: FilterOperator,
    right: &FieldExpression,
) -> Result<SpanCondition, SyntaxError> {
    match (&left.node, &right.node) {
        (FieldNode::Field(field), FieldNode::Literal(literal)) => {
            if let Some(condition) = compare_field(field, operator, literal, right.position)? {
                return Ok(condition);
            }
        }
        (FieldNode::Literal(literal), FieldNode::Field(field)) => {
            if let FilterOperator::Compare(operator) = operator {
                let mirrored = FilterOperator::Compare(mirrored(operator));
                if let Some(condition) = compare_field(field, mirrored, literal, left.position)? {
                    return Ok(condition);
                }
            }
        }
        _ => {}
    }
    let (left_value, left_type) = value_of(left)?;
    let (right_value, right_type) = value_of(right)?;
    let FilterOperator::Compare(comparison) = operator else {
        return match_text(left, (left_value, left_type), operator, right);
    };
    if !is_comparable(left_type, comparison, right_type) {
        return Err(SyntaxError::at(
            right.position,
            format!(
                "{} cannot be compared with {} here",
                left_type.name(),
                right_type.name()
            ),
        ));
    }
    Ok(SpanCondition::Compare(left_value, comparison, right_value))
}

/// Returns the comparison of a field with a literal; `None` for fields that are computed.
fn compare_field(
    field: &QueryField,
    operator: FilterOperator,
    literal: &QueryLiteral,
    position: usize,
) -> Result<Option<SpanCondition>, SyntaxError> {
    let (own, wrap): (&SpanField, fn(SpanFilter) -> SpanCondition) = match field {
        QueryField::Span(own) => (own, SpanCondition::Filter),
        QueryField::Parent(own) => (own, SpanCondition::ParentFilter),
        QueryField::ChildCount
        | QueryField::NestedSetLeft
        | QueryField::NestedSetRight
        | QueryField::NestedSetParent => return Ok(None),
    };
    let (own, predicate) = literal::predicate(own.clone(), operator, literal)
        .map_err(|message| SyntaxError::at(position, message))?;
    Ok(Some(wrap(SpanFilter::Is(own, predicate))))
}

fn match_text(
    left: &FieldExpression,
    (text, text_type): (ValueExpression, ValueType),
    operator: FilterOperator,
    right: &FieldExpression,
) -> Result<SpanCondition, SyntaxError> {
    if !matches!(text_type, ValueType::Any | ValueType::Text) {
        let message = format!("{} has no text to match", text_type.name());
        return Err(SyntaxError::at(left.position, message));
    }
    let FieldNode::Literal(literal) = &right.node else {
        let message = "a regular expression must be quoted, as in =~ \"GET .*\"";
        return Err(SyntaxError::at(right.position, message));
    };
    // The field does not matter: all have the same form of expressions.
    let (_, predicate) = literal::predicate(SpanField::Name, operator, literal)
        .map_err(|message| SyntaxError::at(right.position, message))?;
    let (regex, is_negated) = match predicate {
        ValuePredicate::Match(regex) => (regex, false),
        ValuePredicate::Mismatch(regex) => (regex, true),
        ValuePredicate::Present
        | ValuePredicate::Absent
        | ValuePredicate::Equal(_)
        | ValuePredicate::Unequal(_)
        | ValuePredicate::Number(..)
        | ValuePredicate::Time(..)
        | ValuePredicate::Text(..) => {
            return Err(SyntaxError::at(right.position, "not a regular expression"));
        }
    };
    Ok(SpanCondition::Match {
        text,
        regex,
        is_negated,
    })
}

fn value_of(expression: &FieldExpression) -> Result<(ValueExpression, ValueType), SyntaxError> {
    let field = |field: &QueryField| ValueExpression::Field(field.clone());
    Ok(match &expression.node {
        FieldNode::Field(own) => (field(own), type_of(own)),
        FieldNode::Literal(QueryLiteral::Word(word)) => {
            let value_type = keyword_type(word).ok_or_else(|| unknown_word(word, expression))?;
            let text = QueryValue::Text(word.clone());
            (ValueExpression::Literal(text), value_type)
        }
        FieldNode::Literal(literal) => {
            let (value, value_type) = literal_value(literal);
            (ValueExpression::Literal(value), value_type)
        }
        FieldNode::Negate(inner) => {
            let (value, value_type) = value_of(inner)?;
            require_number(inner, value_type)?;
            (ValueExpression::Negate(Box::new(value)), value_type)
        }
        FieldNode::Arithmetic(left, operator, right) => {
            let (left_value, left_type) = value_of(left)?;
            let (right_value, right_type) = value_of(right)?;
            require_number(left, left_type)?;
            require_number(right, right_type)?;
            let (left_value, right_value) = (Box::new(left_value), Box::new(right_value));
            (
                ValueExpression::Arithmetic(left_value, *operator, right_value),
                arithmetic_type(left_type, *operator, right_type),
            )
        }
        FieldNode::Not(_) | FieldNode::All(_) | FieldNode::Any(_) | FieldNode::Compare(..) => {
            return Err(SyntaxError::at(
                expression.position,
                "expected a value, found a condition: join conditions with && or ||",
            ));
        }
    })
}

fn require_number(expression: &FieldExpression, own: ValueType) -> Result<(), SyntaxError> {
    match own {
        ValueType::Any | ValueType::Number | ValueType::Duration => Ok(()),
        ValueType::Text
        | ValueType::Boolean
        | ValueType::Status
        | ValueType::Kind
        | ValueType::Nil => Err(SyntaxError::at(
            expression.position,
            format!(
                "{} is not a number, so it cannot be computed with",
                own.name()
            ),
        )),
    }
}

/// Durations times durations are durations, because a number beside a duration is in seconds.
const fn arithmetic_type(
    left: ValueType,
    operator: ArithmeticOperator,
    right: ValueType,
) -> ValueType {
    match (left, operator, right) {
        (ValueType::Duration, ArithmeticOperator::Divide, ValueType::Duration) => ValueType::Number,
        (ValueType::Duration, _, _) | (_, _, ValueType::Duration) => ValueType::Duration,
        (ValueType::Number, _, ValueType::Number) => ValueType::Number,
        _ => ValueType::Any,
    }
}

fn literal_value(literal: &QueryLiteral) -> (QueryValue, ValueType) {
    match literal {
        QueryLiteral::Text(text) | QueryLiteral::Word(text) => {
            (QueryValue::Text(text.clone()), ValueType::Text)
        }
        QueryLiteral::Number(_, number) => (QueryValue::Number(*number), ValueType::Number),
        QueryLiteral::Time(time) => {
            #[expect(clippy::cast_precision_loss, reason = "durations need not be exact")]
            let nanoseconds = *time as f64;
            (QueryValue::Duration(nanoseconds), ValueType::Duration)
        }
        QueryLiteral::Boolean(boolean) => (QueryValue::Boolean(*boolean), ValueType::Boolean),
        QueryLiteral::Nil => (QueryValue::Nil, ValueType::Nil),
    }
}

fn is_comparable(left: ValueType, comparison: ComparisonOperator, right: ValueType) -> bool {
    use ValueType::{Any, Boolean, Duration, Kind, Nil, Number, Status, Text};
    let is_equality = matches!(
        comparison,
        ComparisonOperator::Equal | ComparisonOperator::Unequal
    );
    match (left, right) {
        (Nil, _) | (_, Nil) => is_equality,
        (Status, Status | Text) | (Text, Status) | (Kind, Kind | Text) | (Text, Kind) => {
            is_equality
        }
        (Boolean, Boolean | Any) | (Any, Boolean | Status | Kind) | (Status | Kind, Any) => {
            is_equality
        }
        (Any, Any | Text | Number | Duration) | (Text | Number | Duration, Any) => true,
        (Text, Text) | (Number | Duration, Number | Duration) => true,
        _ => false,
    }
}

const fn mirrored(operator: ComparisonOperator) -> ComparisonOperator {
    match operator {
        ComparisonOperator::Less => ComparisonOperator::More,
        ComparisonOperator::AtMost => ComparisonOperator::AtLeast,
        ComparisonOperator::AtLeast => ComparisonOperator::AtMost,
        ComparisonOperator::More => ComparisonOperator::Less,
        ComparisonOperator::Equal | ComparisonOperator::Unequal => operator,
    }
}

/// Returns the error for a word that is neither a field nor a literal.
fn unknown_word(word: &str, expression: &FieldExpression) -> SyntaxError {
    let message = match (literal::field(word, false), keyword_type(word)) {
        (_, Some(value_type)) => format!("{} is not a condition", value_type.name()),
        (Err(message), None) => message,
        (Ok(_), None) => format!("unknown word `{word}`"),
    };
    SyntaxError::at(expression.position, message)
}

/// Returns the type of a status or kind that is written as a word.
fn keyword_type(word: &str) -> Option<ValueType> {
    if matches!(word, "ok" | "error" | "unset") {
        return Some(ValueType::Status);
    }
    let is_kind = SpanKind::from_name(word).and_then(SpanKind::name) == Some(word);
    (is_kind || word == "unspecified").then_some(ValueType::Kind)
}

const fn type_of(field: &QueryField) -> ValueType {
    match field {
        QueryField::Span(field) | QueryField::Parent(field) => type_of_field(field),
        QueryField::ChildCount
        | QueryField::NestedSetLeft
        | QueryField::NestedSetRight
        | QueryField::NestedSetParent => ValueType::Number,
    }
}

const fn type_of_field(field: &SpanField) -> ValueType {
    match field {
        SpanField::Name
        | SpanField::StatusMessage
        | SpanField::Id
        | SpanField::ParentId
        | SpanField::Service
        | SpanField::RootName
        | SpanField::RootService
        | SpanField::TraceId
        | SpanField::EventName
        | SpanField::LinkTraceId
        | SpanField::LinkSpanId
        | SpanField::ScopeName
        | SpanField::ScopeVersion
        | SpanField::Topic
        | SpanField::Group => ValueType::Text,
        SpanField::Duration
        | SpanField::TraceDuration
        | SpanField::StartTime
        | SpanField::EventTime
        | SpanField::QueueTime => ValueType::Duration,
        SpanField::Partition | SpanField::Offset | SpanField::Lag => ValueType::Number,
        SpanField::Status => ValueType::Status,
        SpanField::Kind => ValueType::Kind,
        SpanField::Attribute(..) => ValueType::Any,
    }
}

// === impl ValueType ===

impl ValueType {
    const fn name(self) -> &'static str {
        match self {
            Self::Any => "an attribute",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Duration => "a duration",
            Self::Boolean => "a boolean",
            Self::Status => "a status",
            Self::Kind => "a kind",
            Self::Nil => "nil",
        }
    }
}
