//! Fields, operators and literals, and their valid combinations.

use throughline_model::{SpanKind, duration};
use throughline_store::{AttributeScope, ComparisonOperator, SpanField, ValuePredicate};

use super::condition::QueryField;

/// Fields whose names contain a colon, for the error message.
const INTRINSICS: &str = "the intrinsics are span:name, span:duration, span:status, \
                          span:statusMessage, span:kind, span:id, span:parentID, trace:id, \
                          trace:duration, trace:rootName, trace:rootService, event:name, \
                          event:timeSinceStart, link:traceID, link:spanID, \
                          instrumentation:name, instrumentation:version, span:childCount";

/// A literal in a query.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum QueryLiteral {
    /// Quoted text.
    Text(String),
    /// Number, with its text as written.
    Number(String, f64),
    /// Duration in nanoseconds.
    Time(u64),
    /// Boolean.
    Boolean(bool),
    /// `nil`: the field is missing.
    Nil,
    /// Any other word without quotes.
    Word(String),
}

/// The operator between a field and a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FilterOperator {
    Compare(ComparisonOperator),
    Match,
    Mismatch,
}

// === impl QueryLiteral ===

impl QueryLiteral {
    /// Parses a word without quotes.
    pub(super) fn from_word(word: &str) -> Self {
        match word {
            "nil" => Self::Nil,
            "true" => Self::Boolean(true),
            "false" => Self::Boolean(false),
            // Numbers before durations, whose notation includes a bare 0.
            _ => match word.parse::<f64>() {
                // Rust also parses `inf` and `nan`, which are plain words here.
                Ok(number) if number.is_finite() && word.contains(|c: char| c.is_ascii_digit()) => {
                    Self::Number(word.to_owned(), number)
                }
                _ => duration::parse(word).map_or_else(|| Self::Word(word.to_owned()), Self::Time),
            },
        }
    }
}

// === impl FilterOperator ===

impl FilterOperator {
    pub(super) fn from_symbol(symbol: &str) -> Option<Self> {
        Some(match symbol {
            "=~" => Self::Match,
            "!~" => Self::Mismatch,
            _ => Self::Compare(comparison(symbol)?),
        })
    }
}

/// Returns the comparison with this symbol.
pub(super) fn comparison(symbol: &str) -> Option<ComparisonOperator> {
    Some(match symbol {
        "=" => ComparisonOperator::Equal,
        "!=" => ComparisonOperator::Unequal,
        ">" => ComparisonOperator::More,
        ">=" => ComparisonOperator::AtLeast,
        "<" => ComparisonOperator::Less,
        "<=" => ComparisonOperator::AtMost,
        _ => return None,
    })
}

/// Returns the field with this name. `is_key` means that a part of it was quoted, so that it can
/// only be an attribute.
pub(super) fn field(word: &str, is_key: bool) -> Result<QueryField, String> {
    // Intrinsics first; `.name` or `span.name` reach an attribute of the same name.
    if !is_key && let Some(field) = computed(word) {
        return Ok(field);
    }
    match word.strip_prefix("parent.") {
        Some(field) => parent_field(field, is_key).map(QueryField::Parent),
        None => span_field(word, is_key).map(QueryField::Span),
    }
}

/// Returns the field of the parent with this name: an intrinsic, or an attribute of any scope.
fn parent_field(word: &str, is_key: bool) -> Result<SpanField, String> {
    match word {
        "name" | "duration" | "kind" | "status" | "statusMessage" if !is_key => {
            span_field(word, is_key)
        }
        _ if word.starts_with("span.") || word.starts_with("resource.") => span_field(word, is_key),
        "" => Err("the attribute name is missing: write parent.name".to_owned()),
        _ => Ok(SpanField::Attribute(AttributeScope::Any, word.to_owned())),
    }
}

