//! Errors of a command, and how they are reported.

use std::process::ExitCode;

/// Exit code for invalid arguments or configuration (`sysexits.h`).
pub(crate) const EX_USAGE: u8 = 64;

/// An error that ends a command.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// Invalid arguments or configuration: every error, each with its remedy.
    Usage(Vec<String>),
    /// The command failed while it ran.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Prints the error to stderr and returns the exit code.
#[expect(clippy::print_stderr, reason = "stderr is where a command reports")]
pub(crate) fn report(error: &CommandError) -> ExitCode {
    match error {
        CommandError::Usage(errors) => {
            let count = errors.len();
            let noun = if count == 1 { "error" } else { "errors" };
            eprintln!("throughline: {count} {noun} in arguments or configuration:");
            for error in errors {
                eprintln!("  - {error}");
            }
            ExitCode::from(EX_USAGE)
        }
        CommandError::Failed(error) => {
            // The alternate form prints the chain of causes in one line.
            eprintln!("throughline: {error:#}");
            ExitCode::FAILURE
        }
    }
}
