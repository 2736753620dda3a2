//! Kafka, edge collectors, and members of a group with folders of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use e2e::TraceSet;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::collector::{CollectorInstance, CollectorPorts};
use throughline_testkit::kafka::{ApacheBroker, TopicSpec};
use throughline_testkit::wait;

use crate::span_load::{SERVICE, SPANS};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// A member of a group, which may be killed and started again with its folder.
pub(crate) struct GroupMember {
    collector: Option<CollectorInstance>,
    args: Vec<String>,
    bootstrap: String,
    variables: Vec<(&'static str, String)>,
    data: String,
    config: NamedTempFile,
    _folder: Option<TempDir>,
}

// === impl GroupMember ===

impl GroupMember {
    /// Starts a member with a folder that is removed with it.
    pub(crate) fn start(bootstrap: &str, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut member = Self::start_in(bootstrap, &folder.path().join("data"), args);
        member._folder = Some(folder);
        member
    }

    /// Starts a member with this folder.
    pub(crate) fn start_in(bootstrap: &str, data: &Path, args: &[&str]) -> Self {
        Self::start_with(bootstrap, data.to_str().unwrap(), args, &[])
    }

    /// Starts a member with this folder or bucket, and these variables.
    pub(crate) fn start_with(
        bootstrap: &str,
        data: &str,
        args: &[&str],
        variables: &[(&'static str, String)],
    ) -> Self {
        let config = NamedTempFile::new().unwrap();
        // The least that a broker allows: a killed member is missed after it.
        std::fs::write(
            &config,
            "session.timeout.ms=6000\nheartbeat.interval.ms=1000\n",
        )
        .unwrap();
        let mut member = Self {
            collector: None,
            args: Vec::new(),
            bootstrap: bootstrap.to_owned(),
            variables: variables.to_vec(),
            data: data.to_owned(),
            config,
            _folder: None,
        };
        member.set_args(args);
        member.restart();
        member
    }

    pub(crate) fn set_args(&mut self, args: &[&str]) {
        self.args = args.iter().map(|arg| (*arg).to_owned()).collect();
    }

    pub(crate) fn restart(&mut self) {
        let mut args = vec!["--from-kafka", &self.bootstrap, "--store", "disk"];
        args.extend(["--data", &self.data]);
        args.extend(["--kafka-config", self.config.path().to_str().unwrap()]);
        if !self.args.iter().any(|arg| arg == "--min-free") {
            args.extend(["--min-free", "0"]);
        }
        args.extend(self.args.iter().map(String::as_str));
        let ports = CollectorPorts::default();
        let collector = CollectorInstance::start_with(binary(), ports, &args, &self.variables);
        self.collector = Some(collector.unwrap());
    }

    pub(crate) fn kill(&self) {
        let process = self.collector().process();
        process.kill();
        process.wait(TIMEOUT).unwrap();
    }

    pub(crate) fn stop(&self) {
        let status = self.collector().process().stop(TIMEOUT).unwrap();
        assert!(status.success(), "{status}");
    }

    /// Returns the number of assigned partitions.
    pub(crate) fn partitions(&self) -> u64 {
        self.metric("assigned_partitions")
    }

    /// Returns a metric of the reader; 0 when it is missing.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        metric(self.collector(), &format!("throughline_kafka_{name}"))
    }

    /// Returns the names of the spans of all traces, by trace id.
    pub(crate) fn traces(&self) -> BTreeMap<String, Vec<String>> {
        traces(self.collector())
    }

    /// Returns the traces with spans of a service as they were reported, by id.
    pub(crate) fn traces_of(&self, service: &str) -> BTreeMap<String, Value> {
        self.collector().traces_since(service, 0, true).unwrap()
    }

    pub(crate) fn log_lines(&self, text: &str) -> usize {
        let log = self.collector().process().log();
        log.iter().filter(|line| line.contains(text)).count()
    }

    pub(crate) fn collector(&self) -> &CollectorInstance {
        self.collector.as_ref().unwrap()
    }
}

pub(crate) fn binary() -> &'static Path {
    &ProjectBinaries::build().unwrap().throughline
}

pub(crate) fn start_kafka(topics: &[TopicSpec]) -> ApacheBroker {
    // A group is joined at once.
    let builder = ApacheBroker::builder().property("group.initial.rebalance.delay.ms", "0");
    let builder = topics
        .iter()
        .cloned()
        .fold(builder, |it, topic| it.topic(topic));
    builder.start(&mut |step| eprintln!("{step}")).unwrap()
}

/// Starts a collector that answers queries about all collectors below a folder.
pub(crate) fn query_node(folder: &Path) -> CollectorInstance {
    let args = [
        "--query-only",
        "--store",
        "disk",
        "--data",
        folder.to_str().unwrap(),
    ];
    CollectorInstance::start_on(binary(), CollectorPorts::default(), &args).unwrap()
}

/// Returns the names of the spans of all traces of the service, by trace id.
pub(crate) fn traces(collector: &CollectorInstance) -> BTreeMap<String, Vec<String>> {
    let traces = collector.traces_since(SERVICE, 0, true).unwrap();
    let traces: Vec<_> = traces.into_values().collect();
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for span in TraceSet::from_json(&json!({ "data": traces })).spans {
        names.entry(span.trace).or_default().push(span.name);
    }
    names
}

/// Returns whether these are the spans of a trace of two processes, each of them once.
pub(crate) fn is_whole_pair(spans: &[String]) -> bool {
    let expected: BTreeSet<String> = (1..=2 * SPANS).map(|id| format!("step {id}")).collect();
    let names: BTreeSet<String> = spans.iter().cloned().collect();
    names == expected && spans.len() == expected.len()
}

/// Waits until all these traces of two processes are whole.
pub(crate) fn wait_for_whole_pairs(node: &CollectorInstance, ids: &BTreeSet<String>) {
    let missing = || {
        let mut whole: BTreeMap<_, _> = traces(node);
        whole.retain(|_, spans| is_whole_pair(spans));
        let missing = ids.iter().filter(|id| !whole.contains_key(*id));
        missing.cloned().collect::<Vec<_>>()
    };
    wait::until(TIMEOUT, || missing().is_empty().then_some(()))
        .unwrap_or_else(|| panic!("{:?} of {} traces", missing(), ids.len()));
}

/// Starts a collector that forwards to the topic.
pub(crate) fn edge(bootstrap: &str, args: &[&str]) -> CollectorInstance {
    let args = [&["--to-kafka", bootstrap], args].concat();
    CollectorInstance::start_on(binary(), CollectorPorts::default(), &args).unwrap()
}

/// Returns the value of a metric; 0 when it is missing.
pub(crate) fn metric(collector: &CollectorInstance, name: &str) -> u64 {
    let text = collector.get("/metrics").unwrap().body;
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name));
    values
        .next()
        .map_or(0, |value| value.trim().parse().unwrap())
}

