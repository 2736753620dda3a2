//! What is asked of spans and traces, and whether they are it.
//!
//! Attributes are compared as text or number whatever their type: `200` finds the number and the string. Where a field has several values
//! (an array, the events of a span), one must be as asked, and for `!=` and `!~` all. A field that is not there is neither equal nor
//! unequal to anything but `nil`.

mod field;
mod test;

use throughline_model::{Span, TraceId};

pub use self::field::{Field, Scope};
pub(crate) use self::field::{status, tag};
pub use self::test::{Comparison, Equal, Piece, Test, Wrong};

/// What is asked of a trace.
#[derive(Debug, Clone)]
pub enum Expression {
    /// One of its spans is so.
    Spans(Filter),
    /// All hold.
    All(Vec<Self>),
    /// At least one holds.
    Any(Vec<Self>),
    /// It holds, and the number of the spans it names compares so.
    Count(Box<Self>, Comparison, u64),
}

/// What is asked of a span.
#[derive(Debug, Clone)]
pub enum Filter {
    /// All hold; none is always true.
    All(Vec<Self>),
    /// At least one holds.
    Any(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// A field is so.
    Is(Field, Test),
}

/// What a filter may ask of the trace that a span is in.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Its id.
    pub id: TraceId,
    /// From its first start to its last end, in nanoseconds.
    pub duration: u64,
    /// Its root, or its first span.
    pub root: Option<&'a Span>,
}

// === impl Expression ===

impl Expression {
    /// Whether a trace is so. `spans` gives its spans, anew each time.
    pub fn holds<'a, I>(&self, facts: &Facts<'_>, spans: &impl Fn() -> I) -> bool
    where
        I: Iterator<Item = &'a Span>,
    {
        match self {
            Self::Spans(filter) => spans().any(|span| filter.holds(span, facts)),
            Self::All(parts) => parts.iter().all(|part| part.holds(facts, spans)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(facts, spans)),
            Self::Count(of, comparison, number) => {
                let count = spans().filter(|span| of.names(span, facts)).count() as u64;
                comparison.accepts(count.cmp(number)) && of.holds(facts, spans)
            }
        }
    }

    /// Whether this span is one of those that the expression is about.
    #[must_use]
    pub fn names(&self, span: &Span, facts: &Facts<'_>) -> bool {
        match self {
            Self::Spans(filter) => filter.holds(span, facts),
            Self::All(parts) | Self::Any(parts) => parts.iter().any(|part| part.names(span, facts)),
            Self::Count(of, _, _) => of.names(span, facts),
        }
    }

    /// Whether every span is one of those that it is about, so that naming them says nothing.
    #[must_use]
    pub fn is_about_all(&self) -> bool {
        match self {
            Self::Spans(Filter::All(parts)) => parts.is_empty(),
            Self::Spans(_) => false,
            Self::All(parts) | Self::Any(parts) => parts.iter().all(Self::is_about_all),
            Self::Count(of, _, _) => of.is_about_all(),
        }
    }
}

// === impl Filter ===

impl Filter {
    /// Whether a span is so.
    #[must_use]
    pub fn holds(&self, span: &Span, facts: &Facts<'_>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(span, facts)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(span, facts)),
            Self::Not(part) => !part.holds(span, facts),
            Self::Is(field, test) => test.holds(|see| field.each(span, facts, see)),
        }
    }
}
