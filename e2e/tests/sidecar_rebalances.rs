//! Consumers whose partitions move, beside another group under the same default client id:
//! cooperative rebalances under load, static members that restart, a consumer that goes back, and a
//! sidecar that is killed and started again.
//! Directly and through the sidecar the same records are handled, and no span has a wrong group.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and shows what it counted"
)]

mod named_spans;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use e2e::{TraceSpan, count_by_group};
use named_spans::named_spans;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset};
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::kafka::{ApacheBroker, TopicSpec, create_topic};
use throughline_testkit::sidecar::SidecarInstance;
use throughline_testkit::wait;

/// The running parts.
struct GroupFixture {
    sidecar: SidecarInstance,
    collector: CollectorInstance,
    kafka: ApacheBroker,
}

/// Values that the members of a group have handled.
type Handled = Arc<Mutex<BTreeSet<usize>>>;

/// Member of a group, in a thread of its own.
struct Member {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

const SERVICE: &str = "rebalances";
const TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// Ports of a sidecar for its brokers.
const BROKER_PORTS: u16 = 3;

/// Records that are sent before the next ones wait until they are handled.
const BURST: usize = 20;

// === impl GroupFixture ===

impl GroupFixture {
    fn start() -> Self {
        let kafka = ApacheBroker::builder()
            .property("group.initial.rebalance.delay.ms", "0")
            .start(&mut |step| eprintln!("{step}"))
            .unwrap();
        let binary = &ProjectBinaries::build().unwrap().throughline;
        let collector = CollectorInstance::start(binary).unwrap();
        let otlp = collector.addresses().otlp_http;
        let sidecar = SidecarInstance::start(binary, kafka.bootstrap(), otlp, SERVICE, &[]);
        Self {
            sidecar: sidecar.unwrap(),
            collector,
            kafka,
        }
    }

    /// Starts with a sidecar whose ports stay free for the next one.
    fn start_on_fixed_ports() -> (Self, u16) {
        let mut fixture = Self::start();
        let port = consecutive_ports();
        fixture.sidecar = fixture.start_sidecar(port);
        (fixture, port)
    }

    /// Starts a sidecar that listens on this port, and for brokers on the ports behind it.
    fn start_sidecar(&self, port: u16) -> SidecarInstance {
        let binary = &ProjectBinaries::build().unwrap().throughline;
        let (listen, first, last) = (format!("127.0.0.1:{port}"), port + 1, port + BROKER_PORTS);
        let brokers = format!("{first}-{last}");
        let kafka = ["--kafka", self.kafka.bootstrap(), "--listen", &listen];
        let args = [&kafka[..], &["--broker-ports", &brokers]].concat();
        let args = args.into_iter().map(str::to_owned);
        let otlp = self.collector.addresses().otlp_http;
        SidecarInstance::start_with(&|spec| spec, binary, otlp, SERVICE, args).unwrap()
    }

    /// Waits until the sidecar knows which connections read these topics for these groups.
    fn wait_for_groups(&self, groups: [(&str, &str); 2]) {
        for (group, topic) in groups {
            let lag =
                format!("throughline_kafka_consumer_lag{{group=\"{group}\",topic=\"{topic}\"}}");
            let is_known = || self.sidecar.metric(&lag);
            assert!(wait::until(TIMEOUT, is_known).is_some(), "{lag}");
        }
    }

    /// Sends the next records through the sidecar.
    fn send(&self, topic: &str, first: usize, count: usize) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.sidecar.bootstrap());
        let producer: BaseProducer = config.create().unwrap();
        for number in first..first + count {
            let (key, value) = (number.to_string(), number.to_string());
            let record = BaseRecord::to(topic).key(&key).payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(TIMEOUT).unwrap();
    }

    /// Returns the spans of an operation on a topic, once there are `count`.
    fn spans(&self, operation: &str, topic: &str, count: usize) -> Vec<TraceSpan> {
        named_spans(
            &self.collector,
            SERVICE,
            &format!("{operation} {topic}"),
            count,
        )
    }

