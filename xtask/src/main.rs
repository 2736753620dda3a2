//! The tasks of this repository. `cargo xtask --help` lists them; everything else is plain cargo.
//!
//! Starting needs nothing but cargo. A task installs its other requirements (Node.js, Java and so
//! on) where it may, or names them.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a command-line program prints"
)]

mod bench;
mod browser;
mod corpus;
mod demo;
mod interrupt;
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
    after_help = "Start with:\n  \
        cargo xtask demo     show one trace, from the first call through Kafka to the last\n  \
        cargo xtask test     run every test\n\n\
        Everything else is plain cargo, such as cargo test -p throughline-collector."
)]
struct Options {
    #[command(subcommand)]
    task: TaskCommand,
}

#[derive(Debug, Subcommand)]
enum TaskCommand {
    /// Start a broker, the collector and the eshop; send a checkout and show its trace
    Demo(demo::Options),
    /// Run every test (Rust, web UI, real Kafka, real browser) after installing requirements
    Test(test::Options),
    /// Check formatting, clippy, docs, tidiness and licences
    Lint,
    /// Check what no other tool does: crate dependencies, module circles, names, widths, prose
    Tidy,
    /// Print how the code reads, in figures: line length, comments, names, sentences
    Measure,
    /// Build the web UI into ui/dist
    Ui,
    /// Take the screenshots of README and docs in a real browser, into docs/images/ui
    Screenshots,
    /// Fetch and run a real Apache Kafka in the foreground
    Kafka(kafka::Options),
    /// Record the traffic of real Kafka clients as seeds for the fuzz targets
    Corpus,
    /// Run the benchmarks, side by side with their references
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let result = match Options::parse().task {
        TaskCommand::Demo(options) => demo::run(&options),
        TaskCommand::Test(options) => test::run(&options),
        TaskCommand::Lint => lint::run(),
        TaskCommand::Tidy => tidy::run(),
        TaskCommand::Measure => tidy::measures::run(),
        TaskCommand::Ui => ui::build(),
        TaskCommand::Screenshots => browser::screenshots(),
        TaskCommand::Kafka(options) => kafka::run(&options),
        TaskCommand::Corpus => corpus::run(),
        TaskCommand::Bench(options) => bench::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Ctrl-C fails the wait in progress, with an error that does not name the cause.
        Err(_) if wait::is_interrupted() => {
            eprintln!("interrupted; all started processes have been stopped");
            ExitCode::from(interrupt::EXIT_CODE)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
