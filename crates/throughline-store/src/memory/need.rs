//! What a trace must have for an expression to hold, as far as its signature can tell: the traces without it are passed over.

use throughline_model::{SpanId, TraceId};

use super::catalogue::Catalogue;
use super::entry::Entry;
use super::signature::{KIND, NAME, SERVICE, STATUS, TOPIC, of_key, of_pair};
use super::vocabulary::Vocabulary;
use crate::{Expression, Field, Filter, Scope, Test};

/// What a trace must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing that the signature can tell.
    Nothing,
    /// This hash.
    Hash(u32),
    /// To be this trace.
    Trace(TraceId),
    /// A span with this id.
    Span(SpanId),
    /// All of these.
    All(Vec<Self>),
    /// One of these; of none, nothing will do.
    One(Vec<Self>),
}

/// What all that is stored is known to have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) catalogue: &'a Catalogue,
}

impl Need {
    /// Whether a trace may be one for which the expression holds.
    pub(super) fn is_met(&self, id: TraceId, entry: &Entry) -> bool {
        match self {
            Self::Nothing => true,
            Self::Hash(hash) => entry.signature.may_have(*hash),
            Self::Trace(wanted) => *wanted == id,
            Self::Span(span) => entry.spans.contains_key(span),
            Self::All(parts) => parts.iter().all(|part| part.is_met(id, entry)),
            Self::One(parts) => parts.iter().any(|part| part.is_met(id, entry)),
        }
    }

    /// Whether no trace can be one.
    pub(super) fn is_hopeless(&self) -> bool {
        match self {
            Self::One(parts) => parts.iter().all(Self::is_hopeless),
            Self::All(parts) => parts.iter().any(Self::is_hopeless),
            Self::Nothing | Self::Hash(_) | Self::Trace(_) | Self::Span(_) => false,
        }
    }

    pub(super) fn of_expression(expression: &Expression, known: Known<'_>) -> Self {
        match expression {
            Expression::Spans(filter) => Self::of_filter(filter, known),
            Expression::All(parts) => Self::All(
                parts
                    .iter()
                    .map(|part| Self::of_expression(part, known))
                    .collect(),
            ),
            Expression::Any(parts) => Self::One(
                parts
                    .iter()
                    .map(|part| Self::of_expression(part, known))
                    .collect(),
            ),
            Expression::Count(of, _, _) => Self::of_expression(of, known),
        }
    }

    fn of_filter(filter: &Filter, known: Known<'_>) -> Self {
        match filter {
            Filter::All(parts) => Self::All(
                parts
                    .iter()
                    .map(|part| Self::of_filter(part, known))
                    .collect(),
            ),
            Filter::Any(parts) => Self::One(
                parts
                    .iter()
                    .map(|part| Self::of_filter(part, known))
                    .collect(),
            ),
            Filter::Not(_) => Self::Nothing,
            Filter::Is(field, test) => Self::of_field(field, test, known),
        }
    }

    fn of_field(field: &Field, test: &Test, known: Known<'_>) -> Self {
        match field {
            Field::Attribute(scope, key) => Self::of_attribute(*scope, key, test, known.vocabulary),
            Field::Name => Self::of_texts(NAME, test, || Some(known.catalogue.names().collect())),
            Field::Service => {
                Self::of_texts(SERVICE, test, || Some(known.catalogue.services().collect()))
            }
            Field::Kind => Self::of_texts(KIND, test, || None),
            Field::Status => Self::of_texts(STATUS, test, || None),
            Field::Topic => match test {
                Test::Equal(_) => Self::of_texts(TOPIC, test, || None),
                Test::Match(_) | Test::Text(..) => {
                    one(TOPIC, known.vocabulary.topics_accepted(test))
                }
                Test::Present
                | Test::Absent
                | Test::Unequal(_)
                | Test::Mismatch(_)
                | Test::Number(..)
                | Test::Time(..) => Self::Nothing,
            },
            Field::TraceId => exactly(test, TraceId::from_hex).map_or(Self::Nothing, Self::Trace),
            Field::Id => exactly(test, SpanId::from_hex).map_or(Self::Nothing, Self::Span),
            Field::Duration
            | Field::StatusMessage
            | Field::ParentId
            | Field::TraceDuration
            | Field::RootName
            | Field::RootService
            | Field::EventName
            | Field::EventTime
            | Field::LinkTraceId
            | Field::LinkSpanId
            | Field::ScopeName
            | Field::ScopeVersion
            | Field::Partition
            | Field::Offset
            | Field::Group
            | Field::Lag
            | Field::QueueTime => Self::Nothing,
        }
    }

    fn of_attribute(scope: Scope, key: &str, test: &Test, vocabulary: &Vocabulary) -> Self {
        if scope == Scope::Tag && TAGS.contains(&key) {
            // Made of a field, which has hashes of its own, or none.
            return match (key, test) {
                ("error", Test::Equal(_)) => {
                    let attribute = Self::of_attribute(Scope::Any, key, test, vocabulary);
                    Self::One(vec![attribute, Self::Hash(of_pair(STATUS, "error"))])
                }
                _ => Self::Nothing,
            };
        }
        match test {
            Test::Absent => Self::Nothing,
            Test::Present | Test::Unequal(_) | Test::Mismatch(_) => Self::Hash(of_key(key)),
            Test::Equal(literal) => one(key, literal.texts().iter().map(String::as_str)),
            Test::Match(_) | Test::Number(..) | Test::Time(..) | Test::Text(..) => vocabulary
                .accepted(key, test)
                .map_or_else(|| Self::Hash(of_key(key)), |texts| one(key, texts)),
        }
    }

    /// Of a field of which all texts are known, or none.
    fn of_texts<'a>(
        field: &str,
        test: &Test,
        texts: impl FnOnce() -> Option<Vec<&'a str>>,
    ) -> Self {
        match test {
            Test::Equal(literal) => one(field, literal.texts().iter().map(String::as_str)),
            Test::Match(_) | Test::Mismatch(_) | Test::Unequal(_) | Test::Text(..) => {
                let accepts = |text: &&str| test.accepts(crate::Piece::Text(text));
                texts().map_or(Self::Nothing, |texts| {
                    one(field, texts.into_iter().filter(accepts))
                })
            }
            Test::Present | Test::Absent | Test::Number(..) | Test::Time(..) => Self::Nothing,
        }
    }
}

/// One of these values.
fn one<'a>(key: &str, texts: impl Iterator<Item = &'a str>) -> Need {
    Need::One(texts.map(|text| Need::Hash(of_pair(key, text))).collect())
}

fn exactly<T>(test: &Test, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    // An id has no other spelling than the one it is compared with.
    if let Test::Equal(literal) = test {
        read(literal.text())
    } else {
        None
    }
}

/// Jaeger's tags that are fields.
const TAGS: [&str; 6] = [
    "span.kind",
    "error",
    "otel.status_code",
    "otel.status_description",
    "otel.scope.name",
    "otel.scope.version",
];
