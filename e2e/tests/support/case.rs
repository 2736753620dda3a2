//! A round trip: records are produced through a sidecar, read from the broker directly, consumed
//! through the sidecar; then the spans are checked.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use throughline_testkit::clients::ClientLibrary;
use throughline_testkit::envoy::EnvoyInstance;
use throughline_testkit::sidecar::SidecarInstance;

use super::check::{self, ContextInjection, HeaderOrder, RecordContext, RecordPosition};
use super::fixture::KafkaFixture;
use super::record::{self, TestRecord};
use super::run::{self, AckedRecord, ConsumedRecord};
use super::spans::TopicSpans;

/// Path from clients to the broker.
pub(crate) struct BrokerPath {
    pub(crate) bootstrap: String,
    /// Further client options: `--security` and its parameters.
    pub(crate) security: Vec<(String, String)>,
    /// Clients connect directly if there is neither a sidecar nor an Envoy.
    pub(crate) sidecar: Option<SidecarInstance>,
    /// The Envoy with our module, and the service of its spans.
    pub(crate) envoy: Option<(&'static str, EnvoyInstance)>,
}

/// One round trip.
pub(crate) struct RoundTripCase<'a> {
    pub(crate) fixture: &'a KafkaFixture,
    pub(crate) path: &'a BrokerPath,
    /// Topic name, also the group and the `client.id` of both clients.
    pub(crate) topic: String,
    pub(crate) producer: ClientLibrary,
    pub(crate) consumer: ClientLibrary,
    pub(crate) records: usize,
    pub(crate) produce: Vec<(&'a str, &'a str)>,
    pub(crate) consume: Vec<(&'a str, &'a str)>,
}

/// Number of times the producer sent each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryGuarantee {
    Once,
    AtLeastOnce,
}

/// Records that were sent, and their state in the broker.
pub(crate) struct StoredRecords {
    pub(crate) records: Vec<TestRecord>,
    pub(crate) acknowledged: Vec<AckedRecord>,
    pub(crate) positions: BTreeMap<RecordPosition, usize>,
    pub(crate) contexts: BTreeMap<RecordPosition, RecordContext>,
}

pub(crate) const PARTITIONS: u16 = 3;

// === impl BrokerPath ===

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
        match self.service() {
            Some(_) => ContextInjection::Injected,
            None => ContextInjection::None,
        }
    }

    /// Returns the service whose spans are recorded on this path.
    fn service(&self) -> Option<&str> {
        let envoys = self.envoy.as_ref().map(|(service, _)| *service);
        self.sidecar
            .as_ref()
            .map(SidecarInstance::service)
            .or(envoys)
    }
}

// === impl RoundTripCase ===

