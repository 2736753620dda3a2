//! `cargo xtask test`: installs the requirements of the tests, then runs every test.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use throughline_testkit::build::BINARIES_DIR;
use throughline_testkit::{clients, kafka};

use crate::requirements::{
    self, CHROMIUM, COMPILER, DEBOOTSTRAP, JAVA, JDK, MAKE, MAVEN, NGINX, PYTHON,
};
use crate::runner::{self, StepRunner, cargo};
use crate::ui;

/// Options of `cargo xtask test`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Installs missing requirements first: npm packages of the web UI, the jars of \
    Apache Kafka, Kafka and tracing clients of every language (about 300 MB into .tools/), and, as \
    root on Debian, Java, Maven, Chromium and Python.\n\n\
    Examples:\n  \
    cargo xtask test\n  \
    cargo xtask test linked      only the Rust tests whose name contains `linked`"
)]
pub(crate) struct Options {
    /// Include the long proofs: more rounds (THROUGHLINE_FULL=1), and fuzzing of every parser
    #[arg(long)]
    full: bool,
    /// Only Rust tests whose names contain one of these; arguments after `--` go to the tests
    #[arg(
        value_name = "FILTER",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    filters: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut steps = StepRunner::default();
    let everything = options.filters.is_empty();
    // Each of these steps needs the one before it; the ones below are independent.
    let ready = steps.run("install requirements", || install(options.full))
        && steps.run("build the web UI", ui::build_if_stale)
        && steps.run("build all binaries and tests", build);
    if ready {
        if everything {
            steps.run("tests of the web UI's code", || ui::npm(&["test"], &[]));
        }
        steps.run("Rust tests", || test(options));
        if everything && options.full {
            steps.run("fuzzing, 100,000 inputs for each target", fuzz);
        }
    }
    steps.finish()
}

fn install(full: bool) -> Result<()> {
    // Without root, the tests that need pods or namespaces say that they are skipped.
    if full && rustix::process::geteuid().is_root() {
        requirements::install_for_pods()?;
        requirements::install_missing(&[DEBOOTSTRAP])?;
    }
    requirements::install_missing(&[COMPILER, MAKE, JAVA, JDK, MAVEN, PYTHON, CHROMIUM, NGINX])?;
    kafka::fetch_apache(&mut |what| eprintln!("{what}"))?;
    clients::install_all(&mut |what| eprintln!("{what}"))?;
    ui::install()
}

/// The same set for building and testing, so that nothing is compiled twice.
const WHOLE: [&str; 2] = ["--workspace", "--all-features"];

fn build() -> Result<()> {
    runner::run(cargo(&["build", "--all-targets"]).args(WHOLE))
}

fn test(options: &Options) -> Result<()> {
    let mut test = cargo(&["test", "--no-fail-fast"]);
    test.args(WHOLE)
        .env(BINARIES_DIR, binaries_dir())
        // Set in both cases, so that a value of the user's shell has no effect.
        .env("THROUGHLINE_FULL", if options.full { "1" } else { "0" });
    // A Rust test drives the browser: it starts the collector and sends a checkout to show.
    if let Some(browser) = CHROMIUM.find() {
        test.env("CHROMIUM", browser);
    }
    // Cargo itself takes one filter; the test programs take several.
    if !options.filters.is_empty() {
        test.arg("--")
            // The user may have typed the separator as well.
            .args(options.filters.iter().filter(|filter| *filter != "--"));
    }
    runner::run(&mut test)
}

/// Fuzzes briefly from the committed seeds with a fixed random seed; `fuzz/run` searches longer.
fn fuzz() -> Result<()> {
    let folder = throughline_testkit::build::repository_root().join("fuzz");
    let mut targets: Vec<PathBuf> = std::fs::read_dir(folder.join("fuzz_targets"))
        .context("looking for the fuzz targets")?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    // The order of directory entries is arbitrary.
    targets.sort_unstable();
    for target in targets.iter().filter_map(|path| path.file_stem()) {
        let mut fuzz = Command::new(folder.join("run"));
        runner::run(fuzz.arg(target).args([
            "-runs=100000",
            "-seed=1",
            "-max_len=16384",
            "-verbosity=0",
        ]))?;
    }
    Ok(())
}

/// Returns the folder of the binaries of the development profile.
fn binaries_dir() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    throughline_testkit::build::repository_root()
        .join(target)
        .join("debug")
}
