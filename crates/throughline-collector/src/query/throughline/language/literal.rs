//! Fields and what they are compared with: which goes with which.

use throughline_model::SpanKind;
use throughline_store::{Comparison, Field, Scope, Test};

use throughline_model::duration;

/// Something to compare with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    /// A text in quotes.
    Text(String),
    /// A number, as written.
    Number(String, f64),
    /// A duration in nanoseconds.
    Time(u64),
    /// A truth.
    Truth(bool),
    /// Nothing.
    Nil,
    /// A bare word.
    Word(String),
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Compare(Comparison),
    Match,
    Mismatch,
}

// === impl Literal ===

impl Literal {
    /// Of a word without quotes.
    pub(super) fn of_word(word: &str) -> Self {
        match word {
            "nil" => Self::Nil,
            "true" => Self::Truth(true),
            "false" => Self::Truth(false),
            // Before durations, which take a bare 0.
            _ => match word.parse::<f64>() {
                Ok(number) if number.is_finite() && word.contains(|c: char| c.is_ascii_digit()) => {
                    Self::Number(word.to_owned(), number)
                }
                _ => duration::parse(word).map_or_else(|| Self::Word(word.to_owned()), Self::Time),
            },
        }
    }
}

// === impl Operator ===

impl Operator {
    pub(super) fn from_symbol(symbol: &str) -> Option<Self> {
        Some(match symbol {
            "=~" => Self::Match,
            "!~" => Self::Mismatch,
            _ => Self::Compare(comparison(symbol)?),
        })
    }
}

/// Of this symbol.
pub(super) fn comparison(symbol: &str) -> Option<Comparison> {
    Some(match symbol {
        "=" => Comparison::Equal,
        "!=" => Comparison::Unequal,
        ">" => Comparison::More,
        ">=" => Comparison::AtLeast,
        "<" => Comparison::Less,
        "<=" => Comparison::AtMost,
        _ => return None,
    })
}

/// The field of this name; `is_key` when a part of it was in quotes, so that it can only be an attribute.
pub(super) fn field(word: &str, is_key: bool) -> Result<Field, String> {
    if !is_key && let Some(field) = intrinsic(word) {
        return Ok(field);
    }
    let attribute = |scope, key: &str| match key {
        "" => Err(format!("the attribute has no name: write {word}name")),
        _ => Ok(Field::Attribute(scope, key.to_owned())),
    };
    if let Some(key) = word.strip_prefix('.') {
        return attribute(Scope::Any, key);
    }
    match word
        .split_once('.')
        .map(|(scope, key)| (scope, Scope::from_name(scope), key))
    {
        Some((_, Some(scope), key)) => attribute(scope, key),
        Some(("parent", None, _)) => {
            Err("attributes of the parent are not understood yet".to_owned())
        }
        Some(_) | None if word.contains(':') => Err(format!("`{word}` is no field: {INTRINSICS}")),
        Some(_) | None => Err(format!(
            "`{word}` is no field: write .{word}, span.{word} or resource.{word} for an attribute"
        )),
    }
}

fn intrinsic(word: &str) -> Option<Field> {
    Some(match word {
        "name" | "span:name" | "operation" => Field::Name,
        "duration" | "span:duration" => Field::Duration,
        "status" | "span:status" => Field::Status,
        "statusMessage" | "span:statusMessage" => Field::StatusMessage,
        "kind" | "span:kind" => Field::Kind,
        "span:id" => Field::Id,
        "span:parentID" => Field::ParentId,
        "service" | "resource.service.name" | ".service.name" => Field::Service,
        "traceDuration" | "trace:duration" => Field::TraceDuration,
        "rootName" | "trace:rootName" => Field::RootName,
        "rootServiceName" | "rootService" | "trace:rootService" | "trace:rootServiceName" => {
            Field::RootService
        }
        "trace:id" => Field::TraceId,
        "event:name" => Field::EventName,
        "event:timeSinceStart" => Field::EventTime,
        "link:traceID" => Field::LinkTraceId,
        "link:spanID" => Field::LinkSpanId,
        "instrumentation:name" => Field::ScopeName,
        "instrumentation:version" => Field::ScopeVersion,
        "topic" => Field::Topic,
        "partition" => Field::Partition,
        "offset" => Field::Offset,
        "group" => Field::Group,
        "lag" => Field::Lag,
        "queue_time" => Field::QueueTime,
        _ => return None,
    })
}

