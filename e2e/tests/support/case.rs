//! A whole story: records are sent on one way, looked at in the broker itself, consumed on the same way; then their spans are.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use throughline_testkit::clients::ClientLibrary;
use throughline_testkit::sidecar::SidecarInstance;

use super::check::{self, ContextInjection, HeaderOrder, RecordContext, RecordPosition};
use super::fixture::KafkaFixture;
use super::record::{self, TestRecord};
use super::run::{self, AckedRecord, ConsumedRecord};
use super::spans::TopicSpans;

/// How clients reach the broker.
pub(crate) struct BrokerPath {
    pub(crate) bootstrap: String,
    /// What clients must be told besides: `--security` and what belongs to it.
    pub(crate) security: Vec<(String, String)>,
    /// Nothing stands between when there is none.
    pub(crate) sidecar: Option<SidecarInstance>,
}

/// One story.
pub(crate) struct RoundTripCase<'a> {
    pub(crate) kit: &'a KafkaFixture,
    pub(crate) way: &'a BrokerPath,
    /// Also the group, and the `client.id` of both clients.
    pub(crate) topic: String,
    pub(crate) producer: ClientLibrary,
    pub(crate) consumer: ClientLibrary,
    pub(crate) records: usize,
    pub(crate) produce: Vec<(&'a str, &'a str)>,
    pub(crate) consume: Vec<(&'a str, &'a str)>,
}

/// How often the producer sent each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryGuarantee {
    Once,
    AtLeastOnce,
}

/// What was sent, and what is in the broker.
pub(crate) struct StoredRecords {
    pub(crate) records: Vec<TestRecord>,
    pub(crate) acknowledged: Vec<AckedRecord>,
    pub(crate) places: BTreeMap<RecordPosition, usize>,
    pub(crate) contexts: BTreeMap<RecordPosition, RecordContext>,
}

pub(crate) const PARTITIONS: u16 = 3;

// === impl Way ===

impl BrokerPath {
    fn options<'a>(
        &'a self,
        client: &'a str,
        own: &[(&'a str, &'a str)],
    ) -> Vec<(&'a str, &'a str)> {
        let security = self
            .security
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        security
            .chain([("client-id", client)])
            .chain(own.iter().copied())
            .collect()
    }

    pub(crate) fn contexts(&self) -> ContextInjection {
        if self.sidecar.is_some() {
            ContextInjection::Injected
        } else {
            ContextInjection::None
        }
    }
}

// === impl Case ===

impl<'a> RoundTripCase<'a> {
    pub(crate) fn new(
        kit: &'a KafkaFixture,
        way: &'a BrokerPath,
        topic: impl Into<String>,
        client: ClientLibrary,
    ) -> Self {
        let topic = topic.into();
        let (produce, consume) = (Vec::new(), Vec::new());
        Self {
            kit,
            way,
            topic,
            producer: client,
            consumer: client,
            records: 60,
            produce,
            consume,
        }
    }

    pub(crate) fn consumer(mut self, client: ClientLibrary) -> Self {
        self.consumer = client;
        self
    }

    pub(crate) fn records(mut self, records: usize) -> Self {
        self.records = records;
        self
    }

    pub(crate) fn produce(mut self, options: &[(&'a str, &'a str)]) -> Self {
        self.produce.extend(options);
        self
    }

    pub(crate) fn consume(mut self, options: &[(&'a str, &'a str)]) -> Self {
        self.consume.extend(options);
        self
    }

    /// All of it, when nothing happens in between.
    pub(crate) fn run(&self) {
        self.kit.topic(&self.topic, PARTITIONS);
        let stored = self.send();
        let consumed = self.read(stored.committed().len());
        self.assert_traced(&stored, &consumed);
    }

    pub(crate) fn start_producer(&self, records: &[TestRecord]) -> run::ClientRun {
        let options = self.way.options(&self.topic, &self.produce);
        run::produce(
            self.kit.client(self.producer),
            &self.way.bootstrap,
            &self.topic,
            records,
            &options,
        )
    }

    pub(crate) fn start_consumer(&self, count: usize, further: &[(&str, &str)]) -> run::ClientRun {
        let mut options = self.way.options(&self.topic, &self.consume);
        options.push(("group", &self.topic));
        options.extend(further);
        run::consume(
            self.kit.client(self.consumer),
            &self.way.bootstrap,
            &self.topic,
            count,
            &options,
        )
    }

    /// Produces, and looks at what the broker has.
    pub(crate) fn send(&self) -> StoredRecords {
        let records = self.generate();
        let acknowledged = self.start_producer(&records).acknowledged();
        self.stored(records, acknowledged)
    }

