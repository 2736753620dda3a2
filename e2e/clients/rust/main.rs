//! The `rdkafka` crate as a client under test: produce and consume; classic and KIP-848 groups. The
//! contract is in `../README.md`.
//!
//! No TLS and no SCRAM: this build of librdkafka has no OpenSSL. `confluent.py` uses the same
//! library with it.
#![expect(
    clippy::print_stderr,
    reason = "a command line program reports errors on stderr"
)]

#[path = "lines.rs"]
mod lines;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use self::lines::{AcknowledgementLine, InputRecord, LineWriter, Options};

/// Destination of acknowledgements: lines at once, or the lines of the open transaction.
struct AcknowledgementSink {
    lines: LineWriter,
    transaction: Option<Mutex<Vec<AcknowledgementLine>>>,
    failed: Mutex<Vec<String>>,
}

/// Offsets of handled records, committed before a rebalance so that nothing is read twice.
#[derive(Default)]
struct HandledOffsets(Mutex<BTreeMap<(String, i32), i64>>);

const LIMIT: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let options = Options::parse(arguments)?;
    match command.as_str() {
        "produce" => produce(&options),
        "consume" => consume(&options),
        _ => bail!("unknown command: use produce or consume"),
    }
}

fn connection(options: &Options) -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", options.get("bootstrap")?);
    if let Some(id) = options.find("client-id") {
        config.set("client.id", id);
    }
    config.set("security.protocol", options.or("security", "plaintext"));
    if let Some(mechanism) = options.find("mechanism") {
        config.set("sasl.mechanism", mechanism);
        config
            .set("sasl.username", options.get("username")?)
            .set("sasl.password", options.get("password")?);
    }
    Ok(config)
}

fn produce(options: &Options) -> Result<()> {
    let mut config = connection(options)?;
    config
        .set("compression.type", options.or("codec", "none"))
        .set("acks", options.or("acks", "all"));
    config
        .set("enable.idempotence", options.or("idempotent", "false"))
        .set("linger.ms", options.or("linger", "5"));
    config
        .set("batch.size", options.or("batch-size", "1000000"))
        .set("max.in.flight", options.or("in-flight", "5"));
    let transactional = options.find("transactional");
    if let Some(id) = transactional {
        config
            .set("transactional.id", id)
            .set("enable.idempotence", "true")
            .set("acks", "all");
    }
    let records = lines::read(options.get("input")?)?;
    let context = AcknowledgementSink {
        lines: LineWriter::create(options)?,
        transaction: transactional.map(|_| Mutex::default()),
        failed: Mutex::default(),
    };
    let producer: ThreadedProducer<AcknowledgementSink> = config.create_with_context(context)?;
    let topic = options.get("topic")?;
    let pace = Duration::from_millis(options.number("pace", 0)?);
    if transactional.is_some() {
        transactions(&producer, topic, &records, options)?;
    } else {
        let gate_at = options.number("gate-at", u64::MAX)?;
        for (index, record) in records.iter().enumerate() {
            if u64::try_from(index)? == gate_at {
                producer.flush(LIMIT)?;
                let gate = Path::new(options.get("gate")?);
                while !gate.exists() {
                    wait(Duration::from_millis(20));
                }
            }
            send(&producer, topic, index, record)?;
            wait(pace);
        }
    }
    producer.flush(LIMIT)?;
    let failed = lock(&producer.context().failed);
    ensure!(
        failed.is_empty(),
        "{} records failed: {:?}",
        failed.len(),
        failed.first()
    );
    Ok(())
}

fn send(
    producer: &ThreadedProducer<AcknowledgementSink>,
    topic: &str,
    index: usize,
    record: &InputRecord,
) -> Result<()> {
    let mut message = BaseRecord::<[u8], [u8], Box<usize>>::with_opaque_to(topic, Box::new(index))
        .headers(record.headers());
    message.partition = record.partition;
    message.timestamp = record.timestamp;
    message.key = record.key.as_deref();
    message.payload = record.value.as_deref();
    producer
        .send(message)
        .map_err(|(error, _)| error)
        .with_context(|| format!("record {index}"))
}

