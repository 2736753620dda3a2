//! Runs a benchmark and turns its lines of JSON into rows of a table.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use throughline_testkit::build::repository_root;

use super::peer_proxies;
use crate::runner::{self, cargo};

/// One line of a benchmark's output.
pub(super) struct BenchLine(Value);

// === impl BenchLine ===

impl BenchLine {
    /// Parses a line; returns [`None`] for one that is not a JSON object.
    pub(super) fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok().map(Self)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }

    /// Formats a figure; an absent one leaves its column empty.
    pub(super) fn figure(&self, name: &str, digits: usize) -> String {
        let format = |figure: f64| format!("{figure:.digits$}");
        self.number(name).map_or_else(String::new, format)
    }
}

/// Runs a benchmark, prints its lines as they come, and returns the rows made of them.
///
/// # Errors
/// When the benchmark fails or prints no figure.
pub(super) fn run(
    bench: &mut Command,
    row: impl Fn(&BenchLine) -> Option<String>,
) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    let mut bench = bench
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo")?;
    let output = bench.stdout.take().context("reading cargo's output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        // Printed as it arrives, because a benchmark takes minutes.
        println!("{line}");
        // The benchmark harness prints lines that are not results as well.
        rows.extend(BenchLine::parse(&line).as_ref().and_then(&row));
    }
    let status = bench.wait()?;
    ensure!(status.success(), "the benchmark ended with {status}");
    // A filter that matches no case would otherwise look like success.
    ensure!(!rows.is_empty(), "the benchmark printed no figures");
    Ok(rows)
}

/// Builds the command for release, and returns the benchmark `name` of the testkit with the peers
/// that could be fetched beside it.
///
/// # Errors
/// When the build fails.
pub(super) fn path_bench(name: &str, peers: &[&str]) -> Result<Command> {
    // `cargo bench` does not build the binaries of other packages.
    let build = ["build", "--release", "--package", "throughline-cli"];
    runner::run(&mut cargo(&build))?;
    let mut bench = testkit_bench(name, peers)?;
    bench.arg("--throughline").arg(release_file("throughline"));
    Ok(bench)
}

/// Builds our module for release, and returns the benchmark `name` of the testkit with Envoy and
/// the module.
///
/// # Errors
/// When the build fails, or Envoy cannot be fetched.
pub(super) fn envoy_bench(name: &str) -> Result<Command> {
    let build = [
        "build",
        "--release",
        "--lib",
        "--package",
        "throughline-envoy",
    ];
    runner::run(&mut cargo(&build))?;
    let mut bench = testkit_bench(name, &peer_proxies::HTTP)?;
    bench
        .arg("--envoy-module")
        .arg(release_file("libthroughline_envoy.so"));
    Ok(bench)
}

fn testkit_bench(name: &str, peers: &[&str]) -> Result<Command> {
    let mut bench = cargo(&["bench", "--package", "throughline-testkit"]);
    bench.args(["--bench", name, "--"]);
    bench.args(peer_proxies::provide(peers)?);
    Ok(bench)
}

/// Path of a file that the release profile has built.
fn release_file(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| "target".into(), PathBuf::from);
    // Cargo runs in the root, which a relative target directory is relative to.
    repository_root().join(target).join("release").join(name)
}