    pub(crate) fn generate(&self) -> Vec<TestRecord> {
        let seed = self.topic.bytes().fold(1, |seed: u64, byte| {
            seed.wrapping_mul(31).wrapping_add(byte.into())
        });
        record::generate(
            [self.producer, self.consumer],
            seed,
            self.records,
            PARTITIONS.into(),
        )
    }

    /// Looks at what the broker has, past the sidecar: all of it, byte for byte, one context in each.
    pub(crate) fn stored(
        &self,
        records: Vec<TestRecord>,
        acknowledged: Vec<AckedRecord>,
    ) -> StoredRecords {
        let is_told = !self.produce.contains(&("acks", "0"));
        let acknowledged = if is_told {
            acknowledged
        } else {
            check::counted(&records)
        };
        check::acknowledged_in_order(&records, &acknowledged);
        let places = check::places(&acknowledged);
        let eye = self.kit.client(ClientLibrary::FranzGo);
        let found = run::consume(
            eye,
            self.kit.kafka.bootstrap(),
            &self.topic,
            records.len(),
            &[],
        )
        .consumed();
        let contexts = check::arrived(
            &records,
            &places,
            &found,
            HeaderOrder::Kept,
            self.way.contexts(),
        );
        if let Some((_, codec)) = self.produce.iter().find(|(name, _)| *name == "codec") {
            check::codec(&found, codec);
        }
        StoredRecords {
            records,
            acknowledged,
            places,
            contexts,
        }
    }

    pub(crate) fn read(&self, count: usize) -> Vec<ConsumedRecord> {
        self.start_consumer(count, &[]).consumed()
    }

    /// What a consumer had, against what was sent.
    pub(crate) fn assert_arrived(&self, stored: &StoredRecords, consumed: &[ConsumedRecord]) {
        let order = if self.consumer == ClientLibrary::Kafkajs {
            HeaderOrder::WithinName
        } else {
            HeaderOrder::Kept
        };
        let contexts = check::arrived(
            &stored.records,
            &stored.committed(),
            consumed,
            order,
            self.way.contexts(),
        );
        assert_eq!(
            contexts,
            stored.committed_contexts(),
            "a context changed on its way to the consumer"
        );
    }

    /// Records and spans, when each record was sent once and fetched once.
    pub(crate) fn assert_traced(&self, stored: &StoredRecords, consumed: &[ConsumedRecord]) {
        self.assert_arrived(stored, consumed);
        self.assert_spans(stored, DeliveryGuarantee::Once, 1..=1);
    }

    /// Every record has its producer span, and so many consumer spans, each with a commit or another's.
    pub(crate) fn assert_spans(
        &self,
        stored: &StoredRecords,
        sent: DeliveryGuarantee,
        processed: RangeInclusive<usize>,
    ) {
        let Some(sidecar) = &self.way.sidecar else {
            return;
        };
        let committed = stored.committed_contexts();
        let wanted = [
            ("send", stored.contexts.len()),
            ("process", committed.len()),
            ("commit", committed.len()),
        ];
        let spans =
            TopicSpans::wait_for(&self.kit.collector, sidecar.service(), &self.topic, &wanted);
        match sent {
            DeliveryGuarantee::Once if self.produce.contains(&("acks", "0")) => {
                spans.assert_sent_unacknowledged(&stored.contexts, &self.topic);
            }
            DeliveryGuarantee::Once => spans.assert_sent(&stored.contexts, &self.topic, 1..=1),
            DeliveryGuarantee::AtLeastOnce => spans.assert_sent_at_least_once(&stored.contexts),
        }
        spans.assert_settled(&committed, &processed);
        spans.assert_processed(&committed, [&self.topic, &self.topic], processed);
        let aborted = stored
            .contexts
            .iter()
            .filter(|(place, _)| !committed.contains_key(place));
        spans.assert_not_processed(aborted.map(|(_, context)| context));
    }
}

// === impl Stored ===

impl StoredRecords {
    /// The places of the records that were not taken back.
    pub(crate) fn committed(&self) -> BTreeMap<RecordPosition, usize> {
        let taken_back = |index: usize| {
            self.acknowledged
                .iter()
                .any(|ack| ack.index == index && !ack.committed)
        };
        self.places
            .iter()
            .filter(|(_, index)| !taken_back(**index))
            .map(|(place, index)| (*place, *index))
            .collect()
    }

    pub(crate) fn committed_contexts(&self) -> BTreeMap<RecordPosition, RecordContext> {
        let committed = self.committed();
        let kept = self
            .contexts
            .iter()
            .filter(|(place, _)| committed.contains_key(place));
        kept.map(|(place, context)| (*place, context.clone()))
            .collect()
    }
}