fn span_field(word: &str, is_key: bool) -> Result<SpanField, String> {
    if !is_key && let Some(field) = intrinsic(word) {
        return Ok(field);
    }
    let attribute = |scope, key: &str| match key {
        "" => Err(format!("the attribute name is missing: write {word}name")),
        _ => Ok(SpanField::Attribute(scope, key.to_owned())),
    };
    if let Some(key) = word.strip_prefix('.') {
        return attribute(AttributeScope::Any, key);
    }
    match word
        .split_once('.')
        .map(|(scope, key)| (AttributeScope::from_name(scope), key))
    {
        Some((Some(scope), key)) => attribute(scope, key),
        Some(_) | None if word.contains(':') => {
            Err(format!("unknown field `{word}`: {INTRINSICS}"))
        }
        Some(_) | None => Err(format!(
            "unknown field `{word}`: \
             write .{word}, span.{word} or resource.{word} for an attribute"
        )),
    }
}

/// Returns the intrinsic that depends on other spans of the trace.
fn computed(word: &str) -> Option<QueryField> {
    Some(match word {
        "childCount" | "span:childCount" => QueryField::ChildCount,
        "nestedSetLeft" => QueryField::NestedSetLeft,
        "nestedSetRight" => QueryField::NestedSetRight,
        "nestedSetParent" => QueryField::NestedSetParent,
        "parent" => QueryField::Span(SpanField::ParentId),
        _ => return None,
    })
}

fn intrinsic(word: &str) -> Option<SpanField> {
    Some(match word {
        "name" | "span:name" | "operation" => SpanField::Name,
        "duration" | "span:duration" => SpanField::Duration,
        "status" | "span:status" => SpanField::Status,
        "statusMessage" | "span:statusMessage" => SpanField::StatusMessage,
        "kind" | "span:kind" => SpanField::Kind,
        "span:id" => SpanField::Id,
        "span:parentID" => SpanField::ParentId,
        "service" | "resource.service.name" | ".service.name" => SpanField::Service,
        "traceDuration" | "trace:duration" => SpanField::TraceDuration,
        "rootName" | "trace:rootName" => SpanField::RootName,
        "rootServiceName" | "rootService" | "trace:rootService" | "trace:rootServiceName" => {
            SpanField::RootService
        }
        "trace:id" => SpanField::TraceId,
        "event:name" => SpanField::EventName,
        "event:timeSinceStart" => SpanField::EventTime,
        "link:traceID" => SpanField::LinkTraceId,
        "link:spanID" => SpanField::LinkSpanId,
        "instrumentation:name" => SpanField::ScopeName,
        "instrumentation:version" => SpanField::ScopeVersion,
        "topic" => SpanField::Topic,
        "partition" => SpanField::Partition,
        "offset" => SpanField::Offset,
        "group" => SpanField::Group,
        "lag" => SpanField::Lag,
        "queue_time" => SpanField::QueueTime,
        _ => return None,
    })
}

/// Returns the field and its predicate. A lag compared with a duration is the time in the topic.
pub(super) fn predicate(
    field: SpanField,
    operator: FilterOperator,
    literal: &QueryLiteral,
) -> Result<(SpanField, ValuePredicate), String> {
    match operator {
        FilterOperator::Match | FilterOperator::Mismatch => {
            let QueryLiteral::Text(expression) = literal else {
                return Err("a regular expression must be quoted, as in =~ \"GET .*\"".to_owned());
            };
            let build = if operator == FilterOperator::Match {
                ValuePredicate::matching
            } else {
                ValuePredicate::mismatching
            };
            build(expression)
                .map(|predicate| (field, predicate))
                .map_err(|error| error.to_string())
        }
        FilterOperator::Compare(comparison) => match (field, literal) {
            (field, QueryLiteral::Nil) => {
                nil_predicate(comparison).map(|predicate| (field, predicate))
            }
            (SpanField::Lag, QueryLiteral::Time(_)) => {
                compare(&SpanField::QueueTime, comparison, literal)
                    .map(|predicate| (SpanField::QueueTime, predicate))
            }
            (field, _) => compare(&field, comparison, literal).map(|predicate| (field, predicate)),
        },
    }
}

