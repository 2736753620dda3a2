//! Predicates on the value of a field.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};
use throughline_model::Value;

use super::json_text::json_text;

/// Maximum memory of a compiled pattern: a pattern is untrusted input.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// The greatest whole number up to which a double holds every one.
const MAX_EXACT_INTEGER: u64 = 1 << 53;

/// A predicate on the value of a field.
#[derive(Debug, Clone)]
pub enum ValuePredicate {
    /// The field is present.
    Present,
    /// The field is missing.
    Absent,
    /// The value equals a literal.
    Equal(EqualityLiteral),
    /// The field is present and its value differs from a literal.
    Unequal(EqualityLiteral),
    /// The whole value matches a regular expression.
    Match(Regex),
    /// The field is present and its value does not match.
    Mismatch(Regex),
    /// The value compares with a number as given.
    Number(ComparisonOperator, f64),
    /// The value compares with a time in nanoseconds as given. A number in an attribute is taken
    /// as seconds, the unit that semantic conventions use.
    Time(ComparisonOperator, u64),
    /// The value compares with a text as given.
    Text(ComparisonOperator, String),
}

/// An operator that compares two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComparisonOperator {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `=`
    Equal,
    /// `!=`
    Unequal,
    /// `>=`
    AtLeast,
    /// `>`
    More,
}

/// A literal compared for equality: as text, number or boolean, by the type of the value.
#[derive(Debug, Clone, PartialEq)]
pub struct EqualityLiteral {
    text: String,
    integer: Option<i64>,
    number: Option<f64>,
    boolean: Option<bool>,
}

/// A value of a field.
#[derive(Debug, Clone, Copy)]
pub enum FieldValue<'a> {
    /// Value of an attribute.
    Value(&'a Value),
    /// Text.
    Text(&'a str),
    /// Whole number.
    Integer(i64),
    /// Time or duration.
    Nanoseconds(u64),
}

/// An invalid regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a regular expression: {0}")]
pub struct PatternError(String);

// === impl ValuePredicate ===

impl ValuePredicate {
    /// Creates the predicate that a value equals this literal.
    #[must_use]
    pub fn equal(text: &str) -> Self {
        Self::Equal(EqualityLiteral::new(text))
    }

    /// Creates the predicate that a value differs from this literal.
    #[must_use]
    pub fn unequal(text: &str) -> Self {
        Self::Unequal(EqualityLiteral::new(text))
    }

    /// Creates the predicate that the whole value matches a regular expression. Matching takes
    /// time linear in the value.
    ///
    /// # Errors
    /// Returns [`PatternError`] when the pattern is invalid or its compiled form is too large.
    pub fn matching(pattern: &str) -> Result<Self, PatternError> {
        compile(pattern).map(Self::Match)
    }

    /// Creates the predicate that a value does not match a regular expression.
    ///
    /// # Errors
    /// As [`Self::matching`].
    pub fn mismatching(pattern: &str) -> Result<Self, PatternError> {
        compile(pattern).map(Self::Mismatch)
    }

    /// Returns whether the values that `visit_values` passes on satisfy the predicate.
    /// `visit_values` stops when its argument returns true.
    pub(crate) fn matches(
        &self,
        visit_values: impl FnOnce(&mut dyn FnMut(FieldValue<'_>) -> bool) -> bool,
    ) -> bool {
        match self {
            Self::Absent => !visit_values(&mut |_| true),
            // Negative predicates must hold for all values, and for at least one: `!=` on a
            // missing field is false, as in TraceQL.
            Self::Unequal(_) | Self::Mismatch(_) => {
                let mut is_present = false;
                let is_refuted = visit_values(&mut |value| {
                    is_present = true;
                    !self.accepts(value)
                });
                is_present && !is_refuted
            }
            Self::Present
            | Self::Equal(_)
            | Self::Match(_)
            | Self::Number(..)
            | Self::Time(..)
            | Self::Text(..) => visit_values(&mut |value| self.accepts(value)),
        }
    }

    /// Returns whether a single value satisfies the predicate.
    #[must_use]
    pub fn accepts(&self, value: FieldValue<'_>) -> bool {
        match self {
            Self::Present => true,
            Self::Absent => false,
            Self::Equal(literal) => literal.equals(value),
            Self::Unequal(literal) => !literal.equals(value),
            Self::Match(regex) => value
                .with_text(|text| regex.is_match(text))
                .unwrap_or(false),
            Self::Mismatch(regex) => !value
                .with_text(|text| regex.is_match(text))
                .unwrap_or(false),
            Self::Number(operator, number) => value
                .as_number()
                .and_then(|own| own.partial_cmp(number))
                .is_some_and(|order| operator.accepts(order)),
            Self::Time(operator, time) => value
                .as_nanoseconds()
                .is_some_and(|own| operator.accepts(own.cmp(time))),
            Self::Text(operator, text) => value
                .with_text(|own| operator.accepts(own.cmp(text.as_str())))
                .unwrap_or(false),
        }
    }
}

/// Compiles a pattern, anchored at both ends.
fn compile(pattern: &str) -> Result<Regex, PatternError> {
    let build = |text: &str| {
        RegexBuilder::new(text)
            .size_limit(MAX_REGEX_BYTES)
            .dfa_size_limit(MAX_REGEX_BYTES)
            .dot_matches_new_line(true)
            .build()
            .map_err(|error| PatternError::of(&error))
    };
    // The bare pattern must be valid by itself: `a)|(b` would be within the anchoring group.
    build(pattern)?;
    build(&format!("^(?:{pattern})$"))
}

// === impl PatternError ===

impl PatternError {
    /// Keeps the last line of the message: it names the problem, the lines before it draw the
    /// pattern.
    fn of(error: &regex::Error) -> Self {
        let text = error.to_string();
        Self(
            text.lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned(),
        )
    }
}

// === impl ComparisonOperator ===

impl ComparisonOperator {
    /// Returns whether the operator accepts this order of a value to the literal.
    #[must_use]
    pub const fn accepts(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::AtLeast => order.is_ge(),
            Self::More => order.is_gt(),
        }
    }
}

// === impl EqualityLiteral ===

impl EqualityLiteral {
    fn new(text: &str) -> Self {
        // Parsed once here, not for each value that is compared.
        Self {
            text: text.to_owned(),
            integer: text.parse().ok(),
            number: text.parse().ok(),
            boolean: text.parse().ok(),
        }
    }

    fn equals(&self, value: FieldValue<'_>) -> bool {
        match value {
            FieldValue::Text(text) => text == self.text,
            FieldValue::Integer(number) => self.equals_integer(number),
            // A duration needs a unit, which only the comparison with a time has.
            FieldValue::Nanoseconds(_) => false,
            FieldValue::Value(value) => match value {
                Value::String(text) => *text == self.text,
                Value::Bool(boolean) => self.boolean == Some(*boolean),
                Value::Int(number) => self.equals_integer(*number),
                Value::Double(number) => self.number == Some(*number),
                Value::Empty => self.text.is_empty(),
                Value::Array(_) | Value::Map(_) => {
                    self.is_json() && json_text(value).is_some_and(|text| text == self.text)
                }
                Value::Bytes(_) => false,
            },
        }
    }

    /// Returns whether the literal means this number: `5`, and `5.0` as well.
    fn equals_integer(&self, number: i64) -> bool {
        #[expect(
            clippy::cast_precision_loss,
            reason = "exact for the numbers that are compared"
        )]
        let is_equal = |own: f64| own == number as f64;
        let is_exact = number.unsigned_abs() <= MAX_EXACT_INTEGER;
        self.integer == Some(number) || is_exact && self.number.is_some_and(is_equal)
    }

    /// Returns whether the literal may be a list or a map, which the query APIs show as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.text.starts_with(['[', '{'])
    }

    /// Returns the literal as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns every text form that an equal value can have.
    pub(crate) fn text_forms(&self) -> Vec<String> {
        let mut texts = vec![self.text.clone()];
        texts.extend(self.integer.map(|number| number.to_string()));
        // Adding zero makes a negative zero the positive one, which whole numbers have.
        texts.extend(self.number.map(|number| (number + 0.0).to_string()));
        texts.extend(self.boolean.map(|boolean| boolean.to_string()));
        texts.sort_unstable();
        texts.dedup();
        texts
    }
}