pub(crate) fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

/// Writes a record without a key.
pub(crate) fn produce(bootstrap: &str, topic: &str, partition: i32, value: Option<&[u8]>) {
    let producer: BaseProducer = client(bootstrap).create().unwrap();
    let mut record = BaseRecord::<(), [u8]>::to(topic).partition(partition);
    record.payload = value;
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(TIMEOUT).unwrap();
}

/// Returns the committed offsets of a group, and the ends of all partitions with records.
pub(crate) fn committed(
    bootstrap: &str,
    topic: &str,
    group: &str,
) -> (BTreeMap<i32, i64>, BTreeMap<i32, i64>) {
    let consumer: BaseConsumer = client(bootstrap).set("group.id", group).create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).unwrap();
    let mut asked = TopicPartitionList::new();
    let mut ends = BTreeMap::new();
    for partition in metadata.topics()[0].partitions() {
        asked.add_partition(topic, partition.id());
        let (_, end) = consumer
            .fetch_watermarks(topic, partition.id(), TIMEOUT)
            .unwrap();
        if end > 0 {
            ends.insert(partition.id(), end);
        }
    }
    // A group that is new has no coordinator yet.
    let committed = consumer.committed_offsets(asked, TIMEOUT);
    let committed = committed.unwrap_or_default();
    let committed = committed.elements().into_iter();
    let committed = committed.filter_map(|it| {
        let offset = it.offset();
        let Offset::Offset(offset) = offset else {
            return None;
        };
        Some((it.partition(), offset))
    });
    (committed.collect(), ends)
}