fn transactions(
    producer: &ThreadedProducer<AcknowledgementSink>,
    topic: &str,
    records: &[InputRecord],
    options: &Options,
) -> Result<()> {
    let size = usize::try_from(options.number("transaction-size", 10)?)?;
    let abort_every = options.number("abort-every", 0)?;
    let indexed: Vec<(usize, &InputRecord)> = records.iter().enumerate().collect();
    producer.init_transactions(LIMIT)?;
    for (part, number) in indexed.chunks(size).zip(1..) {
        producer.begin_transaction()?;
        for (index, record) in part {
            send(producer, topic, *index, record)?;
        }
        producer.flush(LIMIT)?;
        let committed = abort_every == 0 || number % abort_every != 0;
        if committed {
            producer.commit_transaction(LIMIT)
        } else {
            producer.abort_transaction(LIMIT)
        }?;
        let context = producer.context();
        let Some(transaction) = &context.transaction else {
            continue;
        };
        for line in lock(transaction).drain(..) {
            context.lines.write(&line.json(Some(committed)));
        }
    }
    Ok(())
}

fn consume(options: &Options) -> Result<()> {
    let mut config = connection(options)?;
    config
        .set("group.id", options.get("group")?)
        .set("group.protocol", options.or("protocol", "classic"));
    config
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false");
    config
        .set(
            "isolation.level",
            options.or("isolation", "read_uncommitted"),
        )
        .set("fetch.wait.max.ms", "50");
    config.set(
        "topic.metadata.refresh.interval.ms",
        options.or("metadata-age", "300000"),
    );
    if options.or("protocol", "classic") == "classic" {
        config.set("heartbeat.interval.ms", "500");
    }
    let count = options.number("count", u64::MAX)?;
    let deadline = Instant::now() + Duration::from_secs(options.number("limit", 60)?);
    let lines = LineWriter::create(options)?;
    let consumer: BaseConsumer<HandledOffsets> =
        config.create_with_context(HandledOffsets::default())?;
    consumer.subscribe(&options.get("topics")?.split(',').collect::<Vec<_>>())?;
    let (mut seen, mut places, distinct) = (
        0,
        BTreeSet::new(),
        options.or("distinct", "false") == "true",
    );
    while seen < count && Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Err(error)) => eprintln!("{error}"),
            Some(Ok(message)) => {
                lines.write(&lines::consumed(&message));
                consumer
                    .context()
                    .note(message.topic(), message.partition(), message.offset() + 1);
                let is_new = places.insert((
                    message.topic().to_owned(),
                    message.partition(),
                    message.offset(),
                ));
                seen += u64::from(is_new || !distinct);
            }
        }
    }
    let handled = consumer.context().take(|_| true)?;
    if handled.count() > 0 {
        consumer.commit(&handled, CommitMode::Sync)?;
    }
    Ok(())
}

// === impl AcknowledgementSink ===

impl ClientContext for AcknowledgementSink {}

impl ProducerContext for AcknowledgementSink {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, index: Box<usize>) {
        match (result, &self.transaction) {
            (Err((error, _)), _) => lock(&self.failed).push(format!("record {index}: {error}")),
            (Ok(message), Some(transaction)) => {
                lock(transaction).push(AcknowledgementLine::new(*index, message));
            }
            (Ok(message), None) => self
                .lines
                .write(&AcknowledgementLine::new(*index, message).json(None)),
        }
    }
}

// === impl HandledOffsets ===

impl HandledOffsets {
    fn note(&self, topic: &str, partition: i32, next: i64) {
        lock(&self.0).insert((topic.to_owned(), partition), next);
    }

    /// Removes and returns the offsets of the partitions that are `wanted`.
    fn take(&self, wanted: impl Fn(&(String, i32)) -> bool) -> Result<TopicPartitionList> {
        let mut offsets = TopicPartitionList::new();
        let mut handled = lock(&self.0);
        for ((topic, partition), next) in handled.iter().filter(|(place, _)| wanted(place)) {
            offsets.add_partition_offset(topic, *partition, Offset::Offset(*next))?;
        }
        handled.retain(|place, _| !wanted(place));
        Ok(offsets)
    }
}

impl ClientContext for HandledOffsets {}

impl ConsumerContext for HandledOffsets {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(partitions) = rebalance else {
            return;
        };
        let leaving =
            self.take(|(topic, partition)| partitions.find_partition(topic, *partition).is_some());
        match leaving {
            Ok(leaving) if leaving.count() == 0 => {}
            Ok(leaving) => {
                if let Err(error) = consumer.commit(&leaving, CommitMode::Sync) {
                    eprintln!("committing before a rebalance: {error}");
                }
            }
            Err(error) => eprintln!("{error}"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits, for options that slow the producer down.
fn wait(pace: Duration) {
    if !pace.is_zero() {
        #[expect(clippy::disallowed_methods, reason = "the options request the wait")]
        std::thread::sleep(pace);
    }
}
