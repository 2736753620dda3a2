//! A whole story: records are sent on one way, looked at in the broker itself, consumed on the same way; then their spans are.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use throughline_testkit::clients::Client;
use throughline_testkit::sidecar::Sidecar;

use super::check::{self, Context, Contexts, Order, Place};
use super::kit::Kit;
use super::record::{self, Record};
use super::run::{self, Acknowledged, Consumed};
use super::spans::Spans;

/// How clients reach the broker.
pub(crate) struct Way {
    pub(crate) bootstrap: String,
    /// What clients must be told besides: `--security` and what belongs to it.
    pub(crate) security: Vec<(String, String)>,
    /// Nothing stands between when there is none.
    pub(crate) sidecar: Option<Sidecar>,
}

/// One story.
pub(crate) struct Case<'a> {
    pub(crate) kit: &'a Kit,
    pub(crate) way: &'a Way,
    /// Also the group, and the `client.id` of both clients.
    pub(crate) topic: String,
    pub(crate) producer: Client,
    pub(crate) consumer: Client,
    pub(crate) records: usize,
    pub(crate) produce: Vec<(&'a str, &'a str)>,
    pub(crate) consume: Vec<(&'a str, &'a str)>,
}

/// How often the producer sent each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    Once,
    AtLeastOnce,
}

/// What was sent, and what is in the broker.
pub(crate) struct Stored {
    pub(crate) records: Vec<Record>,
    pub(crate) acknowledged: Vec<Acknowledged>,
    pub(crate) places: BTreeMap<Place, usize>,
    pub(crate) contexts: BTreeMap<Place, Context>,
}

pub(crate) const PARTITIONS: u16 = 3;

// === impl Way ===

impl Way {
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

    pub(crate) fn contexts(&self) -> Contexts {
        if self.sidecar.is_some() {
            Contexts::Injected
        } else {
            Contexts::None
        }
    }
}

// === impl Case ===

impl<'a> Case<'a> {
    pub(crate) fn new(
        kit: &'a Kit,
        way: &'a Way,
        topic: impl Into<String>,
        client: Client,
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

    pub(crate) fn consumer(mut self, client: Client) -> Self {
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

    pub(crate) fn start_producer(&self, records: &[Record]) -> run::Run {
        let options = self.way.options(&self.topic, &self.produce);
        run::produce(
            self.kit.client(self.producer),
            &self.way.bootstrap,
            &self.topic,
            records,
            &options,
        )
    }

    pub(crate) fn start_consumer(&self, count: usize, further: &[(&str, &str)]) -> run::Run {
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
    pub(crate) fn send(&self) -> Stored {
        let records = self.generate();
        let acknowledged = self.start_producer(&records).acknowledged();
        self.stored(records, acknowledged)
    }

    pub(crate) fn generate(&self) -> Vec<Record> {
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
    pub(crate) fn stored(&self, records: Vec<Record>, acknowledged: Vec<Acknowledged>) -> Stored {
        let is_told = !self.produce.contains(&("acks", "0"));
        let acknowledged = if is_told {
            acknowledged
        } else {
            check::counted(&records)
        };
        check::acknowledged_in_order(&records, &acknowledged);
        let places = check::places(&acknowledged);
        let eye = self.kit.client(Client::FranzGo);
        let found = run::consume(
            eye,
            self.kit.kafka.bootstrap(),
            &self.topic,
            records.len(),
            &[],
        )
        .consumed();
        let contexts = check::arrived(&records, &places, &found, Order::Kept, self.way.contexts());
        if let Some((_, codec)) = self.produce.iter().find(|(name, _)| *name == "codec") {
            check::codec(&found, codec);
        }
        Stored {
            records,
            acknowledged,
            places,
            contexts,
        }
    }

    pub(crate) fn read(&self, count: usize) -> Vec<Consumed> {
        self.start_consumer(count, &[]).consumed()
    }

    /// What a consumer had, against what was sent.
    pub(crate) fn assert_arrived(&self, stored: &Stored, consumed: &[Consumed]) {
        let order = if self.consumer == Client::Kafkajs {
            Order::WithinName
        } else {
            Order::Kept
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
    pub(crate) fn assert_traced(&self, stored: &Stored, consumed: &[Consumed]) {
        self.assert_arrived(stored, consumed);
        self.assert_spans(stored, Sent::Once, 1..=1);
    }

    /// Every record has its producer span, and so many consumer spans, each with a commit or another's.
    pub(crate) fn assert_spans(
        &self,
        stored: &Stored,
        sent: Sent,
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
        let spans = Spans::wait_for(&self.kit.collector, sidecar.service(), &self.topic, &wanted);
        match sent {
            Sent::Once if self.produce.contains(&("acks", "0")) => {
                spans.assert_sent_unacknowledged(&stored.contexts, &self.topic);
            }
            Sent::Once => spans.assert_sent(&stored.contexts, &self.topic, 1..=1),
            Sent::AtLeastOnce => spans.assert_sent_at_least_once(&stored.contexts),
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

impl Stored {
    /// The places of the records that were not taken back.
    pub(crate) fn committed(&self) -> BTreeMap<Place, usize> {
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

    pub(crate) fn committed_contexts(&self) -> BTreeMap<Place, Context> {
        let committed = self.committed();
        let kept = self
            .contexts
            .iter()
            .filter(|(place, _)| committed.contains_key(place));
        kept.map(|(place, context)| (*place, context.clone()))
            .collect()
    }
}
