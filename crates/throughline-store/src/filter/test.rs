//! What a value must be.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};
use throughline_model::Value;

/// What a value must be.
#[derive(Debug, Clone)]
pub enum Test {
    /// There.
    Present,
    /// Not there.
    Absent,
    /// Equal to a literal.
    Equal(Equal),
    /// There, and not equal.
    Unequal(Equal),
    /// Matched by an expression as a whole.
    Match(Regex),
    /// There, and not matched.
    Mismatch(Regex),
    /// So, beside a number.
    Number(Comparison, f64),
    /// So, beside a time in nanoseconds. Numbers in attributes are taken as seconds, as the conventions have them.
    Time(Comparison, u64),
    /// So, beside a text.
    Text(Comparison, String),
}

/// How two values compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
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

/// A literal that a value may be equal to: as text, number or truth, whichever the value is.
#[derive(Debug, Clone, PartialEq)]
pub struct Equal {
    text: String,
    whole: Option<i64>,
    number: Option<f64>,
    truth: Option<bool>,
}

/// A value that is looked at.
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    /// An attribute's.
    Value(&'a Value),
    /// A text.
    Text(&'a str),
    /// A whole number.
    Whole(i64),
    /// A time.
    Nanoseconds(u64),
}

/// An expression that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a regular expression: {0}")]
pub struct Wrong(String);

// === impl Test ===

impl Test {
    /// Equal to this literal.
    #[must_use]
    pub fn equal(text: &str) -> Self {
        Self::Equal(Equal::new(text))
    }

    /// Not equal to this literal.
    #[must_use]
    pub fn unequal(text: &str) -> Self {
        Self::Unequal(Equal::new(text))
    }

    /// Matched as a whole, in time that grows with the text alone.
    ///
    /// # Errors
    /// When it is no regular expression, or one that would take much memory.
    pub fn matched(expression: &str) -> Result<Self, Wrong> {
        regex(expression).map(Self::Match)
    }

    /// Not matched.
    ///
    /// # Errors
    /// As [`Self::matched`].
    pub fn mismatched(expression: &str) -> Result<Self, Wrong> {
        regex(expression).map(Self::Mismatch)
    }

    /// Whether the values that `each` shows are so; `each` stops when its argument is satisfied.
    pub(crate) fn holds(
        &self,
        each: impl FnOnce(&mut dyn FnMut(Piece<'_>) -> bool) -> bool,
    ) -> bool {
        match self {
            Self::Absent => !each(&mut |_| true),
            Self::Unequal(_) | Self::Mismatch(_) => {
                let mut is_there = false;
                let is_refuted = each(&mut |piece| {
                    is_there = true;
                    !self.accepts(piece)
                });
                is_there && !is_refuted
            }
            Self::Present
            | Self::Equal(_)
            | Self::Match(_)
            | Self::Number(..)
            | Self::Time(..)
            | Self::Text(..) => each(&mut |piece| self.accepts(piece)),
        }
    }

    /// Whether one value is so.
    #[must_use]
    pub fn accepts(&self, piece: Piece<'_>) -> bool {
        match self {
            Self::Present => true,
            Self::Absent => false,
            Self::Equal(literal) => literal.is(piece),
            Self::Unequal(literal) => !literal.is(piece),
            Self::Match(regex) => piece.as_text(|text| regex.is_match(text)).unwrap_or(false),
            Self::Mismatch(regex) => !piece.as_text(|text| regex.is_match(text)).unwrap_or(false),
            Self::Number(comparison, number) => piece
                .as_number()
                .and_then(|own| own.partial_cmp(number))
                .is_some_and(|order| comparison.accepts(order)),
            Self::Time(comparison, time) => piece
                .as_time()
                .is_some_and(|own| comparison.accepts(own.cmp(time))),
            Self::Text(comparison, text) => piece
                .as_text(|own| comparison.accepts(own.cmp(text.as_str())))
                .unwrap_or(false),
        }
    }
}

/// An expression that is one by itself, anchored at both ends.
fn regex(expression: &str) -> Result<Regex, Wrong> {
    let build = |text: &str| {
        RegexBuilder::new(text)
            .size_limit(REGEX_BYTES)
            .dfa_size_limit(REGEX_BYTES)
            .dot_matches_new_line(true)
            .build()
            .map_err(|error| Wrong::of(&error))
    };
    build(expression)?;
    build(&format!("^(?:{expression})$"))
}

// === impl Wrong ===

impl Wrong {
    /// The last line says what is wrong; the others draw it.
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

// === impl Comparison ===

impl Comparison {
    /// Whether a value that stands so to the literal is as asked.
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

// === impl Equal ===

impl Equal {
    fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            whole: text.parse().ok(),
            number: text.parse().ok(),
            truth: text.parse().ok(),
        }
    }

    fn is(&self, piece: Piece<'_>) -> bool {
        match piece {
            Piece::Text(text) => text == self.text,
            Piece::Whole(number) => self.whole == Some(number),
            Piece::Nanoseconds(_) => false,
            Piece::Value(value) => match value {
                Value::String(text) => *text == self.text,
                Value::Bool(truth) => self.truth == Some(*truth),
                Value::Int(number) => self.whole == Some(*number),
                Value::Double(number) => self.number == Some(*number),
                Value::Empty => self.text.is_empty(),
                Value::Array(_) | Value::Bytes(_) | Value::Map(_) => false,
            },
        }
    }

    /// As it was given.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Every text that an equal value can have.
    pub(crate) fn texts(&self) -> Vec<String> {
        let mut texts = vec![self.text.clone()];
        texts.extend(self.whole.map(|number| number.to_string()));
        texts.extend(self.number.map(|number| number.to_string()));
        texts.extend(self.truth.map(|truth| truth.to_string()));
        texts.sort_unstable();
        texts.dedup();
        texts
    }
}

// === impl Piece ===

impl Piece<'_> {
    /// Shows it as text, where it has one.
    pub(crate) fn as_text<T>(self, see: impl FnOnce(&str) -> T) -> Option<T> {
        Some(match self {
            Self::Text(text) => see(text),
            Self::Whole(number) => see(&number.to_string()),
            Self::Nanoseconds(_) => return None,
            Self::Value(value) => match value {
                Value::String(text) => see(text),
                Value::Bool(truth) => see(if *truth { "true" } else { "false" }),
                Value::Int(number) => see(&number.to_string()),
                Value::Double(number) => see(&number.to_string()),
                Value::Empty => see(""),
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
            Self::Whole(number) => Some(number as f64),
            Self::Value(Value::Int(number)) => Some(*number as f64),
            Self::Value(Value::Double(number)) => Some(*number),
            Self::Value(Value::String(text)) => text.parse().ok(),
            Self::Nanoseconds(_)
            | Self::Value(
                Value::Empty | Value::Bool(_) | Value::Array(_) | Value::Bytes(_) | Value::Map(_),
            ) => None,
        }
    }

    /// In nanoseconds.
    fn as_time(self) -> Option<u64> {
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

/// What a compiled expression may take.
const REGEX_BYTES: usize = 1 << 20;