    /// Waits until the collector has this number of consumer spans and of commits of a group.
    fn wait_for_spans(&self, topic: &str, group: &str, count: usize) {
        let counts = || {
            let spans = ["process", "commit"].map(|operation| self.spans(operation, topic, 0));
            spans.map(|spans| spans.iter().filter(|it| it.group() == group).count())
        };
        let is_complete = || counts().iter().all(|it| *it >= count).then_some(());
        let complete = wait::until(TIMEOUT, is_complete);
        assert!(complete.is_some(), "{group}: {:?} of {count}", counts());
    }

    /// Checks that no commit is below a span of another group. Returns the numbers of consumer
    /// spans and of commits by group.
    fn assert_groups(
        &self,
        topic: &str,
        processed: usize,
        commits: usize,
    ) -> [BTreeMap<String, usize>; 2] {
        let commits = self.spans("commit", topic, commits);
        let processed = self.spans("process", topic, processed);
        for commit in &commits {
            let (_, _, parent) = commit.references.first().unwrap();
            let parent = processed.iter().find(|span| span.id == *parent).unwrap();
            // The group of records that came before it was known is never another one.
            let is_own = ["", commit.group()].contains(&parent.group());
            assert!(is_own, "{commit:?} below {parent:?}");
        }
        let counts = [count_by_group(&processed), count_by_group(&commits)];
        eprintln!(
            "{topic}: consumer spans {:?}, commits {:?}",
            counts[0], counts[1]
        );
        counts
    }
}

// === impl Member ===

impl Member {
    /// Starts a member that commits each record once it has handled it.
    fn start(
        bootstrap: &str,
        topic: &str,
        group: &str,
        settings: &[(&str, &str)],
        handled: &Handled,
    ) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[topic]).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, handled) = (Arc::clone(&is_over), Arc::clone(handled));
        let thread = thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                let Some(Ok(record)) = consumer.poll(POLL) else {
                    continue;
                };
                let value = std::str::from_utf8(record.payload().unwrap()).unwrap();
                handled.lock().unwrap().insert(value.parse().unwrap());
                // Fails if the partition has moved: then its new owner handles the record again.
                if let Err(error) = consumer.commit_message(&record, CommitMode::Sync) {
                    eprintln!("commit: {error}");
                }
            }
        });
        Self { is_over, thread }
    }

    /// Ends the member; unless it is a static one, it leaves its group.
    fn stop(self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
    }
}

/// Returns a free port with free ports behind it.
fn consecutive_ports() -> u16 {
    let bind = |port: u16| TcpListener::bind(("127.0.0.1", port));
    let find = || {
        let first = bind(0).ok()?.local_addr().ok()?.port();
        let mut others = 1..=BROKER_PORTS;
        let is_free = others.all(|number| {
            let port = first.checked_add(number);
            port.is_some_and(|port| bind(port).is_ok())
        });
        is_free.then_some(first)
    };
    wait::until(TIMEOUT, find).unwrap()
}

fn wait_for(handled: &[Handled], count: usize) {
    let is_complete = || {
        let mut all = handled.iter();
        all.all(|it| it.lock().unwrap().len() >= count)
            .then_some(())
    };
    let counts = || handled.iter().map(|it| it.lock().unwrap().len());
    assert!(
        wait::until(TIMEOUT, is_complete).is_some(),
        "{:?} of {count}",
        counts().collect::<Vec<_>>()
    );
}

