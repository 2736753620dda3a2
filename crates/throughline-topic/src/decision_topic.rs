//! The compacted topic by which the members of a group share what joins spans across them.
//!
//! Every member appends, and reads all partitions from their first record on, without a group.
//! Nothing is committed: the topic is the state, and its retention bounds it.

mod entry_delivery;

use std::fmt;
use std::time::Duration;

use futures_executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{FromClientConfig as _, FromClientConfigAndContext as _};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use throughline_collector::DecisionLog;
use throughline_store::InsertError;
use tokio_util::sync::CancellationToken;

use self::entry_delivery::{DecisionClient, DecisionEntry};
use crate::consumer_close::close;
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
        Self::on(settings, i32::try_from(partitions).unwrap_or(i32::MAX))
    }

    /// Prepares to append to a topic that was found.
    fn on(settings: &SpanTopicSettings, partitions: i32) -> Result<Self, TopicError> {
        // An entry is repeated until it is written: offsets are not committed before.
        let fixed = [("acks", "all"), ("message.timeout.ms", "0")];
        let config = settings.client_config(&WRITER_DEFAULTS, &fixed);
        let context = DecisionClient::default();
        let producer = ThreadedProducer::from_config_and_context(&config, context);
        Ok(Self {
            settings: settings.clone(),
            partitions,
            producer: producer.map_err(TopicError::Property)?,
        })
    }

    fn send(&self, key: &[u8], value: &[u8]) -> KafkaResult<()> {
        let record = BaseRecord::to(&self.settings.topic).key(key).payload(value);
        self.producer.send(record).map_err(|(error, _)| error)
    }

    /// Sends the entries again that the brokers have refused, once all of these are known.
    fn send_refused(&self) {
        if self.producer.in_flight_count() > 0 {
            return;
        }
        let client = self.producer.context();
        let mut refused = client.take_refused();
        while let Some(DecisionEntry { key, value }) = refused.front() {
            if let Err(error) = self.send(key, value) {
                return client.refuse_again(refused, &error);
            }
            refused.pop_front();
        }
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
    fn append(&self, key: &str, value: &[u8]) -> bool {
        let client = self.producer.context();
        if client.refusal().is_some() {
            self.send_refused();
            return false;
        }
        let sent = self.send(key.as_bytes(), value);
        if let Err(error) = &sent {
            client.events().note_error(&error.to_string());
        }
        sent.is_ok()
    }

    fn flush(&self) -> Result<(), InsertError> {
        let failed = |reason: String| InsertError::Forward(format!("decisions: {reason}"));
        self.send_refused();
        let flushed = self.producer.flush(FLUSH_TIMEOUT);
        flushed.map_err(|error| failed(error.to_string()))?;
        // The outcome of each entry is known by now.
        self.producer
            .context()
            .refusal()
            .map_or(Ok(()), |reason| Err(failed(reason)))
    }

    fn written(&self) -> u64 {
        self.producer.context().written()
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
                    consumer.context().events().note_success();
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
                Some(Err(error)) => consumer.context().events().note_error(&error.to_string()),
            }
        }
        close(consumer);
    }
}

impl fmt::Debug for DecisionTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecisionTopic")
            .field("topic", &self.settings.topic)
            .finish_non_exhaustive()
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

#[cfg(test)]
mod tests;
