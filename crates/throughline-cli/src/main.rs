//! The `throughline` command: a collector with everything in it, a sidecar that traces HTTP and Kafka, and traces in the terminal.
//!
//! Exit codes: 0 done, 1 failed, 64 told something that makes no sense (`EX_USAGE` of `sysexits.h`).

mod args;
mod client;
mod daemon;
mod init;
mod search;
mod sidecar;
mod size;
mod terminal;
mod trace;
mod up;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, Command};

/// The usual allocator gives the memory of large buffers back to the system at once, and gets it again page by page for the next: half
/// of what a sidecar did with a stream of records (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return explain(&error),
    };
    let outcome = match args.command {
        Command::Up(args) => up::run(&args),
        Command::Sidecar(_) => sidecar::run(),
        Command::Init(args) => init::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Search(args) => search::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Why a command did not do what it should.
#[derive(Debug)]
enum Failure {
    /// What it was told makes no sense: all mistakes, each with its mend.
    Usage(Vec<String>),
    /// It tried.
    Failed(anyhow::Error),
}

impl Failure {
    #[expect(clippy::print_stderr, reason = "this is where a person is told")]
    fn report(&self) -> ExitCode {
        match self {
            Self::Usage(mistakes) => {
                let count = mistakes.len();
                let noun = if count == 1 { "mistake" } else { "mistakes" };
                eprintln!("throughline: {count} {noun} in what it was told:");
                for mistake in mistakes {
                    eprintln!("  - {mistake}");
                }
                ExitCode::from(EX_USAGE)
            }
            Self::Failed(error) => {
                eprintln!("throughline: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Help and version go to stdout and are no failure; the rest is a mistake in the arguments.
fn explain(error: &clap::Error) -> ExitCode {
    // Nobody is there to be told when this fails.
    error.print().unwrap_or_default();
    if error.use_stderr() {
        ExitCode::from(EX_USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

const EX_USAGE: u8 = 64;
