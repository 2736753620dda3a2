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
use throughline_testkit::kafka::{Apache, Topic};

use crate::batch::{Codec, Shape};
use crate::report::{Figures, Sample};
use crate::target::{Programs, Target};
use crate::wire::{Connection, ProduceFrame};

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    programs: Programs,
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
struct Case {
    name: &'static str,
    work: Work,
    codec: Codec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Produce,
    Consume,
    /// Whole batches at this pace: nobody lacks CPU time.
    Steady(Duration),
    /// One record a request, at this pace.
    Paced(Duration),
}

const CASES: [Case; 6] = [
    Case {
        name: "produce, none",
        work: Work::Produce,
        codec: Codec::None,
    },
    Case {
        name: "produce, lz4",
        work: Work::Produce,
        codec: Codec::Lz4,
    },
    Case {
        name: "consume, none",
        work: Work::Consume,
        codec: Codec::None,
    },
    Case {
        name: "consume, lz4",
        work: Work::Consume,
        codec: Codec::Lz4,
    },
    Case {
        name: "produce 100 MB/s, none",
        work: Work::Steady(Duration::from_micros(1024)),
        codec: Codec::None,
    },
    Case {
        name: "acknowledge, 500 requests/s",
        work: Work::Paced(Duration::from_millis(2)),
        codec: Codec::None,
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
    let cases: Vec<Case> = CASES
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
    let mut figures = Figures::of(&targets);
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
fn start_kafka() -> Result<(Apache, TempDir)> {
    let retention = [
        ("retention.bytes", "268435456"),
        ("segment.bytes", "67108864"),
    ];
    let limited = |name: String| {
        retention
            .into_iter()
            .fold(Topic::new(name, 1), |topic, (key, value)| {
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
    let kafka = Apache::builder()
        .property("log.dirs", logs.path().display().to_string())
        .jvm("-XX:TieredStopAtLevel=4")
        .jvm("-Xmx1g")
        .property("log.retention.check.interval.ms", "2000")
        .property("log.segment.delete.delay.ms", "1000");
    let kafka = CASES
        .into_iter()
        .fold(kafka, |kafka, case| match case.work {
            Work::Consume => SUFFIXES.into_iter().fold(kafka, |kafka, suffix| {
                kafka.topic(Topic::new(topic(&case, suffix), 1))
            }),
            Work::Produce | Work::Steady(_) | Work::Paced(_) => {
                kafka.topic(limited(topic(&case, "")))
            }
        });
    Ok((kafka.start(&mut |what| eprintln!("{what}"))?, logs))
}

/// Topics that are read: one whose records carry a sampled context, one where a hundredth of them do.
const SUFFIXES: [&str; 2] = ["-all", "-one"];

fn topic(case: &Case, suffix: &str) -> String {
    let name: String = case
        .name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    format!("{name}{suffix}")
}

/// Which of the topics a target reads: who follows the decision of the producers is given those that decided as it is set up.
fn suffix(target: &Target) -> &'static str {
    if target.name.contains("all sampled") {
        "-all"
    } else {
        "-one"
    }
}

fn fill(bootstrap: &str, case: &Case, options: &Options) -> Result<()> {
    if case.work != Work::Consume {
        return Ok(());
    }
    for (suffix, sampled) in SUFFIXES.into_iter().zip([1.0, 0.01]) {
        let shape = Shape {
            records: RECORDS,
            value_bytes: VALUE,
            codec: case.codec,
            sampled: Some(sampled),
        };
        let frame = ProduceFrame::new(&topic(case, suffix), &shape.batch(now()?)?)?;
        // A little more than is read, which may end inside a batch.
        let times = times(options, &shape)? + 20;
        load::produce(&mut Connection::open(bootstrap)?, &frame, times)?;
    }
    Ok(())
}

fn measure(case: &Case, target: &Target, options: &Options) -> Result<Sample> {
    let mut connection = Connection::open(&target.broker)?;
    let records = if matches!(case.work, Work::Paced(_)) {
        1
    } else {
        RECORDS
    };
    let shape = Shape {
        records,
        value_bytes: VALUE,
        codec: case.codec,
        sampled: None,
    };
    let frame = ProduceFrame::new(&topic(case, ""), &shape.batch(now()?)?)?;
    let before = target.cpu_seconds()?;
    let mut sample = match case.work {
        Work::Produce => {
            let times = times(options, &shape)?;
            let took = load::produce(&mut connection, &frame, times)?;
            Sample::throughput(shape.payload() * u64::from(times), took)
        }
        Work::Consume => {
            let times = times(options, &shape)?;
            let bytes = u64::try_from(frame.bytes().len())? * u64::from(times);
            let (read, took) = load::consume(&mut connection, &topic(case, suffix(target)), bytes)?;
            // What counts is what the application gets, whatever it is packed in.
            Sample::throughput(
                shape.payload() * read / u64::try_from(frame.bytes().len())?,
                took,
            )
        }
        Work::Steady(pace) => {
            let times = times(options, &shape)? / 2;
            let (answers, took) = load::paced(&mut connection, &frame, pace, times)?;
            Sample::throughput(shape.payload() * u64::from(times), took).with_latency(answers)
        }
        Work::Paced(pace) => {
            let (answers, _) = load::paced(&mut connection, &frame, pace, options.requests)?;
            Sample::default().with_latency(answers)
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

fn times(options: &Options, shape: &Shape) -> Result<u32> {
    Ok(u32::try_from(
        (options.megabytes * 1_000_000).div_ceil(shape.payload()),
    )?)
}

fn now() -> Result<i64> {
    Ok(i64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis(),
    )?)
}
