//! Writes spans to a topic, keyed by process.

mod span_records;

use std::fmt;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};
use throughline_collector::{ForwardedSpans, SpanForwarder};
use throughline_model::Span;
use throughline_store::InsertError;

use self::span_records::{SpanRecord, SpanRecords};
use crate::client_events::ClientEvents;
use crate::settings::SpanTopicSettings;
use crate::topic_lookup::{TopicError, find_topic};

/// Header of records whose spans may be parts of spans, as Zipkin's clients send them.
pub(crate) const FRAGMENTS_HEADER: &str = "throughline-fragments";

/// Bytes of a record besides its value: its key and headers, and librdkafka's own.
const RECORD_OVERHEAD_BYTES: usize = 2_048;

/// Name of the property with the maximum size of a record, before it is compressed.
const MAX_BYTES_PROPERTY: &str = "message.max.bytes";

const DEFAULTS: [(&str, &str); 6] = [
    // Kafka's default for a batch is 1,048,588 bytes.
    (MAX_BYTES_PROPERTY, "1000000"),
    // The partition of a key as Java's producers choose it.
    ("partitioner", "murmur2_random"),
    ("compression.type", "zstd"),
    ("linger.ms", "5"),
    // The answer comes before the exporters of OpenTelemetry give up, after ten seconds.
    ("message.timeout.ms", "8000"),
    ("queue.buffering.max.kbytes", "65536"),
];

/// A writer of spans.
pub struct TopicWriter {
    producer: FutureProducer<ClientEvents>,
    events: ClientEvents,
    topic: String,
    max_value_bytes: usize,
}

// === impl TopicWriter ===

impl TopicWriter {
    /// Finds the topic, and prepares to write to it.
    ///
    /// # Errors
    /// [`TopicError`].
    pub fn open(settings: &SpanTopicSettings) -> Result<Self, TopicError> {
        find_topic(settings)?;
        // All replicas that are in sync have a record before it is acknowledged.
        let config = settings.client_config(&DEFAULTS, &[("acks", "all")]);
        let max_bytes = config.get(MAX_BYTES_PROPERTY);
        let max_bytes = max_bytes.and_then(|text| text.parse().ok());
        let max_bytes: usize = max_bytes.unwrap_or_default();
        let events = ClientEvents::default();
        let producer = FutureProducer::from_config_and_context(&config, events.clone());
        Ok(Self {
            producer: producer.map_err(TopicError::Property)?,
            events,
            topic: settings.topic.clone(),
            max_value_bytes: max_bytes.saturating_sub(RECORD_OVERHEAD_BYTES),
        })
    }

    fn send(
        &self,
        record: &SpanRecord<'_>,
        are_fragments: bool,
    ) -> Result<DeliveryFuture, InsertError> {
        let mut message = FutureRecord::to(&self.topic)
            .key(&record.key)
            .payload(&*record.value);
        if are_fragments {
            let value = Some("1");
            let key = FRAGMENTS_HEADER;
            message = message.headers(OwnedHeaders::new().insert(Header { key, value }));
        }
        let sent = self.producer.send_result(message);
        sent.map_err(|(error, _)| refusal(&error))
    }
}

impl SpanForwarder for TopicWriter {
    fn forward(
        &self,
        spans: &[Span],
        otlp: Option<&[u8]>,
        are_fragments: bool,
    ) -> Result<ForwardedSpans, InsertError> {
        let records = SpanRecords::of(spans, otlp, self.max_value_bytes);
        let sent = records.records.iter();
        let sent = sent.map(|record| self.send(record, are_fragments));
        // A record that was sent before another one is refused comes twice, and is one.
        let sent = sent.collect::<Result<Vec<DeliveryFuture>, _>>()?;
        let events = self.events.clone();
        Ok(ForwardedSpans {
            sent: spans.len() as u64 - records.too_large,
            too_large: records.too_large,
            delivery: Box::pin(async move {
                for delivery in sent {
                    match delivery.await {
                        Ok(Ok(_)) => {}
                        Ok(Err((error, _))) => return Err(refusal(&error)),
                        // The producer is gone, and with it the record.
                        Err(_) => return Err(InsertError::Busy),
                    }
                }
                events.note_success();
                Ok(())
            }),
        })
    }
}

impl fmt::Debug for TopicWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicWriter")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

fn refusal(error: &KafkaError) -> InsertError {
    InsertError::Forward(match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::QueueFull) => "too many spans wait for Kafka".to_owned(),
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => format!(
            "a record is larger than the topic accepts; set {MAX_BYTES_PROPERTY} in --kafka-config \
             to its max.message.bytes"
        ),
        _ => format!("Kafka: {error}"),
    })
}
