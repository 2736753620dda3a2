//! `cargo xtask bench kafka`: the Kafka codec, and the path through our sidecar and other proxies.

use anyhow::Result;

use super::peer_proxies;
use super::report::{self, BenchLine};
use crate::requirements::{self, JDK, MAVEN, PYTHON};
use crate::runner::{self, cargo};

/// Options of `cargo xtask bench kafka`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only the codec, or only the path
    #[arg(value_enum)]
    part: Option<BenchPart>,
    /// One short round of everything, to see that it runs; its figures mean nothing
    #[arg(long)]
    smoke: bool,
    /// Options of the path's benchmark: --rounds, --megabytes, --requests, --only
    #[arg(last = true)]
    more: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BenchPart {
    /// Bytes in memory: framing, scan, injection; beside memcpy and kafka-protocol
    Codec,
    /// A real Kafka, directly and through Envoy, kafka-proxy, Kroxylicious and our sidecar
    Path,
}

const SMOKE_ARGS: [&str; 4] = [
    "--rounds=1",
    "--warmups=0",
    "--megabytes=4",
    "--requests=50",
];

pub(super) fn run(options: &Options) -> Result<()> {
    eprintln!("building in the release profile (the first time takes minutes)");
    // The short round exists for the path only.
    if options.part != Some(BenchPart::Path) && !options.smoke {
        let args = [
            "bench",
            "--package",
            "throughline-kafka",
            "--bench",
            "codec",
        ];
        runner::run(&mut cargo(&args))?;
    }
    if options.part != Some(BenchPart::Codec) {
        bench_path(options)?;
    }
    Ok(())
}

fn bench_path(options: &Options) -> Result<()> {
    requirements::install_missing(&[JDK, MAVEN, PYTHON])?;
    let mut bench = report::path_bench("kafka_path", &peer_proxies::KAFKA)?;
    if options.smoke {
        bench.args(SMOKE_ARGS);
    }
    let rows = report::run(bench.args(&options.more), row)?;
    eprintln!(
        "\n{:<26} {:<26} {:>8} {:>9} {:>9} {:>9} {:>9} {:>8}",
        "case", "through", "MB/s", "/direct", "CPU s/GB", "p50 us", "p99 us", "peak MB"
    );
    eprintln!("{}", rows.join("\n"));
    Ok(())
}

fn row(line: &BenchLine) -> Option<String> {
    // A line without a case and a target is not a result.
    Some(format!(
        "{:<26} {:<26} {:>8} {:>9} {:>9} {:>9} {:>9} {:>8}",
        line.text("case")?,
        line.text("target")?,
        line.figure("mb_per_s", 0),
        line.figure("ratio_to_direct", 2),
        line.figure("cpu_s_per_gb", 2),
        line.figure("p50_us", 0),
        line.figure("p99_us", 0),
        line.figure("peak_mb", 0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_figures_leave_their_columns_empty() {
        let line = r#"{"case":"produce","target":"envoy","mb_per_s":370.4,
            "ratio_to_direct":0.9,"peak_mb":69}"#;
        let row = row(&BenchLine::parse(line).unwrap()).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words, ["produce", "envoy", "370", "0.90", "69"]);
    }
}
