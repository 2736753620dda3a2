//! `cargo xtask bench kafka`: Kafka's bytes followed and changed, and the path through our sidecar beside other proxies.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{lines_of, peer_proxies, released};
use crate::requirements::{self, JDK, MAVEN, PYTHON};
use crate::runner::{self, cargo};

/// What `cargo xtask bench kafka` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only the codec, or only the path
    #[arg(value_enum)]
    part: Option<Part>,
    /// One short round of everything, to see that it runs; its figures mean nothing
    #[arg(long)]
    smoke: bool,
    /// What the benchmark of the path takes: --rounds, --megabytes, --requests, --only
    #[arg(last = true)]
    more: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Bytes in memory: borders, scan, inject; beside memcpy and kafka-protocol
    Codec,
    /// A real Kafka, directly and through Envoy, kafka-proxy, Kroxylicious and our sidecar
    Path,
}

const SMOKE: [&str; 4] = [
    "--rounds=1",
    "--warmups=0",
    "--megabytes=4",
    "--requests=50",
];

pub(super) fn run(options: &Options) -> Result<()> {
    eprintln!("building in the release profile (the first time takes minutes)");
    if options.part != Some(Part::Path) && !options.smoke {
        let mut codec = cargo(&[
            "bench",
            "--package",
            "throughline-kafka",
            "--bench",
            "codec",
        ]);
        lines_of(&mut codec, |_| {})?;
    }
    if options.part != Some(Part::Codec) {
        path(options)?;
    }
    Ok(())
}

fn path(options: &Options) -> Result<()> {
    requirements::provide(&[JDK, MAVEN, PYTHON])?;
    runner::run(&mut cargo(&[
        "build",
        "--release",
        "--package",
        "throughline-cli",
    ]))?;
    let mut bench = cargo(&[
        "bench",
        "--package",
        "throughline-testkit",
        "--bench",
        "kafka_path",
        "--",
    ]);
    bench.args(peer_proxies::provide(&peer_proxies::KAFKA)?);
    bench.arg("--throughline").arg(released());
    if options.smoke {
        bench.args(SMOKE);
    }
    bench.args(&options.more);
    let mut rows = Vec::new();
    lines_of(&mut bench, |line| rows.extend(row(line)))?;
    ensure!(!rows.is_empty(), "the benchmark gave no figures");
    eprintln!(
        "\n{:<26} {:<26} {:>8} {:>9} {:>9} {:>9} {:>9} {:>8}",
        "case", "through", "MB/s", "/direct", "CPU s/GB", "p50 us", "p99 us", "peak MB"
    );
    eprintln!("{}", rows.join("\n"));
    Ok(())
}

/// A line of the benchmark as a row of the table; [`None`] when it is no figure.
fn row(line: &str) -> Option<String> {
    let json: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| json.get(name).and_then(Value::as_str);
    let figure = |name: &str, digits: usize| {
        json.get(name)
            .and_then(Value::as_f64)
            .map_or_else(String::new, |figure| format!("{figure:.digits$}"))
    };
    Some(format!(
        "{:<26} {:<26} {:>8} {:>9} {:>9} {:>9} {:>9} {:>8}",
        text("case")?,
        text("target")?,
        figure("mb_per_s", 0),
        figure("ratio_to_direct", 2),
        figure("cpu_s_per_gb", 2),
        figure("p50_us", 0),
        figure("p99_us", 0),
        figure("peak_mb", 0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_becomes_a_row_and_anything_else_does_not() {
        let line = r#"{"case":"produce","target":"envoy","mb_per_s":370.4,"ratio_to_direct":0.9,"peak_mb":69}"#;
        let words: Vec<String> = row(line)
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        assert_eq!(words, ["produce", "envoy", "370", "0.90", "69"]);
        assert_eq!(row("round 1"), None);
        assert_eq!(row("{}"), None);
    }
}
