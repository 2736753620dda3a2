//! Errors in the form that a span holds.

use std::borrow::Cow;
use std::fmt;

use opentelemetry::Value;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// The `error.type` of cancelled work, as the HTTP layers record it.
const CANCELLED: &str = "cancelled";

/// An error in the form that a span holds. Its texts are created only where they are read: the
/// debug output of an error with a backtrace takes milliseconds.
pub struct SpanError<'a> {
    kind: Cow<'static, str>,
    source: ErrorSource<'a>,
}

enum ErrorSource<'a> {
    Value(&'a dyn ErrorText),
    /// The message of an outcome without a value.
    Text(&'static str),
}

/// The texts of any error.
trait ErrorText {
    fn message(&self) -> String;
    fn detail(&self) -> String;
}

impl<E: fmt::Display + fmt::Debug> ErrorText for E {
    fn message(&self) -> String {
        self.to_string()
    }

    fn detail(&self) -> String {
        format!("{self:?}")
    }
}

// === impl SpanError ===

impl<'a> SpanError<'a> {
    /// Converts the error of a handler: any type with `Display` and `Debug`, `anyhow::Error` too.
    pub(crate) fn of<E: fmt::Display + fmt::Debug>(error: &'a E) -> Self {
        Self {
            kind: Cow::Borrowed(std::any::type_name::<E>()),
            source: ErrorSource::Value(error),
        }
    }

    /// Converts an error of the Kafka client.
    pub(crate) fn kafka(error: &'a KafkaError) -> Self {
        let kind = error
            .rdkafka_error_code()
            .map_or(Cow::Borrowed("KafkaError"), |code| {
                Cow::Owned(kafka_error_name(code))
            });
        Self {
            kind,
            source: ErrorSource::Value(error),
        }
    }

    /// Returns the error of a handler that panicked. The panic hook reports the payload.
    pub(crate) const fn panic() -> Self {
        Self {
            kind: Cow::Borrowed("panic"),
            source: ErrorSource::Text("the handler panicked"),
        }
    }

    /// Returns the outcome of work that was given up before its end: a future that was dropped, a
    /// record that nobody handled.
    pub(crate) const fn cancelled() -> Self {
        Self {
            kind: Cow::Borrowed(CANCELLED),
            source: ErrorSource::Text(""),
        }
    }

    /// Returns a low-cardinality name: Kafka's error name, or the error's Rust type (`error.type`).
    #[must_use]
    pub fn kind(&self) -> Value {
        Value::from(self.kind.clone())
    }

    /// Returns the error message.
    #[must_use]
    pub fn message(&self) -> String {
        match self.source {
            ErrorSource::Value(error) => error.message(),
            ErrorSource::Text(text) => text.to_owned(),
        }
    }

    /// Returns the debug output of the error, with its causes as far as they are part of it.
    #[must_use]
    pub fn detail(&self) -> String {
        match self.source {
            ErrorSource::Value(error) => error.detail(),
            ErrorSource::Text(text) => text.to_owned(),
        }
    }

    /// Returns whether the work was given up, rather than failed.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.kind == CANCELLED
    }
}

impl fmt::Debug for SpanError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanError")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Returns Kafka's name of an error: `NOT_ENOUGH_REPLICAS` for rdkafka's `NotEnoughReplicas`.
fn kafka_error_name(code: RDKafkaErrorCode) -> String {
    let mut name = String::new();
    // rdkafka's names are Kafka's in camel case, so no table of codes is needed.
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_names_of_kafka() {
        let error = KafkaError::MessageProduction(RDKafkaErrorCode::NotEnoughReplicas);
        assert_eq!(SpanError::kafka(&error).kind, "NOT_ENOUGH_REPLICAS");
        assert_eq!(SpanError::kafka(&KafkaError::Canceled).kind, "KafkaError");
    }
}
