//! Measures the cost of a proxy in front of Kafka: throughput, latency and CPU time through ours
//! and others, and without a proxy.
//!
//! One Apache Kafka broker, one client, one connection, everything on this machine. All proxies run
//! the whole time; in each round every target has its turn, in rotating order. A ratio is taken
//! within a round, a figure is the median over the rounds; some figures also have their best value,
//! because other programs on the machine can only make it worse. The client replays prepared frames
//! ([`load`]): it costs little, so that on few cores the proxy dominates the measurement. Prints
//! one line of JSON per case and target. Run by `cargo xtask bench kafka`, which fetches the other
//! proxies.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark is a program of its own"
)]

mod batch;
mod load;
mod report;
mod sink;
mod target;
mod wire;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Parser;
use tempfile::TempDir;
use throughline_testkit::kafka::{ApacheBroker, TopicSpec};

use crate::batch::{BatchCodec, BatchShape};
use crate::report::{KafkaFigures, KafkaSample};
use crate::target::{KafkaTarget, ProxyPrograms};
use crate::wire::{BrokerConnection, ProduceFrame};

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    programs: ProxyPrograms,
    /// Measured rounds
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Warm-up rounds, in which JVMs compile hot code
    #[arg(long, default_value_t = 2)]
    warmups: u32,
    /// Megabytes of record values per measurement
    #[arg(long, default_value_t = 400)]
    megabytes: u64,
    /// Requests per latency measurement
    #[arg(long, default_value_t = 2000)]
    requests: u32,
    /// Runs only cases whose names contain this
    #[arg(long, default_value = "")]
    only: String,
    /// Ignored; cargo passes it to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// A workload with its batch format.
