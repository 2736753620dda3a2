//! The compacted topic by which the members of a group share what joins spans across them.
//!
//! Every member appends, and reads all partitions from their first record on, without a group.
//! Nothing is committed: the topic is the state, and its retention bounds it.

use std::fmt;
use std::time::Duration;

use futures_executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{FromClientConfig as _, FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use throughline_collector::DecisionLog;
use throughline_store::InsertError;
use tokio_util::sync::CancellationToken;

use crate::client_events::{ClientEvents, log_line};
use crate::settings::SpanTopicSettings;
use crate::topic_lookup::{TopicError, find_topic};

/// Time that a poll waits for a record.
const POLL_TIMEOUT: Duration = Duration::from_millis(200);

/// Time that appended entries have to be acknowledged before offsets are committed. Longer, and
/// they are waited for at the next commit.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Time that the brokers have to describe the topic.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

const GROUP: &str = "throughline-decisions";

const POLICY: &str = "cleanup.policy";

const WRITER_DEFAULTS: [(&str, &str); 5] = [
    ("partitioner", "murmur2_random"),
    ("compression.type", "zstd"),
    ("linger.ms", "20"),
    ("queue.buffering.max.kbytes", "65536"),
    ("queue.buffering.max.messages", "500000"),
];

/// The topic of shared decisions.
pub struct DecisionTopic {
    settings: SpanTopicSettings,
    partitions: i32,
    producer: ThreadedProducer<DecisionClient>,
}

/// The context of both clients.
#[derive(Clone, Default)]
struct DecisionClient(ClientEvents);

// === impl DecisionTopic ===

impl DecisionTopic {
    /// Finds the topic, and prepares to append to it.
    ///
    /// # Errors
    /// [`TopicError`]; the topic must exist and be compacted.
    pub fn open(settings: &SpanTopicSettings) -> Result<Self, TopicError> {
        let partitions = match find_topic(settings) {
            Err(TopicError::Missing { topic, brokers }) => {
                return Err(TopicError::NoDecisions { topic, brokers });
            }
            found => found?,
        };
        let policy = cleanup_policy(settings).map_err(|error| TopicError::Unreachable {
            brokers: settings.brokers.clone(),
            reason: error.to_string(),
        })?;
        let topic = settings.topic.clone();
        if policy.is_some_and(|policy| !policy.split(',').any(|it| it.trim() == "compact")) {
            return Err(TopicError::NotCompacted { topic });
        }
        // An entry is repeated until it is written: offsets are not committed before.
        let fixed = [("acks", "all"), ("message.timeout.ms", "0")];
        let config = settings.client_config(&WRITER_DEFAULTS, &fixed);
        let context = DecisionClient::default();
        let producer = ThreadedProducer::from_config_and_context(&config, context);
        Ok(Self {
            settings: settings.clone(),
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
            producer: producer.map_err(TopicError::Property)?,
        })
    }

    fn consumer(&self) -> KafkaResult<BaseConsumer<DecisionClient>> {
        let fixed = [
            // Partitions are assigned with a group only. Nobody joins it, and nothing is committed.
            ("group.id", GROUP),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "earliest"),
        ];
        let config = self.settings.client_config(&[], &fixed);
        let consumer = BaseConsumer::from_config_and_context(&config, DecisionClient::default())?;
        let mut assigned = TopicPartitionList::new();
        for partition in 0..self.partitions {
            let topic = &self.settings.topic;
            assigned.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&assigned)?;
        Ok(consumer)
    }
}

impl DecisionLog for DecisionTopic {
    fn append(&self, key: String, value: Vec<u8>) -> bool {
        let record = BaseRecord::to(&self.settings.topic);
        let sent = self.producer.send(record.key(&key).payload(&value));
        if let Err((error, _)) = &sent {
            self.producer.context().0.note_error(&error.to_string());
        }
        sent.is_ok()
    }

    fn flush(&self) -> Result<(), InsertError> {
        let flushed = self.producer.flush(FLUSH_TIMEOUT);
        flushed.map_err(|error| InsertError::Forward(format!("decisions: {error}")))
    }

    fn read(&self, take: &dyn Fn(Option<&[u8]>) -> Option<String>, stopping: &CancellationToken) {
        let consumer = match self.consumer() {
            Ok(consumer) => consumer,
            Err(error) => {
                tracing::error!(%error, "decisions of other members are not read");
                return;
            }
        };
        while !stopping.is_cancelled() {
            match consumer.poll(POLL_TIMEOUT) {
                None => {}
                Some(Ok(record)) => {
                    consumer.context().0.note_success();
                    if let Some(reason) = take(record.payload()) {
                        tracing::warn!(
                            topic = self.settings.topic,
                            partition = record.partition(),
                            offset = record.offset(),
                            reason,
                            "record skipped; further ones are only counted, see /metrics"
                        );
                    }
                }
                Some(Err(error)) => consumer.context().0.note_error(&error.to_string()),
            }
        }
    }
}

impl fmt::Debug for DecisionTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecisionTopic")
            .field("topic", &self.settings.topic)
            .finish_non_exhaustive()
    }
}

// === impl DecisionClient ===

impl ClientContext for DecisionClient {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(facility, line);
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        self.0.note_error(reason);
    }
}

impl ConsumerContext for DecisionClient {}

impl ProducerContext for DecisionClient {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => self.0.note_success(),
            Err((error, _)) => self.0.note_error(&error.to_string()),
        }
    }
}

/// Returns the policy by which the topic is cleaned up; `None` where the brokers do not say.
fn cleanup_policy(settings: &SpanTopicSettings) -> KafkaResult<Option<String>> {
    let config = settings.client_config(&[], &[]);
    let admin = AdminClient::<DefaultClientContext>::from_config(&config)?;
    let options = AdminOptions::new().request_timeout(Some(DESCRIBE_TIMEOUT));
    let topic = ResourceSpecifier::Topic(&settings.topic);
    let described = block_on(admin.describe_configs([&topic], &options))?;
    // Access may be restricted to reading and writing.
    let described = described.into_iter().filter_map(Result::ok).next();
    Ok(described.and_then(|topic| topic.get(POLICY)?.value.clone()))
}
