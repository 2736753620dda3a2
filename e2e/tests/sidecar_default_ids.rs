//! Two groups at once on one topic, of every client library with its default client id: each group
//! has its own spans, commits and lag, and the records of consumers without the sidecar.
//!
//! Groups that start at the same moment may be ambiguous (docs/sidecar.md, "Groups and commits"):
//! then a span may have no group, but never another one.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![expect(clippy::print_stderr, reason = "shows the result of each case")]

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use e2e::TraceSpan;
use support::case::BrokerPath;
use support::fixture::{KafkaFixture, full};
use support::record::TestRecord;
use support::run::{self, ClientRun, ConsumedRecord};
use support::spans::TopicSpans;
use throughline_testkit::clients::ClientLibrary;
use throughline_testkit::kafka::{ApacheBroker, EARLIER_VERSION};

/// Records of each of the two rounds.
const ROUND: usize = 20;
const PARTITIONS: u16 = 2;

/// Start of the second group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GroupStart {
    /// When the first group has read the first round.
    Staggered,
    /// Together with the first group.
    Simultaneous,
}

/// Two groups of one client library, directly and through the sidecar.
struct TwoGroupsCase<'a> {
    fixture: &'a KafkaFixture,
    path: &'a BrokerPath,
    client: ClientLibrary,
    start: GroupStart,
    topic: String,
}

// === impl TwoGroupsCase ===

impl TwoGroupsCase<'_> {
    fn run(&self) {
        if std::env::var("THROUGHLINE_CASE").is_ok_and(|wanted| !self.topic.contains(&wanted)) {
            return;
        }
        let begin = Instant::now();
        self.fixture.topic(&self.topic, PARTITIONS);
        self.produce(0);
        let mut consumers = Vec::new();
        for (group, bootstrap) in self.groups() {
            let consumer = self.consume(bootstrap, &group);
            if self.start == GroupStart::Staggered {
                consumer.wait_for_lines(ROUND);
            }
            consumers.push(consumer);
        }
        for consumer in &consumers {
            consumer.wait_for_lines(ROUND);
        }
        self.produce(1);
        let read = consumers.into_iter().map(ClientRun::consumed);
        let read: Vec<BTreeSet<(i32, i64, Option<Vec<u8>>)>> = read.map(positions).collect();
        for records in &read {
            assert_eq!(records.len(), 2 * ROUND);
            assert_eq!(records, &read[0], "all groups read the same records");
        }
        if self.path.sidecar.is_some() {
            self.assert_spans();
            if self.start == GroupStart::Staggered {
                self.assert_lag();
            }
        }
        let seconds = begin.elapsed().as_secs_f32();
        eprintln!("{}: {seconds:.1} s", self.topic);
    }

    /// Returns the groups and their bootstrap addresses.
    fn groups(&self) -> [(String, &str); 4] {
        let (through, direct) = (&*self.path.bootstrap, self.fixture.kafka.bootstrap());
        [
            (self.group("a"), through),
            (self.group("b"), through),
            (self.group("direct-a"), direct),
            (self.group("direct-b"), direct),
        ]
    }

    fn group(&self, name: &str) -> String {
        format!("{}-{name}", self.topic)
    }

    fn produce(&self, round: usize) {
        let records: Vec<TestRecord> = (0..ROUND)
            .map(|number| TestRecord {
                partition: i32::try_from(number).unwrap() % i32::from(PARTITIONS),
                timestamp: None,
                key: None,
                value: Some(format!("order {round}-{number}").into_bytes()),
                headers: Vec::new(),
            })
            .collect();
        let spec = self.fixture.client(self.client);
        let producer = run::produce(spec, &self.path.bootstrap, &self.topic, &records, &[]);
        assert_eq!(producer.acknowledged().len(), ROUND);
    }

    fn consume(&self, bootstrap: &str, group: &str) -> ClientRun {
        let spec = self.fixture.client(self.client);
        let options = [("group", group), ("limit", "80")];
        run::consume(spec, bootstrap, &self.topic, 2 * ROUND, &options)
    }

    /// Checks that each record has a consumer span and a commit for each group, the commit under
    /// the span of its own group. Of groups that start together, some may be unknown.
    fn assert_spans(&self) {
        let service = self.path.sidecar.as_ref().unwrap().service();
        let is_strict = self.start == GroupStart::Staggered;
        let commits = if is_strict { 4 * ROUND } else { 0 };
        let expected = [
            ("send", 2 * ROUND),
            ("process", 4 * ROUND),
            ("commit", commits),
        ];
        let collector = &self.fixture.collector;
        let spans = TopicSpans::wait_for(collector, service, &self.topic, &expected);
        let sent = spans.with_operation("send");
        let processed = spans.with_operation("process");
        let expected: BTreeMap<String, usize> =
            [(self.group("a"), 2 * ROUND), (self.group("b"), 2 * ROUND)].into();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for span in &processed {
            *counts.entry(group_of(span).to_owned()).or_default() += 1;
            let (_, _, parent) = &span.references[0];
            assert!(sent.iter().any(|it| it.id == *parent), "{span:?}");
        }
        eprintln!("{}: consumer spans by group {counts:?}", self.topic);
        assert_eq!(processed.len(), 4 * ROUND, "one for each group and record");
        if is_strict {
            assert_eq!(counts, expected, "consumer spans by group");
        }
        for group in expected.keys() {
            let known = counts.get(group).copied().unwrap_or_default();
            assert!(
                known <= 2 * ROUND,
                "one of each record in {group}: {counts:?}"
            );
        }
        let mut counts = BTreeMap::new();
        for commit in spans.with_operation("commit") {
            let group = group_of(&commit).to_owned();
            let (_, _, parent) = &commit.references[0];
            let parent = processed.iter().find(|it| it.id == *parent);
            let parent = parent.unwrap_or_else(|| panic!("no consumer span above {commit:?}"));
            let is_own = group_of(parent) == group || group_of(parent).is_empty() && !is_strict;
            assert!(is_own, "{commit:?} under {parent:?}");
            *counts.entry(group).or_default() += 1;
        }
        if is_strict {
            assert_eq!(counts, expected, "commits by group");
        }
    }

    fn assert_lag(&self) {
        let sidecar = self.path.sidecar.as_ref().unwrap();
        let topic = &self.topic;
        for group in [self.group("a"), self.group("b")] {
            let name =
                format!("throughline_kafka_consumer_lag{{group=\"{group}\",topic=\"{topic}\"}}");
            assert_eq!(sidecar.metric(&name), Some(0.0), "{name}");
        }
        let unknown = format!("throughline_kafka_consumer_lag{{group=\"\",topic=\"{topic}\"}}");
        assert_eq!(sidecar.metric(&unknown), None, "{unknown}");
    }
}

