//! `cargo xtask bench envoy`: a stock Envoy with our module beside the same Envoy without it.

use anyhow::Result;

use super::report::{self, BenchLine};
use crate::requirements::{self, JDK, MAVEN, PYTHON, WRK};

/// Options of `cargo xtask bench envoy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only Kafka, or only HTTP
    #[arg(value_enum)]
    protocol: Option<BenchProtocol>,
    /// Options of the benchmarks themselves: --rounds, --warmups, --only
    #[arg(last = true)]
    more: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BenchProtocol {
    /// Records of 1 KiB on a real Kafka, uncompressed and with lz4
    Kafka,
    /// HTTP/1.1 requests with Envoy's OpenTelemetry tracer
    Http,
}

pub(super) fn run(options: &Options) -> Result<()> {
    eprintln!("building in the release profile (the first time takes minutes)");
    requirements::install_missing(&[JDK, MAVEN, PYTHON, WRK])?;
    if options.protocol != Some(BenchProtocol::Http) {
        let mut bench = report::envoy_bench("kafka_path")?;
        let rows = report::run(bench.args(&options.more), kafka_row)?;
        eprintln!(
            "\n{:<28} {:<38} {:>7} {:>8} {:>9} {:>7} {:>7} {:>8}",
            "case", "through", "MB/s", "/Envoy", "CPU s/GB", "/Envoy", "p99 us", "peak MB"
        );
        eprintln!("{}", rows.join("\n"));
    }
    if options.protocol != Some(BenchProtocol::Kafka) {
        let mut bench = report::envoy_bench("http_path")?;
        let rows = report::run(bench.args(&options.more), http_row)?;
        eprintln!(
            "\n{:<16} {:<14} {:>10} {:>8} {:>10} {:>8} {:>9} {:>8}",
            "case", "through", "requests/s", "/Envoy", "CPU us", "/Envoy", "p99 us", "peak MB"
        );
        eprintln!("{}", rows.join("\n"));
    }
    Ok(())
}

fn kafka_row(line: &BenchLine) -> Option<String> {
    // A line without a case and a target is not a result.
    Some(format!(
        "{:<28} {:<38} {:>7} {:>8} {:>9} {:>7} {:>7} {:>8}",
        line.text("case")?,
        line.text("target")?,
        line.figure("mb_per_s", 0),
        line.figure("ratio_to_envoy", 2),
        line.figure("cpu_s_per_gb", 2),
        line.figure("cpu_to_envoy", 2),
        line.figure("p99_us", 0),
        line.figure("peak_mb", 0),
    ))
}

fn http_row(line: &BenchLine) -> Option<String> {
    let cpu = line.number("requests_per_cpu_s_to_envoy");
    Some(format!(
        "{:<16} {:<14} {:>10} {:>8} {:>10} {:>8} {:>9} {:>8}",
        line.text("case")?,
        line.text("target")?,
        line.figure("requests_per_s", 0),
        line.figure("requests_per_s_to_envoy", 2),
        line.figure("cpu_us_per_request", 1),
        cpu.map_or_else(String::new, |ratio| format!("{:.2}", 1.0 / ratio)),
        line.figure("p99_us", 0),
        line.figure("peak_mb", 0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_beside_those_of_envoy() {
        let line = r#"{"case":"produce","target":"envoy","mb_per_s":370.4,
            "ratio_to_envoy":0.95,"cpu_s_per_gb":0.5,"cpu_to_envoy":1.2,"peak_mb":69}"#;
        let row = kafka_row(&BenchLine::parse(line).unwrap()).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(
            words,
            ["produce", "envoy", "370", "0.95", "0.50", "1.20", "69"]
        );
        let line = r#"{"case":"saturated","target":"envoy","requests_per_s":9000.4,
            "cpu_us_per_request":81.26,"requests_per_cpu_s_to_envoy":0.8}"#;
        let row = http_row(&BenchLine::parse(line).unwrap()).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words, ["saturated", "envoy", "9000", "81.3", "1.25"]);
    }
}
