//! Finds the topic before anything is read or written, so that a wrong address or name is an error
//! at the start and not silence.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::client_events::log_line;
use crate::settings::SpanTopicSettings;

/// Time that the brokers have to answer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// The reason for which a topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// A property is unknown or its value is invalid.
    #[error("a property of the Kafka client is invalid: {0}")]
    Property(#[source] KafkaError),
    /// No broker answers.
    #[error(
        "no Kafka broker answers at {brokers}: {reason}; check the addresses, which must be those \
         of a listener without TLS"
    )]
    Unreachable {
        /// Their addresses.
        brokers: String,
        /// Error of the first connection.
        reason: String,
    },
    /// The topic does not exist.
    #[error(
        "the topic {topic} does not exist at {brokers}; create it, with several partitions for \
         several members, or name another one with --topic"
    )]
    Missing {
        /// Name of the topic.
        topic: String,
        /// Addresses of the brokers.
        brokers: String,
    },
    /// The topic of decisions does not exist.
    #[error(
        "the topic {topic} for decisions does not exist at {brokers}; create it, with \
         cleanup.policy=compact,delete and a retention.ms for which traces are kept, or name \
         another one with --decisions-topic"
    )]
    NoDecisions {
        /// Name of the topic.
        topic: String,
        /// Addresses of the brokers.
        brokers: String,
    },
    /// The topic of decisions is not compacted.
    #[error(
        "the topic {topic} for decisions is not compacted; set its cleanup.policy to \
         compact,delete with kafka-configs.sh, or name another one with --decisions-topic"
    )]
    NotCompacted {
        /// Name of the topic.
        topic: String,
    },
    /// The brokers refuse to describe the topic.
    #[error("the brokers refuse access to the topic {topic}: {reason}")]
    Refused {
        /// Name of the topic.
        topic: String,
        /// Their error.
        reason: RDKafkaErrorCode,
    },
}

/// Number of events among which the reason of a failure is sought.
const MAX_EVENTS: usize = 20;

/// The context of the client that looks: it keeps the reason of the first failed connection.
#[derive(Clone, Default)]
struct LookupContext(Arc<Mutex<Option<String>>>);

impl LookupContext {
    /// Returns the reason of the first failed connection. The result of a lookup has none.
    fn reason(&self, consumer: &BaseConsumer<Self>) -> Option<String> {
        let reason = || {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        };
        // A poll serves the callback with the next error.
        (0..MAX_EVENTS).find_map(|_| {
            drop(consumer.poll(Duration::from_millis(50)));
            reason()
        })
    }
}

impl ClientContext for LookupContext {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(facility, line);
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| reason.to_owned());
    }
}

impl ConsumerContext for LookupContext {}

/// Looks for the topic; returns the number of its partitions.
pub(crate) fn find_topic(settings: &SpanTopicSettings) -> Result<usize, TopicError> {
    let context = LookupContext::default();
    // A consumer, because a producer that asks for a topic has it created.
    let fixed = [("allow.auto.create.topics", "false")];
    let config = settings.client_config(&[], &fixed);
    let consumer = BaseConsumer::from_config_and_context(&config, context.clone());
    let consumer = consumer.map_err(TopicError::Property)?;
    let (topic, brokers) = (settings.topic.clone(), settings.brokers.clone());
    let metadata = consumer.fetch_metadata(Some(&topic), LOOKUP_TIMEOUT);
    let metadata = metadata.map_err(|error| TopicError::Unreachable {
        brokers: brokers.clone(),
        reason: context
            .reason(&consumer)
            .unwrap_or_else(|| error.to_string()),
    })?;
    let found = metadata.topics().first();
    let partitions = found.map_or(0, |topic| topic.partitions().len());
    match found
        .and_then(|topic| topic.error())
        .map(RDKafkaErrorCode::from)
    {
        None if partitions > 0 => Ok(partitions),
        None | Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
            Err(TopicError::Missing { topic, brokers })
        }
        Some(reason) => Err(TopicError::Refused { topic, reason }),
    }
}