fn group_of(span: &TraceSpan) -> &str {
    span.tag("messaging.consumer.group.name")
}

fn positions(records: Vec<ConsumedRecord>) -> BTreeSet<(i32, i64, Option<Vec<u8>>)> {
    let position = |it: ConsumedRecord| (it.partition, it.offset, it.value);
    records.into_iter().map(position).collect()
}

fn run_clients(fixture: &KafkaFixture, clients: &[ClientLibrary]) {
    // One sidecar for all: the libraries of one language share a default client id.
    let path = fixture.sidecar("default-ids", &[]);
    for start in [GroupStart::Staggered, GroupStart::Simultaneous] {
        for client in clients {
            let topic = format!("{}-{start:?}", client.name()).to_lowercase();
            TwoGroupsCase {
                fixture,
                path: &path,
                client: *client,
                start,
                topic,
            }
            .run();
        }
    }
}

#[test]
fn two_groups_of_every_client_have_their_own_spans_commits_and_lag() {
    let fixture = KafkaFixture::shared();
    if full() {
        run_clients(&fixture, &ClientLibrary::ALL);
        run_clients(&fixture, &ClientLibrary::FURTHER);
    } else {
        run_clients(
            &fixture,
            &[ClientLibrary::FranzGo, ClientLibrary::KafkaPython],
        );
    }
}

#[test]
fn two_groups_of_earlier_clients_have_their_own_spans_commits_and_lag() {
    if !full() {
        return;
    }
    let kafka = ApacheBroker::builder().version(EARLIER_VERSION);
    run_clients(&KafkaFixture::start(kafka), &ClientLibrary::EARLIER);
}