// === impl FieldValue ===

impl FieldValue<'_> {
    /// Passes the value's text to `read`; returns `None` for a value without a text form.
    pub(crate) fn with_text<T>(self, read: impl FnOnce(&str) -> T) -> Option<T> {
        Some(match self {
            Self::Text(text) => read(text),
            Self::Integer(number) => read(&number.to_string()),
            Self::Nanoseconds(_) => return None,
            Self::Value(value) => match value {
                Value::String(text) => read(text),
                Value::Bool(boolean) => read(if *boolean { "true" } else { "false" }),
                Value::Int(number) => read(&number.to_string()),
                Value::Double(number) => read(&number.to_string()),
                Value::Empty => read(""),
                Value::Array(_) | Value::Bytes(_) | Value::Map(_) => return None,
            },
        })
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "ranges of numbers beyond 2^53 need not be exact"
    )]
    fn as_number(self) -> Option<f64> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::Integer(number) => Some(number as f64),
            Self::Value(Value::Int(number)) => Some(*number as f64),
            Self::Value(Value::Double(number)) => Some(*number),
            Self::Value(Value::String(text)) => text.parse().ok(),
            Self::Nanoseconds(_)
            | Self::Value(
                Value::Empty | Value::Bool(_) | Value::Array(_) | Value::Bytes(_) | Value::Map(_),
            ) => None,
        }
    }

    /// Returns the value in nanoseconds; a bare number is taken as seconds.
    fn as_nanoseconds(self) -> Option<u64> {
        if let Self::Nanoseconds(time) = self {
            return Some(time);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never negative, and the cast saturates"
        )]
        self.as_number()
            .filter(|seconds| *seconds >= 0.0)
            .map(|seconds| (seconds * 1e9).round() as u64)
    }
}
