//! A member of a consumer group that reads spans into the store.
//!
//! One thread polls, stores and commits, so that a record is either stored, or waits here, or was
//! not read. Offsets are committed after the store is durable; before a partition is given up they
//! are committed too. When the store refuses a record, reading is paused and the record is tried
//! again; the member stays in its group meanwhile, because it goes on polling.

mod member_context;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Headers as _};
use throughline_collector::{RecordError, RecordIngest, RecordOutcome, RecordSource};
use tokio_util::sync::CancellationToken;

use self::member_context::{MemberContext, ReadRecord, absolute};
use crate::consumer_close::close;
use crate::settings::SpanTopicSettings;
use crate::topic_lookup::{TopicError, find_topic};
use crate::writer::FRAGMENTS_HEADER;

/// Time that a poll waits for a record; also the pause between two attempts to store one that was
/// refused.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// Time between two commits of offsets: so much is read again after a failure.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two questions for the ends of partitions while reading is paused.
const LAG_INTERVAL: Duration = Duration::from_secs(5);

/// Time that the brokers have for an answer to them.
const LAG_TIMEOUT: Duration = Duration::from_secs(1);

/// Stands for the value of a record that has none, and is as invalid.
const NO_VALUE: &[u8] = b"{";

const DEFAULTS: [(&str, &str); 2] = [
    // A new group begins with the oldest record.
    ("auto.offset.reset", "earliest"),
    // Partitions that a member keeps are not interrupted by a rebalance (KIP-429).
    ("partition.assignment.strategy", "cooperative-sticky"),
];

/// A member of a consumer group.
pub struct TopicReader {
    consumer: BaseConsumer<MemberContext>,
    topic: String,
    partitions: usize,
}

/// The state of a reader that runs.
struct ReaderLoop {
    consumer: BaseConsumer<MemberContext>,
    topic: String,
    ingest: RecordIngest,
    committed: Instant,
    measured: Instant,
}

// === impl TopicReader ===

impl TopicReader {
    /// Finds the topic, and prepares a member of this group.
    ///
    /// # Errors
    /// [`TopicError`].
    pub fn open(settings: &SpanTopicSettings, group: &str) -> Result<Self, TopicError> {
        let partitions = find_topic(settings)?;
        let fixed = [
            ("group.id", group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("statistics.interval.ms", "1000"),
        ];
        let config = settings.client_config(&DEFAULTS, &fixed);
        let context = MemberContext::new(settings.topic.clone());
        let consumer = BaseConsumer::from_config_and_context(&config, context);
        Ok(Self {
            consumer: consumer.map_err(TopicError::Property)?,
            topic: settings.topic.clone(),
            partitions,
        })
    }

    /// Returns the number of partitions of the topic: more members have nothing to read.
    #[must_use]
    pub const fn partitions(&self) -> usize {
        self.partitions
    }
}

impl fmt::Debug for TopicReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicReader")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl RecordSource for TopicReader {
    fn run(self: Box<Self>, ingest: RecordIngest, stopping: CancellationToken) {
        let Self {
            consumer, topic, ..
        } = *self;
        consumer.context().begin(ingest.clone());
        if let Err(error) = consumer.subscribe(&[&topic]) {
            tracing::error!(topic, %error, "cannot subscribe to the topic");
            return;
        }
        let mut reader = ReaderLoop {
            consumer,
            topic,
            ingest,
            committed: Instant::now(),
            measured: Instant::now(),
        };
        while !stopping.is_cancelled() {
            if let Err(error) = reader.step() {
                tracing::error!(%error, "reading from Kafka ended");
                break;
            }
        }
        let context = Arc::clone(reader.consumer.context());
        if !close(reader.consumer) {
            tracing::warn!(
                "Kafka did not answer while the collector stopped; records that were not committed \
                 are read again"
            );
        }
        context.end();
    }
}

// === impl ReaderLoop ===

