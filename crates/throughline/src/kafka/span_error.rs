//! Errors in the form that a span holds.

use std::borrow::Cow;
use std::fmt;

use opentelemetry::Value;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// The `error.type` of cancelled work, as the HTTP layers record it.
const CANCELLED: &str = "cancelled";

/// An error in the form that a span holds.
#[derive(Debug, Clone)]
pub struct SpanError {
    /// A low-cardinality name: Kafka's error name, or the error's Rust type (`error.type`).
    pub kind: Cow<'static, str>,
    /// The error message.
    pub message: String,
    /// The debug output of the error, with its causes as far as they are part of it.
    pub detail: String,
}

// === impl SpanError ===

impl SpanError {
    /// Converts the error of a handler: any type with `Display` and `Debug`, `anyhow::Error` too.
    pub(crate) fn of<E: fmt::Display + fmt::Debug>(error: &E) -> Self {
        let kind = Cow::Borrowed(std::any::type_name::<E>());
        Self {
            kind,
            message: error.to_string(),
            detail: format!("{error:?}"),
        }
    }

    /// Converts an error of the Kafka client.
    pub(crate) fn kafka(error: &KafkaError) -> Self {
        let kind = error
            .rdkafka_error_code()
            .map_or(Cow::Borrowed("KafkaError"), |code| {
                Cow::Owned(kafka_error_name(code))
            });
        Self {
            kind,
            message: error.to_string(),
            detail: format!("{error:?}"),
        }
    }

    /// Returns the error of a handler that panicked. The panic hook reports the payload.
    pub(crate) fn panic() -> Self {
        let message = "the handler panicked".to_owned();
        Self {
            kind: Cow::Borrowed("panic"),
            detail: message.clone(),
            message,
        }
    }

    /// Returns the outcome of work that was given up before its end: a future that was dropped, a
    /// record that nobody handled.
    pub(crate) fn cancelled() -> Self {
        Self {
            kind: Cow::Borrowed(CANCELLED),
            message: String::new(),
            detail: String::new(),
        }
    }

    /// Returns whether the work was given up, rather than failed.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.kind == CANCELLED
    }

    pub(crate) fn kind(&self) -> Value {
        Value::from(self.kind.clone())
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
