//! The `throughline` command: a collector with storage and a web UI, a sidecar that traces HTTP and
//! Kafka, and traces in the terminal.
//!
//! Exit codes: 0 success, 1 failure, 64 invalid arguments or configuration (`EX_USAGE` of
//! `sysexits.h`).

mod args;
mod client;
mod daemon;
mod error;
mod file_debouncer;
mod forward;
mod init;
mod inject;
mod search;
mod sidecar;
mod store;
mod terminal;
mod trace;
mod up;
mod weave;
mod webhook;

use std::process::ExitCode;

use crate::args::{CliArgs, CliCommand};
use crate::error::{EX_USAGE, report};

/// mimalloc keeps freed large buffers. glibc's allocator returns them to the system and faults them
/// in again page by page, which took half of the sidecar's time under a stream of records
/// (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = match CliArgs::from_process() {
        Ok(args) => args,
        Err(error) => return print_clap_error(&error),
    };
    let outcome = match args.command {
        CliCommand::Up(args) => up::run(&args),
        CliCommand::Sidecar(_) => sidecar::run(),
        CliCommand::Init(args) => init::run(&args),
        CliCommand::Inject(args) => inject::run(&args),
        CliCommand::Trace(args) => trace::run(&args),
        CliCommand::Search(args) => search::run(&args),
        CliCommand::Weave(args) => weave::run(&args),
        CliCommand::Webhook(args) => webhook::run(&args),
        CliCommand::Store(args) => store::run(&args.command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// Prints clap's error, help or version, and returns the exit code: help and version go to stdout
/// and succeed.
fn print_clap_error(error: &clap::Error) -> ExitCode {
    // When stderr is closed as well, the exit code is all that is left to report with.
    error.print().unwrap_or_default();
    if error.use_stderr() {
        ExitCode::from(EX_USAGE)
    } else {
        ExitCode::SUCCESS
    }
}