impl ReaderLoop {
    /// Takes at most one record.
    ///
    /// # Errors
    /// A failure after which the client does nothing any more.
    fn step(&mut self) -> Result<(), KafkaError> {
        let is_blocked = !self.store_refused();
        self.pause_while(is_blocked);
        match self.consumer.poll(POLL_TIMEOUT) {
            None => {}
            Some(Ok(message)) => {
                self.consumer.context().events.note_success();
                let record = read_record(&message);
                self.take(record);
            }
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
            Some(Err(error)) => self
                .consumer
                .context()
                .events
                .note_error(&error.to_string()),
        }
        if self.committed.elapsed() >= COMMIT_INTERVAL {
            self.committed = Instant::now();
            let context = self.consumer.context();
            context.commit(&self.consumer, CommitMode::Async);
        }
        Ok(())
    }

    /// Tries the records again that the store refused; returns whether none is left.
    fn store_refused(&self) -> bool {
        let context = self.consumer.context();
        while let Some(record) = context.next_refused() {
            if !self.store(&record) {
                context.refuse_again(record);
                return false;
            }
        }
        true
    }

    /// Stores a record, or keeps it behind those that were refused before.
    fn take(&self, record: ReadRecord) {
        let context = self.consumer.context();
        if context.has_refused() {
            context.refuse(record);
        } else if !self.store(&record) {
            self.ingest.count(RecordOutcome::Refused);
            context.refuse(record);
        }
    }

    /// Stores a record; returns false if the store refuses it for now. A poisoned one is skipped.
    fn store(&self, record: &ReadRecord) -> bool {
        let value = record.value.as_deref().unwrap_or(NO_VALUE);
        let number = match self.ingest.store(value, record.are_fragments) {
            Ok(number) => {
                self.ingest.count(RecordOutcome::Stored);
                number
            }
            Err(RecordError::Refused(_)) => return false,
            Err(RecordError::Poisoned {
                reason,
                record: number,
            }) => {
                let reason = match &record.value {
                    Some(_) => reason,
                    None => "the record has no value".to_owned(),
                };
                if self.ingest.count(RecordOutcome::Poisoned) {
                    tracing::warn!(
                        partition = record.partition,
                        offset = record.offset,
                        reason,
                        "record skipped; further ones are only counted, see /metrics"
                    );
                }
                number
            }
        };
        self.consumer.context().note_stored(record, number);
        true
    }

    /// Pauses all partitions, also those that were assigned since; or resumes them.
    fn pause_while(&mut self, is_blocked: bool) {
        let context = self.consumer.context();
        let was_paused = context.is_paused();
        if !is_blocked && !was_paused {
            return;
        }
        let changed = self.consumer.assignment().and_then(|assigned| {
            if is_blocked {
                self.consumer.pause(&assigned)
            } else {
                self.consumer.resume(&assigned)
            }
        });
        if let Err(error) = changed {
            context.events.note_error(&error.to_string());
            return;
        }
        context.set_paused(is_blocked);
        match (was_paused, is_blocked) {
            // Many times a minute while much is read at once.
            _ if self.ingest.is_passing_on() => {}
            (false, true) => {
                tracing::warn!("reading from Kafka paused until the store accepts spans again");
            }
            (true, false) => tracing::info!("reading from Kafka resumed"),
            (false, false) | (true, true) => {}
        }
        if is_blocked && self.measured.elapsed() >= LAG_INTERVAL {
            if let Ok(lag) = self.measure_lag() {
                self.ingest.set_lag(lag);
            }
            self.measured = Instant::now();
        }
    }

    /// Asks the brokers for the number of records that are not committed.
    fn measure_lag(&self) -> KafkaResult<u64> {
        let mut lag = 0;
        for partition in self.consumer.committed(LAG_TIMEOUT)?.elements() {
            let id = partition.partition();
            let (first, end) = self
                .consumer
                .fetch_watermarks(&self.topic, id, LAG_TIMEOUT)?;
            let committed = absolute(partition.offset()).unwrap_or(first);
            lag += u64::try_from(end - committed).unwrap_or_default();
        }
        Ok(lag)
    }
}

fn read_record(message: &BorrowedMessage<'_>) -> ReadRecord {
    let mut headers = message.headers().into_iter().flat_map(|it| it.iter());
    ReadRecord {
        partition: message.partition(),
        offset: message.offset(),
        value: message.payload().map(<[u8]>::to_vec),
        are_fragments: headers.any(|header| header.key == FRAGMENTS_HEADER),
    }
}