fn nil_predicate(comparison: ComparisonOperator) -> Result<ValuePredicate, String> {
    match comparison {
        ComparisonOperator::Equal => Ok(ValuePredicate::Absent),
        ComparisonOperator::Unequal => Ok(ValuePredicate::Present),
        ComparisonOperator::Less
        | ComparisonOperator::AtMost
        | ComparisonOperator::AtLeast
        | ComparisonOperator::More => Err("nil has no order: use = or !=".to_owned()),
    }
}

fn compare(
    field: &SpanField,
    comparison: ComparisonOperator,
    literal: &QueryLiteral,
) -> Result<ValuePredicate, String> {
    // Checked here, with the position of the literal, rather than never matching.
    check_literal(field, literal)?;
    let is_equality = matches!(
        comparison,
        ComparisonOperator::Equal | ComparisonOperator::Unequal
    );
    let equality = |text: &str| {
        if comparison == ComparisonOperator::Equal {
            ValuePredicate::equal(text)
        } else {
            ValuePredicate::unequal(text)
        }
    };
    match literal {
        QueryLiteral::Time(time) => Ok(ValuePredicate::Time(comparison, *time)),
        QueryLiteral::Number(text, _) | QueryLiteral::Text(text) | QueryLiteral::Word(text)
            if is_equality =>
        {
            Ok(equality(text))
        }
        QueryLiteral::Boolean(boolean) if is_equality => {
            Ok(equality(if *boolean { "true" } else { "false" }))
        }
        QueryLiteral::Number(_, number) => Ok(ValuePredicate::Number(comparison, *number)),
        QueryLiteral::Text(text) => Ok(ValuePredicate::Text(comparison, text.clone())),
        QueryLiteral::Boolean(_) | QueryLiteral::Word(_) | QueryLiteral::Nil => {
            Err("this value has no order: use = or !=".to_owned())
        }
    }
}

/// Checks that the literal suits the field.
fn check_literal(field: &SpanField, literal: &QueryLiteral) -> Result<(), String> {
    let word = match literal {
        QueryLiteral::Word(word) | QueryLiteral::Text(word) => Some(word.as_str()),
        QueryLiteral::Number(..)
        | QueryLiteral::Time(_)
        | QueryLiteral::Boolean(_)
        | QueryLiteral::Nil => None,
    };
    match (field, literal) {
        (
            SpanField::Duration
            | SpanField::TraceDuration
            | SpanField::EventTime
            | SpanField::QueueTime,
            QueryLiteral::Time(_),
        ) => Ok(()),
        (
            SpanField::Duration
            | SpanField::TraceDuration
            | SpanField::EventTime
            | SpanField::QueueTime,
            _,
        ) => Err("a duration needs a unit, as in 100ms or 1.5s".to_owned()),
        (SpanField::Status, _)
            if word.is_none_or(|word| !matches!(word, "ok" | "error" | "unset")) =>
        {
            Err("a status must be ok, error or unset".to_owned())
        }
        (SpanField::Kind, _)
            if word.is_none_or(|word| {
                word != "unspecified"
                    && SpanKind::from_name(word).and_then(SpanKind::name) != Some(word)
            }) =>
        {
            Err(
                "a kind must be server, client, producer, consumer, internal or unspecified"
                    .to_owned(),
            )
        }
        (SpanField::Status | SpanField::Kind, _) => Ok(()),
        (
            SpanField::Name
            | SpanField::StatusMessage
            | SpanField::Service
            | SpanField::RootName
            | SpanField::RootService
            | SpanField::EventName
            | SpanField::ScopeName
            | SpanField::Topic
            | SpanField::Group,
            QueryLiteral::Number(text, _),
        ) => Err(format!(
            "the field is a text: put the value in quotes, as in \"{text}\""
        )),
        (_, QueryLiteral::Word(word)) => Err(format!(
            "`{word}` is not a number, duration or boolean: put texts in quotes, as in \"{word}\""
        )),
        _ => Ok(()),
    }
}
