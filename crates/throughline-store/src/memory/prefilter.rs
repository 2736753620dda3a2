//! Necessary conditions of an expression that can be checked without looking at the spans.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use throughline_model::{SpanId, TraceId};

use super::attribute_index::AttributeIndex;
use super::fingerprint::{KIND, NAME, SERVICE, STATUS, TOPIC, hash_of_key, hash_of_pair};
use super::joined_trace::JoinedTrace;
use super::service_index::ServiceIndex;
use crate::filter::JAEGER_TAGS;
use crate::{
    AttributeScope, ComparisonOperator, FieldValue, SpanField, SpanFilter, TraceExpression,
    ValuePredicate,
};

/// A condition that no trace satisfies.
const NEVER: Prefilter = Prefilter::Any(Vec::new());

/// A condition that every matching trace satisfies. A trace that satisfies it may still not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prefilter {
    /// Nothing is known; every trace passes.
    Unknown,
    /// The fingerprint contains this hash.
    Hash(u32),
    /// The trace has this id.
    Trace(TraceId),
    /// The trace contains a span with this id.
    Span(SpanId),
    /// A span started at this time or later, in nanoseconds since the Unix epoch.
    StartedSince(u64),
    /// A span started at this time or earlier.
    StartedUntil(u64),
    /// A span of this service, or of any, took so long, in nanoseconds.
    Duration {
        /// Service of the span.
        service: Option<String>,
        /// Least and greatest duration.
        range: RangeInclusive<u64>,
    },
    /// All parts hold.
    All(Vec<Self>),
    /// At least one part holds; an empty list is never true.
    Any(Vec<Self>),
}

/// All that a prefilter asks of a trace. An answer may be yes where no would be right.
pub trait PrefilterTarget {
    /// Returns whether a span has the name or value with this hash.
    fn may_contain(&self, hash: u32) -> bool;
    /// Returns whether the trace was reported with this id, or is joined with one that was.
    fn has_id(&self, id: TraceId) -> bool;
    /// Returns whether a span has this id.
    fn has_span(&self, id: SpanId) -> bool;
    /// Returns whether a span started at this time or later.
    fn started_since(&self, time: u64) -> bool;
    /// Returns whether a span started at this time or earlier.
    fn started_until(&self, time: u64) -> bool;
    /// Returns whether a span of a service, or of any, took so long.
    fn has_duration(&self, service: Option<&str>, range: &RangeInclusive<u64>) -> bool {
        let _ = (service, range);
        true
    }
}

/// The names and values of a set of spans, which bound those that a predicate can match.
pub trait ValueStatistics {
    /// Returns the values of an attribute that satisfy a predicate; `None` when the list of its
    /// values is partial.
    fn accepted_values(&self, key: &str, predicate: &ValuePredicate) -> Option<Vec<Cow<'_, str>>>;
    /// Returns the topics that satisfy a predicate.
    fn accepted_topics(&self, predicate: &ValuePredicate) -> Vec<Cow<'_, str>>;
    /// Returns the services.
    fn services(&self) -> Vec<&str>;
    /// Returns the names of the spans; a name may come several times.
    fn names(&self) -> Vec<&str>;
    /// Returns whether a span has this service and this name, where given. An answer may be yes
    /// where no would be right.
    fn contains(&self, service: Option<&str>, operation: Option<&str>) -> bool;
}

/// The indexes over everything in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct IndexStatistics<'a> {
    pub(super) attributes: &'a AttributeIndex,
    pub(super) services: &'a ServiceIndex,
}

// === impl IndexStatistics ===

impl ValueStatistics for IndexStatistics<'_> {
    fn accepted_values(&self, key: &str, predicate: &ValuePredicate) -> Option<Vec<Cow<'_, str>>> {
        let values = self.attributes.accepted_values(key, predicate)?;
        Some(values.map(Cow::Borrowed).collect())
    }

    fn accepted_topics(&self, predicate: &ValuePredicate) -> Vec<Cow<'_, str>> {
        let topics = self.attributes.accepted_topics(predicate);
        topics.map(Cow::Borrowed).collect()
    }

    fn services(&self) -> Vec<&str> {
        self.services.services().collect()
    }

    fn names(&self) -> Vec<&str> {
        self.services.names().collect()
    }

    fn contains(&self, service: Option<&str>, operation: Option<&str>) -> bool {
        self.services.contains(service, operation)
    }
}

// === impl JoinedTrace ===