/// Moves the partitions of a group under load, with members that have these settings.
fn assert_groups_of_moving_members(topic: &str, settings: &[(&str, &str)]) {
    let fixture = GroupFixture::start();
    create_topic(fixture.kafka.bootstrap(), &TopicSpec::new(topic, 6)).unwrap();
    let (through, direct) = (fixture.sidecar.bootstrap(), fixture.kafka.bootstrap());
    let handled: [Handled; 3] = std::array::from_fn(|_| Handled::default());
    let [by_steady, by_moving, by_direct] = &handled;
    // The steady group is under the same client id as the moving one.
    fixture.send(topic, 0, BURST);
    let steady = Member::start(through, topic, "steady", &[], by_steady);
    wait_for(std::slice::from_ref(by_steady), BURST);
    let mut members: Vec<[Member; 2]> = Vec::new();
    let rounds = 18;
    for round in 1..=rounds {
        match round {
            1 | 4 | 8 => members.push([
                Member::start(through, topic, "moving", settings, by_moving),
                Member::start(direct, topic, "direct", settings, by_direct),
            ]),
            12 | 15 => members.remove(0).into_iter().for_each(Member::stop),
            _ => {}
        }
        // While a member joins or leaves, the others are reading.
        fixture.send(topic, round * BURST, BURST);
        wait_for(&handled, (round + 1) * BURST);
    }
    let count = (rounds + 1) * BURST;
    let left = members.into_iter().flatten().chain([steady]);
    left.for_each(Member::stop);
    for group in ["steady", "moving"] {
        fixture.wait_for_spans(topic, group, count);
    }
    let [processed, commits] = fixture.assert_groups(topic, 2 * count, 2 * count);
    assert_eq!(processed.get("steady"), Some(&count));
    assert_eq!(commits.get("steady"), Some(&count));
    // A record may have been fetched by two members.
    assert!(processed.get("moving") >= Some(&count), "{processed:?}");
    assert!(commits.get("moving") >= Some(&count), "{commits:?}");
    let groups: BTreeSet<&str> = processed.keys().map(String::as_str).collect();
    assert_eq!(groups, BTreeSet::from(["moving", "steady"]));
}

#[test]
fn groups_keep_their_spans_and_commits_through_cooperative_rebalances_under_load() {
    let settings = [("partition.assignment.strategy", "cooperative-sticky")];
    assert_groups_of_moving_members("cooperative", &settings);
}

/// KIP-848: the broker assigns the partitions, and the members hear of it by their heartbeats.
#[test]
fn groups_keep_their_spans_and_commits_while_the_broker_moves_partitions() {
    assert_groups_of_moving_members("assigned", &[("group.protocol", "consumer")]);
}

#[test]
fn static_members_that_restart_keep_their_group() {
    let fixture = GroupFixture::start();
    let topic = "static";
    create_topic(fixture.kafka.bootstrap(), &TopicSpec::new(topic, 2)).unwrap();
    let (through, direct) = (fixture.sidecar.bootstrap(), fixture.kafka.bootstrap());
    let handled: Vec<Handled> = (0..3).map(|_| Handled::default()).collect();
    let paths = [
        (through, "static-a", "one"),
        (through, "static-b", "two"),
        (direct, "static-direct", "three"),
    ];
    let rounds = 4;
    for round in 0..rounds {
        fixture.send(topic, round * BURST, BURST);
        let mut members = Vec::new();
        for ((bootstrap, group, instance), handled) in paths.iter().zip(&handled) {
            let settings = [("group.instance.id", *instance)];
            members.push(Member::start(bootstrap, topic, group, &settings, handled));
            wait_for(std::slice::from_ref(handled), (round + 1) * BURST);
        }
        members.into_iter().for_each(Member::stop);
    }
    let count = rounds * BURST;
    let expected = BTreeMap::from(["static-a", "static-b"].map(|it| (it.to_owned(), count)));
    let [processed, commits] = fixture.assert_groups(topic, 2 * count, 2 * count);
    assert_eq!(commits, expected);
    // A member that restarts has not left: until it commits, the other group may be the reader too.
    assert_eq!(processed.values().sum::<usize>(), 2 * count);
    for group in processed.keys().filter(|it| !it.is_empty()) {
        assert!(processed.get(group) <= Some(&count), "{processed:?}");
    }
    assert!(processed.get("static-a") >= Some(&BURST), "{processed:?}");
}

