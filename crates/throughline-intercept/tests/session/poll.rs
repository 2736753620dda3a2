//! Clients that fetch only when their application polls: records are handled by the next poll.

use std::rc::Rc;

use bytes::Bytes;
use kafka_protocol::messages as km;
use kafka_protocol::messages::GroupId;
use kafka_protocol::protocol::StrBytes;
use throughline_intercept::correlate::{self, CorrelatorAccess as _};
use throughline_intercept::kafka::{ApiKey, Settings};

use crate::support::pair::{BEGIN, MILLISECOND, Pair, Process, SECOND};
use crate::support::shared_correlator::SharedCorrelator;
use crate::support::wire::{
    BatchSpec, FetchSpec, RecordSpec, commit, committed, request, response,
};

/// Consumer with a correlator, whose group is known.
struct PollingConsumer {
    process: Process,
    fetches: Pair,
    correlation: i32,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Returns an ApiVersions request of a client library.
fn introduction(library: &str) -> Bytes {
    let body = km::ApiVersionsRequest::default()
        .with_client_software_name(text(library))
        .with_client_software_version(text("4.4.0"));
    request(ApiKey::API_VERSIONS, 3, 1, &body)
}

// === impl PollingConsumer ===

impl PollingConsumer {
    fn start(library: &str) -> Self {
        let settings = correlate::Settings::default();
        let correlator = SharedCorrelator::new(settings, BEGIN - 120 * SECOND);
        let process = Process {
            correlator: Some(Rc::new(correlator)),
            ..Process::default()
        };
        let mut coordinator = Pair::of(&process, Settings::default());
        coordinator.client(commit(1, "g", 0));
        coordinator.broker(committed(1, 0));
        let mut fetches = Pair::of(&process, Settings::default());
        fetches.client(introduction(library));
        let versions = km::ApiVersionsResponse::default();
        fetches.broker(response(ApiKey::API_VERSIONS, 3, 1, &versions));
        Self {
            process,
            fetches,
            correlation: 1,
        }
    }

    /// Fetches from an offset, or other partitions. Returns the number of records in flight then.
    fn fetch(&mut self, offset: Option<i64>) -> usize {
        self.correlation += 1;
        self.fetches.now += 10 * MILLISECOND;
        self.fetches.client(self.ask(offset).frame());
        self.in_flight()
    }

    /// Delivers records up to this offset, from `offset` on.
    fn deliver(&mut self, offset: i64, end: i64) -> usize {
        let values: Vec<_> = (offset..end).map(|_| RecordSpec::of("a")).collect();
        let batch = if values.is_empty() {
            Vec::new()
        } else {
            BatchSpec::of(values).at(offset).bytes()
        };
        let answer = self.ask(Some(offset)).answer(batch, end, &[]);
        self.fetches.broker(answer);
        self.in_flight()
    }

    fn ask(&self, offset: Option<i64>) -> FetchSpec {
        FetchSpec {
            correlation: self.correlation,
            epoch: 0,
            offset,
            ..FetchSpec::default()
        }
    }

    fn in_flight(&self) -> usize {
        let correlator = self.process.correlator.as_ref().unwrap();
        correlator.with_correlator(|correlator| correlator.in_flight_count())
    }
}

#[test]
fn java_consumer_has_handled_its_records_when_it_polls_again() {
    let mut consumer = PollingConsumer::start("apache-kafka-java");
    consumer.fetch(Some(0));
    assert_eq!(consumer.deliver(0, 2), 2);
    assert_eq!(consumer.fetch(Some(2)), 2, "they are handed over");
    assert_eq!(consumer.deliver(2, 2), 2, "the broker had no more");
    assert_eq!(consumer.fetch(Some(2)), 0, "the next poll");
    assert_eq!(consumer.deliver(2, 3), 1);
    assert_eq!(consumer.fetch(Some(3)), 1);
    assert_eq!(consumer.deliver(3, 4), 2);
    assert_eq!(consumer.fetch(Some(4)), 1, "the second is handed over");
    assert_eq!(consumer.deliver(4, 4), 1);
    assert_eq!(consumer.fetch(Some(4)), 0);
}

#[test]
fn partition_is_not_handled_while_it_is_not_fetched() {
    // `max.poll.records`: the rest of its records is in the client.
    let mut consumer = PollingConsumer::start("apache-kafka-java");
    consumer.fetch(Some(0));
    consumer.deliver(0, 2);
    for _ in 0..3 {
        assert_eq!(consumer.fetch(None), 2);
        assert_eq!(consumer.deliver(2, 2), 2);
    }
    assert_eq!(consumer.fetch(Some(2)), 2);
    assert_eq!(consumer.deliver(2, 2), 2);
    assert_eq!(consumer.fetch(None), 0);
}

#[test]
fn fetches_of_other_clients_show_nothing() {
    let mut background = PollingConsumer::start("apache-kafka-java");
    let heartbeat = km::ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_member_id(text("m"));
    let mut coordinator = Pair::of(&background.process, Settings::default());
    coordinator.client(request(ApiKey::CONSUMER_GROUP_HEARTBEAT, 0, 1, &heartbeat));
    for consumer in [&mut PollingConsumer::start("librdkafka"), &mut background] {
        consumer.fetch(Some(0));
        consumer.deliver(0, 2);
        for _ in 0..3 {
            assert_eq!(consumer.fetch(Some(2)), 2);
            assert_eq!(consumer.deliver(2, 2), 2);
        }
    }
}