impl PrefilterTarget for JoinedTrace<'_> {
    fn may_contain(&self, hash: u32) -> bool {
        self.any(|_, entry| entry.fingerprint.may_contain(hash))
    }

    fn has_id(&self, id: TraceId) -> bool {
        self.any(|own, _| own == id)
    }

    fn has_span(&self, id: SpanId) -> bool {
        self.any(|_, entry| entry.spans.first_with_id(id).is_some())
    }

    fn started_since(&self, time: u64) -> bool {
        self.any(|_, entry| entry.last_start >= time)
    }

    fn started_until(&self, time: u64) -> bool {
        self.any(|_, entry| entry.first_start <= time)
    }
}

// === impl Prefilter ===

impl Prefilter {
    /// Returns whether a trace can match.
    #[must_use]
    pub fn accepts(&self, trace: &impl PrefilterTarget) -> bool {
        match self {
            Self::Unknown => true,
            Self::Hash(hash) => trace.may_contain(*hash),
            // A search for an id must not depend on the fingerprint, which has no ids.
            Self::Trace(id) => trace.has_id(*id),
            Self::Span(span) => trace.has_span(*span),
            Self::StartedSince(time) => trace.started_since(*time),
            Self::StartedUntil(time) => trace.started_until(*time),
            Self::Duration { service, range } => trace.has_duration(service.as_deref(), range),
            Self::All(parts) => parts.iter().all(|part| part.accepts(trace)),
            Self::Any(parts) => parts.iter().any(|part| part.accepts(trace)),
        }
    }

    /// Returns whether no stored trace can match.
    #[must_use]
    pub fn is_unsatisfiable(&self) -> bool {
        match self {
            Self::Any(parts) => parts.iter().all(Self::is_unsatisfiable),
            Self::All(parts) => parts.iter().any(Self::is_unsatisfiable),
            Self::Unknown
            | Self::Hash(_)
            | Self::Trace(_)
            | Self::Span(_)
            | Self::StartedSince(_)
            | Self::StartedUntil(_)
            | Self::Duration { .. } => false,
        }
    }

    /// Returns the condition that a message went through a topic.
    #[must_use]
    pub fn of_topic_name(topic: &str) -> Self {
        Self::Hash(hash_of_pair(TOPIC, topic))
    }