impl<'a> RoundTripCase<'a> {
    pub(crate) fn new(
        fixture: &'a KafkaFixture,
        path: &'a BrokerPath,
        topic: impl Into<String>,
        client: ClientLibrary,
    ) -> Self {
        let topic = topic.into();
        let (produce, consume) = (Vec::new(), Vec::new());
        Self {
            fixture,
            path,
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

    /// Runs all steps without a disturbance.
    pub(crate) fn run(&self) {
        self.fixture.topic(&self.topic, PARTITIONS);
        let stored = self.send();
        let consumed = self.read(stored.committed().len());
        self.assert_traced(&stored, &consumed);
    }

    pub(crate) fn start_producer(&self, records: &[TestRecord]) -> run::ClientRun {
        let options = self.path.options(&self.topic, &self.produce);
        run::produce(
            self.fixture.client(self.producer),
            &self.path.bootstrap,
            &self.topic,
            records,
            &options,
        )
    }

    pub(crate) fn start_consumer(&self, count: usize, further: &[(&str, &str)]) -> run::ClientRun {
        let mut options = self.path.options(&self.topic, &self.consume);
        options.push(("group", &self.topic));
        options.extend(further);
        run::consume(
            self.fixture.client(self.consumer),
            &self.path.bootstrap,
            &self.topic,
            count,
            &options,
        )
    }

    /// Produces the records and reads them back from the broker.
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

    /// Reads the records from the broker directly and checks them: complete, byte-equal, one
    /// context each.
    pub(crate) fn stored(
        &self,
        records: Vec<TestRecord>,
        acknowledged: Vec<AckedRecord>,
    ) -> StoredRecords {
        let has_acks = !self.produce.contains(&("acks", "0"));
        let acknowledged = if has_acks {
            acknowledged
        } else {
            check::positions_without_acks(&records)
        };
        check::acknowledged_in_order(&records, &acknowledged);
        let positions = check::positions_of(&acknowledged);
        let reader = self.fixture.client(ClientLibrary::FranzGo);
        let found = run::consume(
            reader,
            self.fixture.kafka.bootstrap(),
            &self.topic,
            records.len(),
            &[],
        )
        .consumed();
        let contexts = check::arrived(
            &records,
            &positions,
            &found,
            HeaderOrder::Kept,
            self.path.contexts(),
        );
        if let Some((_, codec)) = self.produce.iter().find(|(name, _)| *name == "codec") {
            check::codec(&found, codec);
        }
        StoredRecords {
            records,
            acknowledged,
            positions,
            contexts,
        }
    }

    pub(crate) fn read(&self, count: usize) -> Vec<ConsumedRecord> {
        self.start_consumer(count, &[]).consumed()
    }

    /// Compares consumed records with sent records.
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
            self.path.contexts(),
        );
        assert_eq!(
            contexts,
            stored.committed_contexts(),
            "a context changed on its way to the consumer"
        );
    }

    /// Checks records and spans of an exactly-once round trip.
    pub(crate) fn assert_traced(&self, stored: &StoredRecords, consumed: &[ConsumedRecord]) {
        self.assert_arrived(stored, consumed);
        self.assert_spans(stored, DeliveryGuarantee::Once, 1..=1);
    }

    /// Checks that every record has its producer span, `processed` consumer spans, and a commit for
    /// each.
    pub(crate) fn assert_spans(
        &self,
        stored: &StoredRecords,
        guarantee: DeliveryGuarantee,
        processed: RangeInclusive<usize>,
    ) {
        let Some(service) = self.path.service() else {
            return;
        };
        let committed = stored.committed_contexts();
        let expected = [
            ("send", stored.contexts.len()),
            ("process", committed.len()),
            ("commit", committed.len()),
        ];
        let spans = TopicSpans::wait_for(&self.fixture.collector, service, &self.topic, &expected);
        match guarantee {
            DeliveryGuarantee::Once if self.produce.contains(&("acks", "0")) => {
                spans.assert_sent_unacknowledged(&stored.contexts, &self.topic);
            }
            DeliveryGuarantee::Once => spans.assert_sent(&stored.contexts, &self.topic, 1..=1),
            DeliveryGuarantee::AtLeastOnce => spans.assert_sent_at_least_once(&stored.contexts),
        }
        spans.assert_committed(&committed, &processed);
        spans.assert_processed(&committed, [&self.topic, &self.topic], processed);
        let aborted = stored
            .contexts
            .iter()
            .filter(|(position, _)| !committed.contains_key(position));
        spans.assert_not_processed(aborted.map(|(_, context)| context));
    }
}

// === impl StoredRecords ===

impl StoredRecords {
    /// Returns the positions of records outside of aborted transactions.
    pub(crate) fn committed(&self) -> BTreeMap<RecordPosition, usize> {
        let is_aborted = |index: usize| {
            self.acknowledged
                .iter()
                .any(|ack| ack.index == index && !ack.committed)
        };
        self.positions
            .iter()
            .filter(|(_, index)| !is_aborted(**index))
            .map(|(position, index)| (*position, *index))
            .collect()
    }

    pub(crate) fn committed_contexts(&self) -> BTreeMap<RecordPosition, RecordContext> {
        let committed = self.committed();
        let kept = self
            .contexts
            .iter()
            .filter(|(position, _)| committed.contains_key(position));
        kept.map(|(position, context)| (*position, context.clone()))
            .collect()
    }
}