#[derive(Debug, Clone, Copy)]
struct BenchCase {
    name: &'static str,
    workload: WorkloadKind,
    codec: BatchCodec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WorkloadKind {
    Produce,
    Consume,
    /// Full batches at this interval, below the CPU limit.
    Steady(Duration),
    /// One record per request, at this interval.
    Paced(Duration),
}

const CASES: [BenchCase; 6] = [
    BenchCase {
        name: "produce, none",
        workload: WorkloadKind::Produce,
        codec: BatchCodec::None,
    },
    BenchCase {
        name: "produce, lz4",
        workload: WorkloadKind::Produce,
        codec: BatchCodec::Lz4,
    },
    BenchCase {
        name: "consume, none",
        workload: WorkloadKind::Consume,
        codec: BatchCodec::None,
    },
    BenchCase {
        name: "consume, lz4",
        workload: WorkloadKind::Consume,
        codec: BatchCodec::Lz4,
    },
    BenchCase {
        name: "produce 100 MB/s, none",
        workload: WorkloadKind::Steady(Duration::from_micros(1024)),
        codec: BatchCodec::None,
    },
    BenchCase {
        name: "acknowledge, 500 requests/s",
        workload: WorkloadKind::Paced(Duration::from_millis(2)),
        codec: BatchCodec::None,
    },
];

/// Records per batch: 100 KiB, between the batches of Java and of librdkafka under load.
const BATCH_RECORDS: u32 = 100;
const VALUE_BYTES: usize = 1024;

/// Pause after a measurement. Work that follows the load, such as exporting spans, belongs to it
/// and must not disturb the next.
const SETTLE: Duration = Duration::from_millis(800);

fn main() -> Result<()> {
    let options = Options::parse();
    let home = tempfile::Builder::new()
        .prefix("throughline-bench-")
        .tempdir()?;
    let collector = sink::start()?;
    let (kafka, _logs) = start_kafka()?;
    let cases: Vec<BenchCase> = CASES
        .into_iter()
        .filter(|case| case.name.contains(&options.only))
        .collect();
    for case in &cases {
        fill(kafka.bootstrap(), case, &options)?;
    }
    let targets = target::start_all(
        &options.programs,
        kafka.bootstrap(),
        &collector,
        home.path(),
    )?;
    let mut figures = KafkaFigures::of(&targets);
    for round in 0..options.warmups + options.rounds {
        for case in &cases {
            eprintln!("round {round}: {}", case.name);
            for turn in 0..targets.len() {
                // Rotates the order, so that no target always has the coldest or warmest turn.
                let shifted = (turn + usize::try_from(round)?) % targets.len();
                let Some(target) = targets.get(shifted) else {
                    continue;
                };
                let sample = measure(case, target, &options)
                    .with_context(|| format!("{}: {}", target.name, case.name))?;
                figures.add(
                    round.checked_sub(options.warmups),
                    case.name,
                    target,
                    sample,
                );
            }
        }
    }
    figures.lines().iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// Starts a broker as for a longer life: with the C2 compiler, and with retention that bounds the
/// disk usage.
fn start_kafka() -> Result<(ApacheBroker, TempDir)> {
    let retention = [
        ("retention.bytes", "268435456"),
        ("segment.bytes", "67108864"),
    ];
    let limited = |name: String| {
        retention
            .into_iter()
            .fold(TopicSpec::new(name, 1), |topic, (key, value)| {
                topic.config(key, value)
            })
    };
    // The logs are in memory if possible: the disk is not part of the measurement.
    let memory = Path::new("/dev/shm");
    let logs = if memory.is_dir() {
        memory
    } else {
        &std::env::temp_dir()
    };
    let logs = tempfile::Builder::new()
        .prefix("throughline-bench-logs-")
        .tempdir_in(logs)?;
    let kafka = ApacheBroker::builder()
        .property("log.dirs", logs.path().display().to_string())
        .jvm("-XX:TieredStopAtLevel=4")
        .jvm("-Xmx1g")
        .property("log.retention.check.interval.ms", "2000")
        .property("log.segment.delete.delay.ms", "1000");
    let kafka = CASES
        .into_iter()
        .fold(kafka, |kafka, case| match case.workload {
            WorkloadKind::Consume => CONSUMED_SUFFIXES.into_iter().fold(kafka, |kafka, suffix| {
                kafka.topic(TopicSpec::new(topic(&case, suffix), 1))
            }),
            WorkloadKind::Produce | WorkloadKind::Steady(_) | WorkloadKind::Paced(_) => {
                kafka.topic(limited(topic(&case, "")))
            }
        });
    Ok((kafka.start(&mut |step| eprintln!("{step}"))?, logs))
}

/// Suffixes of the consumed topics: all records carry a sampled context, or one in a hundred.
const CONSUMED_SUFFIXES: [&str; 2] = ["-all", "-one"];

fn topic(case: &BenchCase, suffix: &str) -> String {
    let name: String = case
        .name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    format!("{name}{suffix}")
}

/// Returns the topic suffix for a target: consumers follow the sampling decision of producers, so
/// each target reads records with its own sampling rate.
fn suffix(target: &KafkaTarget) -> &'static str {
    if target.name.contains("all sampled") {
        "-all"
    } else {
        "-one"
    }
}

fn fill(bootstrap: &str, case: &BenchCase, options: &Options) -> Result<()> {
    if case.workload != WorkloadKind::Consume {
        return Ok(());
    }
    for (suffix, sampled) in CONSUMED_SUFFIXES.into_iter().zip([1.0, 0.01]) {
        let shape = BatchShape {
            records: BATCH_RECORDS,
            value_bytes: VALUE_BYTES,
            codec: case.codec,
            sampled: Some(sampled),
        };
        let frame = ProduceFrame::new(&topic(case, suffix), &shape.batch(now()?)?)?;
        // A margin: the consumer may end inside of a batch.
        let times = times(options, &shape)? + 20;
        load::produce(&mut BrokerConnection::open(bootstrap)?, &frame, times)?;
    }
    Ok(())
}

fn measure(case: &BenchCase, target: &KafkaTarget, options: &Options) -> Result<KafkaSample> {
    let mut connection = BrokerConnection::open(&target.broker)?;
    let records = if matches!(case.workload, WorkloadKind::Paced(_)) {
        1
    } else {
        BATCH_RECORDS
    };
    let shape = BatchShape {
        records,
        value_bytes: VALUE_BYTES,
        codec: case.codec,
        sampled: None,
    };
    let frame = ProduceFrame::new(&topic(case, ""), &shape.batch(now()?)?)?;
    let before = target.cpu_seconds()?;
    let mut sample = match case.workload {
        WorkloadKind::Produce => {
            let times = times(options, &shape)?;
            let took = load::produce(&mut connection, &frame, times)?;
            KafkaSample::throughput(shape.payload() * u64::from(times), took)
        }
        WorkloadKind::Consume => {
            let times = times(options, &shape)?;
            let bytes = u64::try_from(frame.bytes().len())? * u64::from(times);
            let (read, took) = load::consume(&mut connection, &topic(case, suffix(target)), bytes)?;
            // Counts the payload that the application receives, independent of its encoding.
            KafkaSample::throughput(
                shape.payload() * read / u64::try_from(frame.bytes().len())?,
                took,
            )
        }
        WorkloadKind::Steady(pace) => {
            let times = times(options, &shape)? / 2;
            let (answers, took) = load::paced(&mut connection, &frame, pace, times)?;
            KafkaSample::throughput(shape.payload() * u64::from(times), took).with_latency(answers)
        }
        WorkloadKind::Paced(pace) => {
            let (answers, _) = load::paced(&mut connection, &frame, pace, options.requests)?;
            KafkaSample::default().with_latency(answers)
        }
    };
    drop(connection);
    #[expect(
        clippy::disallowed_methods,
        reason = "idleness has no condition to poll"
    )]
    std::thread::sleep(SETTLE);
    if let (Some(before), Some(after)) = (before, target.cpu_seconds()?) {
        sample.cpu_seconds = Some(after - before);
    }
    Ok(sample)
}

fn times(options: &Options, shape: &BatchShape) -> Result<u32> {
    Ok(u32::try_from(
        (options.megabytes * 1_000_000).div_ceil(shape.payload()),
    )?)
}

fn now() -> Result<i64> {
    Ok(i64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis(),
    )?)
}
