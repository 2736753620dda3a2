//! Measures the cost of tracing every HTTP/1.1 request: through `throughline sidecar`, through
//! Envoy with its OpenTelemetry tracer, and without a proxy.
//!
//! A service responds with 1 KiB; `wrk` or a client of our own sends requests; everything runs on
//! this machine. Both proxies record a span per request and export to the same collector by OTLP
//! over HTTP, which counts them; both have the same number of worker threads. All run the whole
//! time; in each round every target has its turn, in rotating order. A figure is the median over
//! the rounds, a ratio is taken within a round. CPU time is that of the proxy's process, including
//! its work after the load. Prints one line of JSON per case and target. Run by `cargo xtask bench
//! http`, which fetches Envoy.
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
    /// Path of the envoy binary; Envoy is left out without it
    #[arg(long)]
    envoy: Option<PathBuf>,
    /// Path of our module for Envoy; needs --envoy
    #[arg(long, requires = "envoy")]
    envoy_module: Option<PathBuf>,
    /// Path of the throughline binary; the sidecar is left out without it
    #[arg(long)]
    throughline: Option<PathBuf>,
    /// Path of another throughline binary to compare with, such as an earlier version
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// Measured rounds
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Warm-up rounds before the measured ones
    #[arg(long, default_value_t = 1)]
    warmups: u32,
    /// Duration of one measurement in seconds
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Request rate of the paced case, per second
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    /// Concurrent connections
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// Worker threads of each proxy; the number of cores by default
    #[arg(long)]
    workers: Option<usize>,
    /// Runs only cases whose names contain this
    #[arg(long, default_value = "")]
    only: String,
    /// Ignored; cargo passes it to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// Arrival pattern of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoadPattern {
    /// Closed loop: the next request follows the last response.
    Saturated,
    /// Open loop: this many requests per second, independent of the responses.
    Paced(u32),
}

/// Pause after a measurement. Work that follows the load, such as exporting spans, belongs to it
/// and must not disturb the next. Both proxies export after half a second.
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
    if let Some(module) = &options.envoy_module {
        targets.push(HttpTarget::envoy_with_module(module, service, &sink)?);
    }
    let ours = [
        ("baseline", options.baseline.as_ref()),
        ("throughline", options.throughline.as_ref()),
    ];
    for (name, binary) in ours {
        let Some(binary) = binary else { continue };
        targets.push(HttpTarget::throughline(
            name, binary, service, &sink, workers,
        )?);
    }
    let mut figures = HttpFigures::default();
    for round in 0..options.warmups + options.rounds {
        for case in [LoadPattern::Saturated, LoadPattern::Paced(options.rate)] {
            if !case.name().contains(&options.only) {
                continue;
            }
            eprintln!("round {round}: {}", case.name());
            for turn in 0..targets.len() {
                // Rotates the order, so that no target always has the coldest or warmest turn.
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
        address: target.address(),
        connections: options.connections,
        duration: Duration::from_secs(options.seconds),
    };
    let (before, spans) = (target.cpu_seconds()?, sink.spans());
    let outcome = match case {
        LoadPattern::Saturated => load.wrk()?,
        LoadPattern::Paced(rate) => load.paced(rate)?,
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "idleness has no condition to poll"
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