#[test]
fn records_that_a_consumer_goes_back_to_have_another_consumer_span_and_commit() {
    let fixture = GroupFixture::start();
    let topic = "again";
    create_topic(fixture.kafka.bootstrap(), &TopicSpec::new(topic, 1)).unwrap();
    fixture.send(topic, 0, BURST);
    let through = fixture.sidecar.bootstrap();
    for (bootstrap, group) in [(fixture.kafka.bootstrap(), "direct"), (through, "back")] {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        consumer.subscribe(&[topic]).unwrap();
        let read = |count: usize| {
            let mut offsets = Vec::new();
            let next = || {
                let record = consumer.poll(POLL)?.ok()?;
                offsets.push(record.offset());
                (offsets.len() == count).then_some(record)
            };
            let last = wait::until(TIMEOUT, next).unwrap();
            consumer.commit_message(&last, CommitMode::Sync).unwrap();
            offsets
        };
        let all: Vec<i64> = (0..20).collect();
        assert_eq!(read(BURST), all, "{group}");
        consumer.seek(topic, 0, Offset::Offset(5), TIMEOUT).unwrap();
        assert_eq!(read(BURST - 5), all.get(5..).unwrap(), "{group}");
    }
    let [processed, commits] = fixture.assert_groups(topic, 2 * BURST - 5, 2 * BURST - 5);
    let expected = BTreeMap::from([("back".to_owned(), 2 * BURST - 5)]);
    assert_eq!(processed, expected);
    assert_eq!(commits, expected);
}

/// The sidecar that starts again knows groups by their heartbeats and commits, one after the other.
#[test]
fn groups_are_not_confused_after_a_restart_of_the_sidecar() {
    let (mut fixture, port) = GroupFixture::start_on_fixed_ports();
    let (topics, groups) = (["kept-a", "kept-b"], ["group-a", "group-b"]);
    let pairs = [("group-a", "kept-a"), ("group-b", "kept-b")];
    let (through, direct) = (
        fixture.sidecar.bootstrap().to_owned(),
        fixture.kafka.bootstrap().to_owned(),
    );
    let handled: [Handled; 4] = std::array::from_fn(|_| Handled::default());
    let [a, b, direct_a, direct_b] = &handled;
    let start_members = || {
        [
            Member::start(&through, topics[0], groups[0], &[], a),
            Member::start(&through, topics[1], groups[1], &[], b),
            Member::start(&direct, topics[0], "direct-a", &[], direct_a),
            Member::start(&direct, topics[1], "direct-b", &[], direct_b),
        ]
    };
    for topic in topics {
        create_topic(&direct, &TopicSpec::new(topic, 1)).unwrap();
        fixture.send(topic, 0, BURST);
    }
    let members = start_members();
    wait_for(&handled, BURST);
    for (group, topic) in pairs {
        fixture.wait_for_spans(topic, group, BURST);
    }

    fixture.sidecar.process().kill();
    fixture.sidecar = fixture.start_sidecar(port);
    // The first group commits before the heartbeat of the second one, and the other way round.
    let orders = [topics, [topics[1], topics[0]]];
    for (round, topic) in orders.concat().into_iter().enumerate() {
        let first = (1 + round / 2) * BURST;
        fixture.send(topic, first, BURST);
        let is_first = topic == topics[0];
        let readers = if is_first {
            [a, direct_a]
        } else {
            [b, direct_b]
        };
        for reader in readers {
            wait_for(std::slice::from_ref(reader), first + BURST);
        }
    }
    members.into_iter().for_each(Member::stop);

    // Groups that are assigned their partitions again are known again.
    let members = start_members();
    fixture.wait_for_groups(pairs);
    for topic in topics {
        fixture.send(topic, 3 * BURST, BURST);
    }
    wait_for(&handled, 4 * BURST);
    members.into_iter().for_each(Member::stop);
    for (group, topic) in pairs {
        // Some records may be delivered again after a connection was cut.
        let [processed, commits] = fixture.assert_groups(topic, 4 * BURST, 2 * BURST);
        let is_own = |name: &String| name.is_empty() || name == group;
        assert!(processed.keys().all(is_own), "{topic}: {processed:?}");
        assert!(commits.keys().all(is_own), "{topic}: {commits:?}");
        for counts in [processed, commits] {
            assert!(counts.get(group) >= Some(&(2 * BURST)), "{counts:?}");
        }
    }
}
