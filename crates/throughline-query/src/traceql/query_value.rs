//! Values that expressions compute with.

use std::cmp::Ordering;

use throughline_model::{Value, duration};
use throughline_store::FieldValue;

use super::arithmetic::ArithmeticOperator;

/// Nanoseconds of a second.
pub(crate) const SECOND: f64 = 1e9;

/// A value of an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryValue {
    /// The field is missing.
    Nil,
    /// Text, also that of a status, kind or id.
    Text(String),
    /// Whole number.
    Integer(i64),
    /// Number.
    Number(f64),
    /// Duration in nanoseconds.
    Duration(f64),
    /// Boolean.
    Boolean(bool),
}

// === impl QueryValue ===

impl QueryValue {
    /// Returns the value of a field; `None` for values that expressions cannot use.
    pub(crate) fn of_field(value: FieldValue<'_>) -> Option<Self> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "durations beyond 104 days need not be exact"
        )]
        let nanoseconds = |time: u64| Self::Duration(time as f64);
        Some(match value {
            FieldValue::Text(text) => Self::Text(text.to_owned()),
            FieldValue::Integer(number) => Self::Integer(number),
            FieldValue::Nanoseconds(time) => nanoseconds(time),
            FieldValue::Value(value) => match value {
                Value::String(text) => Self::Text(text.to_string()),
                Value::Bool(boolean) => Self::Boolean(*boolean),
                Value::Int(number) => Self::Integer(*number),
                Value::Double(number) => Self::Number(*number),
                Value::Empty | Value::Bytes(_) | Value::Array(_) | Value::Map(_) => return None,
            },
        })
    }

    /// Creates a duration.
    pub(crate) fn seconds(seconds: f64) -> Self {
        Self::Duration(seconds * SECOND)
    }

    /// Returns the number, a duration in seconds. A text that is a number counts as one.
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Integer(number) => {
                #[expect(clippy::cast_precision_loss, reason = "numbers beyond 2^53 are rare")]
                let number = *number as f64;
                Some(number)
            }
            Self::Number(number) => Some(*number),
            Self::Duration(nanoseconds) => Some(nanoseconds / SECOND),
            Self::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
            Self::Nil | Self::Boolean(_) => None,
        }
    }

    /// Returns whether a condition with this value as a whole holds.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Boolean(boolean) => *boolean,
            Self::Text(text) => text == "true",
            Self::Nil | Self::Integer(_) | Self::Number(_) | Self::Duration(_) => false,
        }
    }

    /// Compares two values; `None` when they have no order, and are not equal either.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Nil, Self::Nil) => Some(Ordering::Equal),
            (Self::Nil, _) | (_, Self::Nil) => None,
            (Self::Text(own), Self::Text(other)) => Some(own.cmp(other)),
            (Self::Integer(own), Self::Integer(other)) => Some(own.cmp(other)),
            (Self::Boolean(own), Self::Boolean(other)) => Some(own.cmp(other)),
            (Self::Boolean(boolean), Self::Text(text))
            | (Self::Text(text), Self::Boolean(boolean)) => {
                (text.parse() == Ok(*boolean)).then_some(Ordering::Equal)
            }
            // Durations as they are: seconds would round them.
            (Self::Duration(own), Self::Duration(other)) => own.partial_cmp(other),
            _ => self.as_number()?.partial_cmp(&other.as_number()?),
        }
    }

    /// Returns the number with the other sign.
    pub(crate) fn negated(&self) -> Option<Self> {
        if let Self::Duration(nanoseconds) = self {
            return Some(Self::Duration(-nanoseconds));
        }
        self.as_number().map(|number| Self::Number(-number))
    }

    /// Combines two numbers. With a duration, the result is one, in seconds until the end; only a
    /// quotient of two durations is a plain number.
    pub(crate) fn combined(&self, operator: ArithmeticOperator, right: &Self) -> Option<Self> {
        let number = operator.apply(self.as_number()?, right.as_number()?);
        let is_duration = |value: &Self| matches!(value, Self::Duration(_));
        let is_ratio = operator == ArithmeticOperator::Divide && is_duration(right);
        if (is_duration(self) || is_duration(right)) && !is_ratio {
            return Some(Self::seconds(number));
        }
        Some(Self::Number(number))
    }

    /// Returns the value as text, for labels and regular expressions.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Nil => "nil".to_owned(),
            Self::Text(text) => text.clone(),
            Self::Integer(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Duration(nanoseconds) if *nanoseconds >= 0.0 => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "never negative, and the cast saturates"
                )]
                let nanoseconds = *nanoseconds as u64;
                duration::format(nanoseconds)
            }
            Self::Duration(nanoseconds) => format!("{}s", nanoseconds / SECOND),
            Self::Boolean(boolean) => boolean.to_string(),
        }
    }
}