    /// Passes the hashes that decide about traces to `visit`.
    pub fn visit_hashes(&self, visit: &mut dyn FnMut(u32)) {
        match self {
            Self::Hash(hash) => visit(*hash),
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().for_each(|part| part.visit_hashes(visit));
            }
            Self::Unknown
            | Self::Trace(_)
            | Self::Span(_)
            | Self::StartedSince(_)
            | Self::StartedUntil(_)
            | Self::Duration { .. } => {}
        }
    }

    /// Passes the span ids that decide about traces to `visit`.
    pub fn visit_spans(&self, visit: &mut dyn FnMut(SpanId)) {
        match self {
            Self::Span(id) => visit(*id),
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().for_each(|part| part.visit_spans(visit));
            }
            Self::Unknown
            | Self::Trace(_)
            | Self::Hash(_)
            | Self::StartedSince(_)
            | Self::StartedUntil(_)
            | Self::Duration { .. } => {}
        }
    }

    /// Passes the conditions about durations to `visit`.
    pub fn visit_durations(&self, visit: &mut dyn FnMut(Option<&str>, &RangeInclusive<u64>)) {
        match self {
            Self::Duration { service, range } => visit(service.as_deref(), range),
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().for_each(|part| part.visit_durations(visit));
            }
            Self::Unknown
            | Self::Trace(_)
            | Self::Hash(_)
            | Self::Span(_)
            | Self::StartedSince(_)
            | Self::StartedUntil(_) => {}
        }
    }

    /// Derives the prefilter of an expression.
    #[must_use]
    pub fn of_expression(expression: &TraceExpression, statistics: &dyn ValueStatistics) -> Self {
        let each = |parts: &[TraceExpression]| {
            parts
                .iter()
                .map(|part| Self::of_expression(part, statistics))
                .collect()
        };
        match expression {
            TraceExpression::Spans(filter) => Self::of_filter(filter, statistics),
            TraceExpression::All(parts) => Self::All(each(parts)),
            TraceExpression::Any(parts) => Self::Any(each(parts)),
            TraceExpression::Count(inner, _, _) => Self::of_expression(inner, statistics),
        }
    }

    fn of_filter(filter: &SpanFilter, statistics: &dyn ValueStatistics) -> Self {
        let each = |parts: &[SpanFilter]| {
            parts
                .iter()
                .map(|part| Self::of_filter(part, statistics))
                .collect()
        };
        match filter {
            SpanFilter::All(parts) if names_unknown_operation(parts, statistics) => NEVER,
            SpanFilter::All(parts) => {
                // One condition has the durations of all parts.
                let others = parts.iter().filter(|part| !is_duration(part));
                let others = others.map(|part| Self::of_filter(part, statistics));
                Self::All(others.chain(Self::of_durations(parts)).collect())
            }
            SpanFilter::Any(parts) => Self::Any(each(parts)),
            // The complement of a necessary condition is not necessary for the complement.
            SpanFilter::Not(_) => Self::Unknown,
            filter if is_duration(filter) => {
                let durations = Self::of_durations(std::slice::from_ref(filter));
                durations.unwrap_or(Self::Unknown)
            }
            SpanFilter::Is(field, predicate) => Self::of_field(field, predicate, statistics),
        }
    }

    /// Derives the condition on the duration of a span that all parts are about.
    fn of_durations(parts: &[SpanFilter]) -> Option<Self> {
        let (mut least, mut greatest) = (0, u64::MAX);
        let mut service = None;
        for part in parts {
            match part {
                SpanFilter::Is(SpanField::Duration, ValuePredicate::Time(operator, time)) => {
                    match operator {
                        ComparisonOperator::Less => greatest = greatest.min(time.saturating_sub(1)),
                        ComparisonOperator::AtMost => greatest = greatest.min(*time),
                        ComparisonOperator::Equal => {
                            (least, greatest) = (least.max(*time), greatest.min(*time));
                        }
                        ComparisonOperator::AtLeast => least = least.max(*time),
                        ComparisonOperator::More => least = least.max(time.saturating_add(1)),
                        ComparisonOperator::Unequal => {}
                    }
                }
                SpanFilter::Is(SpanField::Service, ValuePredicate::Equal(literal)) => {
                    if let [text] = literal.text_forms().as_slice() {
                        service = Some(text.clone());
                    }
                }
                SpanFilter::Is(..)
                | SpanFilter::All(_)
                | SpanFilter::Any(_)
                | SpanFilter::Not(_) => {}
            }
        }
        let range = least..=greatest;
        (range != (0..=u64::MAX)).then_some(Self::Duration { service, range })
    }

    fn of_field(
        field: &SpanField,
        predicate: &ValuePredicate,
        statistics: &dyn ValueStatistics,
    ) -> Self {
        match field {
            SpanField::Attribute(scope, key) => {
                Self::of_attribute(*scope, key, predicate, statistics)
            }
            SpanField::Name => Self::of_texts(NAME, predicate, || Some(statistics.names())),
            SpanField::Service => {
                Self::of_texts(SERVICE, predicate, || Some(statistics.services()))
            }
            // Kinds and statuses are few: a list of the stored ones would exclude nothing.
            SpanField::Kind => Self::of_texts(KIND, predicate, || None),
            SpanField::Status => Self::of_texts(STATUS, predicate, || None),
            SpanField::Topic => Self::of_topic(predicate, statistics),
            SpanField::TraceId => {
                parse_equal(predicate, TraceId::from_hex).map_or(Self::Unknown, Self::Trace)
            }
            SpanField::Id => {
                parse_equal(predicate, SpanId::from_hex).map_or(Self::Unknown, Self::Span)
            }
            SpanField::StartTime => Self::of_start(predicate),
            SpanField::Duration
            | SpanField::StatusMessage
            | SpanField::ParentId
            | SpanField::TraceDuration
            | SpanField::RootName
            | SpanField::RootService
            | SpanField::EventName
            | SpanField::EventTime
            | SpanField::LinkTraceId
            | SpanField::LinkSpanId
            | SpanField::ScopeName
            | SpanField::ScopeVersion
            | SpanField::Partition
            | SpanField::Offset
            | SpanField::Group
            | SpanField::Lag
            | SpanField::QueueTime => Self::Unknown,
        }
    }

    /// The bounds of the trace decide whether one of its spans can have started in a range.
    fn of_start(predicate: &ValuePredicate) -> Self {
        match predicate {
            ValuePredicate::Time(ComparisonOperator::AtLeast, time) => Self::StartedSince(*time),
            ValuePredicate::Time(ComparisonOperator::AtMost, time) => Self::StartedUntil(*time),
            ValuePredicate::Time(..)
            | ValuePredicate::Present
            | ValuePredicate::Absent
            | ValuePredicate::Equal(_)
            | ValuePredicate::Unequal(_)
            | ValuePredicate::Match(_)
            | ValuePredicate::Mismatch(_)
            | ValuePredicate::Number(..)
            | ValuePredicate::Text(..) => Self::Unknown,
        }
    }

    fn of_topic(predicate: &ValuePredicate, statistics: &dyn ValueStatistics) -> Self {
        match predicate {
            ValuePredicate::Equal(_) => Self::of_texts(TOPIC, predicate, || None),
            ValuePredicate::Match(_) | ValuePredicate::Text(..) => any_of(
                TOPIC,
                statistics.accepted_topics(predicate).iter().map(|it| &**it),
            ),
            ValuePredicate::Present
            | ValuePredicate::Absent
            | ValuePredicate::Unequal(_)
            | ValuePredicate::Mismatch(_)
            | ValuePredicate::Number(..)
            | ValuePredicate::Time(..) => Self::Unknown,
        }
    }

    fn of_attribute(
        scope: AttributeScope,
        key: &str,
        predicate: &ValuePredicate,
        statistics: &dyn ValueStatistics,
    ) -> Self {
        if scope == AttributeScope::JaegerTag && JAEGER_TAGS.contains(&key) {
            // These tags are derived from fields: the fingerprint has the hash of the field, if
            // any, and not that of the tag.
            return match (key, predicate) {
                ("error", ValuePredicate::Equal(literal)) if !literal.is_json() => {
                    let any = AttributeScope::Any;
                    let attribute = Self::of_attribute(any, key, predicate, statistics);
                    Self::Any(vec![attribute, Self::Hash(hash_of_pair(STATUS, "error"))])
                }
                _ => Self::Unknown,
            };
        }
        match predicate {
            ValuePredicate::Absent => Self::Unknown,
            ValuePredicate::Present | ValuePredicate::Unequal(_) | ValuePredicate::Mismatch(_) => {
                Self::Hash(hash_of_key(key))
            }
            // The fingerprint has the elements of a list, and not its text.
            ValuePredicate::Equal(literal) if literal.is_json() => Self::Hash(hash_of_key(key)),
            ValuePredicate::Equal(literal) => {
                any_of(key, literal.text_forms().iter().map(String::as_str))
            }
            // The index lists the values that exist: test each once, instead of each span. When
            // the list is partial, all that is known is that the attribute must be there.
            ValuePredicate::Match(_)
            | ValuePredicate::Number(..)
            | ValuePredicate::Time(..)
            | ValuePredicate::Text(..) => {
                let texts = statistics.accepted_values(key, predicate);
                texts.map_or_else(
                    || Self::Hash(hash_of_key(key)),
                    |texts| any_of(key, texts.iter().map(|it| &**it)),
                )
            }
        }
    }

    /// Derives the prefilter of a text field; `texts` lists its stored values when they are known.
    fn of_texts<'a>(
        field: &str,
        predicate: &ValuePredicate,
        texts: impl FnOnce() -> Option<Vec<&'a str>>,
    ) -> Self {
        match predicate {
            ValuePredicate::Equal(literal) => {
                any_of(field, literal.text_forms().iter().map(String::as_str))
            }
            ValuePredicate::Match(_)
            | ValuePredicate::Mismatch(_)
            | ValuePredicate::Unequal(_)
            | ValuePredicate::Text(..) => {
                let accepts = |text: &&str| predicate.accepts(FieldValue::Text(text));
                texts().map_or(Self::Unknown, |texts| {
                    any_of(field, texts.into_iter().filter(accepts))
                })
            }
            ValuePredicate::Present
            | ValuePredicate::Absent
            | ValuePredicate::Number(..)
            | ValuePredicate::Time(..) => Self::Unknown,
        }
    }
}

