//! What a proxy before Kafka costs: throughput, latency and CPU time through ours and others, beside no proxy at all.
//!
//! One Apache Kafka with one broker, one client, one connection, everything on this machine. All proxies run the whole time;
//! in each round every target has its turn, in an order that shifts. A ratio is taken within a round, a figure is the median of the
//! rounds; the best of them stands beside it where other programs on the machine can only make it worse. The client replays
//! prepared frames ([`load`]): it costs little, so that on few cores the proxy is what is measured.
//! Prints one line of JSON per case and target. Run by `cargo xtask bench kafka`, which fetches the others.
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
    /// Rounds that count
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Rounds before them, for JVMs to compile what is hot
    #[arg(long, default_value_t = 2)]
    warmups: u32,
    /// Megabytes of values that one measurement moves
    #[arg(long, default_value_t = 400)]
    megabytes: u64,
    /// Requests of one measurement of latency
    #[arg(long, default_value_t = 2000)]
    requests: u32,
    /// Only cases whose names contain this
    #[arg(long, default_value = "")]
    only: String,
    /// What cargo tells every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is done with a target.
#[derive(Debug, Clone, Copy)]
struct BenchCase {
    name: &'static str,
    work: WorkloadKind,
    codec: BatchCodec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WorkloadKind {
    Produce,
    Consume,
    /// Whole batches at this pace: nobody lacks CPU time.
    Steady(Duration),
    /// One record a request, at this pace.
    Paced(Duration),
}

const CASES: [BenchCase; 6] = [
    BenchCase {
        name: "produce, none",
        work: WorkloadKind::Produce,
        codec: BatchCodec::None,
    },
    BenchCase {
        name: "produce, lz4",
        work: WorkloadKind::Produce,
        codec: BatchCodec::Lz4,
    },
    BenchCase {
        name: "consume, none",
        work: WorkloadKind::Consume,
        codec: BatchCodec::None,
    },
    BenchCase {
        name: "consume, lz4",
        work: WorkloadKind::Consume,
        codec: BatchCodec::Lz4,
    },
    BenchCase {
        name: "produce 100 MB/s, none",
        work: WorkloadKind::Steady(Duration::from_micros(1024)),
        codec: BatchCodec::None,
    },
    BenchCase {
        name: "acknowledge, 500 requests/s",
        work: WorkloadKind::Paced(Duration::from_millis(2)),
        codec: BatchCodec::None,
    },
];

/// Records of a batch: 100 KiB, between what Java and what librdkafka send under load.
const RECORDS: u32 = 100;
const VALUE: usize = 1024;

/// What is still to be done when a measurement is over, such as sending spans, belongs to it and must not disturb the next.
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
                // Everybody is first once.
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

/// As a broker is run for longer: with the second compiler, and with logs that do not fill the disk.
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
    // In memory where there is a place for it: the disk is not what is measured.
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
        .fold(kafka, |kafka, case| match case.work {
            WorkloadKind::Consume => SUFFIXES.into_iter().fold(kafka, |kafka, suffix| {
                kafka.topic(TopicSpec::new(topic(&case, suffix), 1))
            }),
            WorkloadKind::Produce | WorkloadKind::Steady(_) | WorkloadKind::Paced(_) => {
                kafka.topic(limited(topic(&case, "")))
            }
        });
    Ok((kafka.start(&mut |what| eprintln!("{what}"))?, logs))
}

/// Topics that are read: one whose records carry a sampled context, one where a hundredth of them do.
const SUFFIXES: [&str; 2] = ["-all", "-one"];

fn topic(case: &BenchCase, suffix: &str) -> String {
    let name: String = case
        .name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    format!("{name}{suffix}")
}

/// Which of the topics a target reads: who follows the decision of the producers is given those that decided as it is set up.
fn suffix(target: &KafkaTarget) -> &'static str {
    if target.name.contains("all sampled") {
        "-all"
    } else {
        "-one"
    }
}

fn fill(bootstrap: &str, case: &BenchCase, options: &Options) -> Result<()> {
    if case.work != WorkloadKind::Consume {
        return Ok(());
    }
    for (suffix, sampled) in SUFFIXES.into_iter().zip([1.0, 0.01]) {
        let shape = BatchShape {
            records: RECORDS,
            value_bytes: VALUE,
            codec: case.codec,
            sampled: Some(sampled),
        };
        let frame = ProduceFrame::new(&topic(case, suffix), &shape.batch(now()?)?)?;
        // A little more than is read, which may end inside a batch.
        let times = times(options, &shape)? + 20;
        load::produce(&mut BrokerConnection::open(bootstrap)?, &frame, times)?;
    }
    Ok(())
}

fn measure(case: &BenchCase, target: &KafkaTarget, options: &Options) -> Result<KafkaSample> {
    let mut connection = BrokerConnection::open(&target.broker)?;
    let records = if matches!(case.work, WorkloadKind::Paced(_)) {
        1
    } else {
        RECORDS
    };
    let shape = BatchShape {
        records,
        value_bytes: VALUE,
        codec: case.codec,
        sampled: None,
    };
    let frame = ProduceFrame::new(&topic(case, ""), &shape.batch(now()?)?)?;
    let before = target.cpu_seconds()?;
    let mut sample = match case.work {
        WorkloadKind::Produce => {
            let times = times(options, &shape)?;
            let took = load::produce(&mut connection, &frame, times)?;
            KafkaSample::throughput(shape.payload() * u64::from(times), took)
        }
        WorkloadKind::Consume => {
            let times = times(options, &shape)?;
            let bytes = u64::try_from(frame.bytes().len())? * u64::from(times);
            let (read, took) = load::consume(&mut connection, &topic(case, suffix(target)), bytes)?;
            // What counts is what the application gets, whatever it is packed in.
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
        reason = "there is no condition to wait for: idle is when nothing happens"
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
