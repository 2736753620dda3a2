//! What tracing every request costs: HTTP/1.1 through `throughline sidecar` and through Envoy with its OpenTelemetry tracer, beside no
//! proxy at all.
//!
//! A service that answers with 1 KiB, wrk or a client of our own before it, everything on this machine. Both proxies make a span for
//! each request and send them by OTLP over HTTP to the same collector, which counts them; both have as many worker
//! threads. All run the whole time; in each round every target has its turn, in an order that shifts. A figure is the median of the
//! rounds, a ratio is taken within a round. CPU time is that of the proxy's process alone, with what it does afterwards.
//! Prints one line of JSON per case and target. Run by `cargo xtask bench http`, which fetches the other.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark is a program of its own"
)]

mod load;
mod report;
mod service;
mod sink;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use crate::load::HttpLoad;
use crate::report::{HttpFigures, HttpSample};
use crate::sink::CountingCollector;
use crate::target::HttpTarget;

#[derive(Debug, Parser)]
struct Options {
    /// The envoy binary
    #[arg(long)]
    envoy: Option<PathBuf>,
    /// The throughline binary
    #[arg(long)]
    throughline: PathBuf,
    /// Rounds that count
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Rounds before them
    #[arg(long, default_value_t = 1)]
    warmups: u32,
    /// Seconds of one measurement
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Requests a second where they come at a pace
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    /// Connections at once
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// Worker threads of each proxy; as many as there are cores without it
    #[arg(long)]
    workers: Option<usize>,
    /// Only cases whose names contain this
    #[arg(long, default_value = "")]
    only: String,
    /// What cargo tells every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// How requests come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoadPattern {
    /// The next as soon as the last is answered.
    Saturated,
    /// So many a second, whatever the answers.
    Paced(u32),
}

/// What is still to be done when a measurement is over, such as sending spans, belongs to it and must not disturb the next. Both
/// proxies send what waits after half a second.
const SETTLE: Duration = Duration::from_millis(1200);

fn main() -> Result<()> {
    let options = Options::parse();
    let home = tempfile::Builder::new()
        .prefix("throughline-bench-")
        .tempdir()?;
    let (service, sink) = (service::start()?, CountingCollector::start()?);
    let workers = options
        .workers
        .map_or_else(|| std::thread::available_parallelism().map(usize::from), Ok)?;
    let mut targets = vec![HttpTarget::direct(service)];
    if let Some(envoy) = &options.envoy {
        targets.push(HttpTarget::envoy(
            envoy,
            service,
            &sink,
            workers,
            home.path(),
        )?);
    }
    targets.push(HttpTarget::throughline(
        &options.throughline,
        service,
        &sink,
        workers,
    )?);
    let mut figures = HttpFigures::default();
    for round in 0..options.warmups + options.rounds {
        for case in [LoadPattern::Saturated, LoadPattern::Paced(options.rate)] {
            if !case.name().contains(&options.only) {
                continue;
            }
            eprintln!("round {round}: {}", case.name());
            for turn in 0..targets.len() {
                // Everybody is first once.
                let shifted = (turn + usize::try_from(round)?) % targets.len();
                let Some(target) = targets.get(shifted) else {
                    continue;
                };
                let sample = measure(case, target, &options, &sink)
                    .with_context(|| format!("{}: {}", target.name(), case.name()))?;
                if round >= options.warmups {
                    figures.add(&case.name(), shifted, sample);
                }
            }
        }
    }
    figures
        .lines(&targets)
        .iter()
        .for_each(|line| println!("{line}"));
    Ok(())
}

fn measure(
    case: LoadPattern,
    target: &HttpTarget,
    options: &Options,
    sink: &CountingCollector,
) -> Result<HttpSample> {
    let load = HttpLoad {
        to: target.address(),
        connections: options.connections,
        lasts: Duration::from_secs(options.seconds),
    };
    let (before, spans) = (target.cpu_seconds()?, sink.spans());
    let outcome = match case {
        LoadPattern::Saturated => load.wrk()?,
        LoadPattern::Paced(rate) => load.paced(rate)?,
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "there is no condition to wait for: idle is when nothing happens"
    )]
    std::thread::sleep(SETTLE);
    let cpu_seconds = target
        .cpu_seconds()?
        .zip(before)
        .map(|(after, before)| after - before);
    Ok(HttpSample {
        outcome,
        cpu_seconds,
        spans: sink.spans() - spans,
    })
}

// === impl LoadPattern ===

impl LoadPattern {
    fn name(self) -> String {
        match self {
            Self::Saturated => "saturated".to_owned(),
            Self::Paced(rate) => format!("{rate} requests/s"),
        }
    }
}
