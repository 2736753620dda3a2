//! The tasks of this repository. `cargo xtask --help` lists them; everything else is plain cargo.
//!
//! Needs nothing but cargo to start. What a task needs beyond that (Node.js, Java...) it installs or names.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program for people: this is how it speaks to them"
)]

mod bench;
mod browser;
mod corpus;
mod demo;
mod kafka;
mod lint;
mod requirements;
mod runner;
mod test;
mod tidy;
mod ui;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use throughline_testkit::wait;

/// Tasks of the Throughline repository.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "The two to begin with:\n  \
        cargo xtask demo     see one trace from the first HTTP call through Kafka to the last side effect\n  \
        cargo xtask test     run every test there is\n\n\
        Everyday commands are plain cargo: cargo check -p throughline, cargo test -p throughline-collector..."
)]
struct Options {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Start broker, collector and the eshop, send a checkout, show its trace
    Demo(demo::Options),
    /// Run every test: Rust, web page, real Kafka, real browser; install first what is missing
    Test(test::Options),
    /// Check formatting, clippy, docs, tidiness and licences
    Lint,
    /// Check what no other tool does: crate dependencies, module circles, names, widths, prose
    Tidy,
    /// Print how the code reads, in figures: line length, comments, names, sentences
    Measure,
    /// Build the web page into ui/dist
    Ui,
    /// Take the pictures of README and docs with a real browser, into docs/images/ui
    Screenshots,
    /// Fetch and run a real Apache Kafka in the foreground
    Kafka(kafka::Options),
    /// Record what real Kafka clients say, as seeds for the fuzz targets
    Corpus,
    /// Measure, side by side with what is measured against
    Bench(bench::Options),
}

/// Exit code of a program that Ctrl-C ended before it was done (128 + SIGINT).
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let done = match Options::parse().task {
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Lint => lint::run(),
        Task::Tidy => tidy::run(),
        Task::Measure => tidy::measures::run(),
        Task::Ui => ui::build(),
        Task::Screenshots => browser::screenshots(),
        Task::Kafka(options) => kafka::run(&options),
        Task::Corpus => corpus::run(),
        Task::Bench(options) => bench::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if wait::is_interrupted() => {
            eprintln!("interrupted; everything that was started has been ended");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