/// Returns whether a filter is a condition on the duration of the span.
const fn is_duration(filter: &SpanFilter) -> bool {
    matches!(filter, SpanFilter::Is(SpanField::Duration, _))
}

/// Returns whether the parts ask for a service, an operation, or a pair of them that no stored
/// span has.
fn names_unknown_operation(parts: &[SpanFilter], statistics: &dyn ValueStatistics) -> bool {
    let equal_text = |wanted: &SpanField| {
        parts.iter().find_map(|part| match part {
            SpanFilter::Is(field, ValuePredicate::Equal(literal)) if field == wanted => {
                Some(literal.text())
            }
            SpanFilter::Is(..) | SpanFilter::All(_) | SpanFilter::Any(_) | SpanFilter::Not(_) => {
                None
            }
        })
    };
    let service = equal_text(&SpanField::Service);
    let operation = equal_text(&SpanField::Name);
    // Both conditions hold on one span, so the pair itself must exist.
    (service.is_some() || operation.is_some()) && !statistics.contains(service, operation)
}

/// Returns the condition that the fingerprint contains one of these values.
fn any_of<'a>(key: &str, texts: impl Iterator<Item = &'a str>) -> Prefilter {
    Prefilter::Any(
        texts
            .map(|text| Prefilter::Hash(hash_of_pair(key, text)))
            .collect(),
    )
}

/// Parses the literal of an equality. An id has one spelling only: the one it is compared with.
fn parse_equal<T>(predicate: &ValuePredicate, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    if let ValuePredicate::Equal(literal) = predicate {
        parse(literal.text())
    } else {
        None
    }
}