const INTRINSICS: &str = "those with a colon are span:name, span:duration, span:status, span:statusMessage, span:kind, span:id, \
                          span:parentID, trace:id, trace:duration, trace:rootName, trace:rootService, event:name, \
                          event:timeSinceStart, link:traceID, link:spanID, instrumentation:name, instrumentation:version";

/// What is asked of the field; a lag in time is the time in the topic.
pub(super) fn test(
    field: Field,
    operator: Operator,
    literal: &Literal,
) -> Result<(Field, Test), String> {
    match operator {
        Operator::Match | Operator::Mismatch => {
            let Literal::Text(expression) = literal else {
                return Err("an expression stands in quotes, as in =~ \"GET .*\"".to_owned());
            };
            let build = if operator == Operator::Match {
                Test::matched
            } else {
                Test::mismatched
            };
            build(expression)
                .map(|test| (field, test))
                .map_err(|error| error.to_string())
        }
        Operator::Compare(comparison) => match (field, literal) {
            (field, Literal::Nil) => nil(comparison).map(|test| (field, test)),
            (Field::Lag, Literal::Time(_)) => {
                compare(&Field::QueueTime, comparison, literal).map(|test| (Field::QueueTime, test))
            }
            (field, _) => compare(&field, comparison, literal).map(|test| (field, test)),
        },
    }
}

fn nil(comparison: Comparison) -> Result<Test, String> {
    match comparison {
        Comparison::Equal => Ok(Test::Absent),
        Comparison::Unequal => Ok(Test::Present),
        Comparison::Less | Comparison::AtMost | Comparison::AtLeast | Comparison::More => {
            Err("nil is only equal or unequal: use = or !=".to_owned())
        }
    }
}

fn compare(field: &Field, comparison: Comparison, literal: &Literal) -> Result<Test, String> {
    check(field, literal)?;
    let is_equality = matches!(comparison, Comparison::Equal | Comparison::Unequal);
    let equality = |text: &str| {
        if comparison == Comparison::Equal {
            Test::equal(text)
        } else {
            Test::unequal(text)
        }
    };
    match literal {
        Literal::Time(time) => Ok(Test::Time(comparison, *time)),
        Literal::Number(text, _) | Literal::Text(text) | Literal::Word(text) if is_equality => {
            Ok(equality(text))
        }
        Literal::Truth(truth) if is_equality => Ok(equality(if *truth { "true" } else { "false" })),
        Literal::Number(_, number) => Ok(Test::Number(comparison, *number)),
        Literal::Text(text) => Ok(Test::Text(comparison, text.clone())),
        Literal::Truth(_) | Literal::Word(_) | Literal::Nil => {
            Err("this can only be equal or unequal: use = or !=".to_owned())
        }
    }
}

/// Whether the field is of the kind of the literal.
fn check(field: &Field, literal: &Literal) -> Result<(), String> {
    let word = match literal {
        Literal::Word(word) | Literal::Text(word) => Some(word.as_str()),
        Literal::Number(..) | Literal::Time(_) | Literal::Truth(_) | Literal::Nil => None,
    };
    match (field, literal) {
        (
            Field::Duration | Field::TraceDuration | Field::EventTime | Field::QueueTime,
            Literal::Time(_),
        ) => Ok(()),
        (Field::Duration | Field::TraceDuration | Field::EventTime | Field::QueueTime, _) => {
            Err("a duration needs a unit, as in 100ms or 1.5s".to_owned())
        }
        (Field::Status, _) if word.is_none_or(|word| !matches!(word, "ok" | "error" | "unset")) => {
            Err("a status is ok, error or unset".to_owned())
        }
        (Field::Kind, _)
            if word.is_none_or(|word| {
                word != "unspecified"
                    && SpanKind::from_name(word).and_then(SpanKind::name) != Some(word)
            }) =>
        {
            Err("a kind is server, client, producer, consumer, internal or unspecified".to_owned())
        }
        (Field::Status | Field::Kind, _) => Ok(()),
        (_, Literal::Word(word)) => Err(format!(
            "`{word}` is neither number, duration nor truth: put texts in quotes, as in \"{word}\""
        )),
        _ => Ok(()),
    }
}
