//! Runs named steps and prints a table of their results.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Runs steps one after the other; a failed step does not prevent the next.
#[derive(Debug, Default)]
pub(crate) struct StepRunner {
    done: Vec<StepReport>,
}

#[derive(Debug)]
struct StepReport {
    name: String,
    took: Duration,
    outcome: StepOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StepOutcome {
    Passed,
    Failed,
    Skipped,
}

// === impl StepRunner ===

impl StepRunner {
    /// Runs one step and prints its error; returns whether it passed.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> bool {
        eprintln!("\n== {name}");
        let begin = Instant::now();
        let outcome = step();
        if let Err(error) = &outcome {
            // Printed here, because the steps that follow can take minutes.
            eprintln!("error: {error:#}");
        }
        let took = begin.elapsed();
        let passed = outcome.is_ok();
        eprintln!(
            "== {name}: {} in {}",
            if passed { "passed" } else { "FAILED" },
            seconds(took)
        );
        let outcome = if passed {
            StepOutcome::Passed
        } else {
            StepOutcome::Failed
        };
        self.done.push(StepReport {
            name: name.to_owned(),
            took,
            outcome,
        });
        passed
    }

    /// Records that a step is not run, and why.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        eprintln!("\n== {name}: skipped, {why}");
        self.done.push(StepReport {
            name: name.to_owned(),
            took: Duration::ZERO,
            outcome: StepOutcome::Skipped,
        });
    }

    /// Prints the table.
    ///
    /// # Errors
    /// Names the failed steps.
    pub(crate) fn finish(self) -> Result<()> {
        eprintln!("\n{}", self.table());
        let failed: Vec<&str> = self
            .done
            .iter()
            .filter(|done| done.outcome == StepOutcome::Failed)
            .map(|done| done.name.as_str())
            .collect();
        if failed.is_empty() {
            Ok(())
        } else {
            bail!("failed: {}", failed.join(", "))
        }
    }

    fn table(&self) -> String {
        let width = self
            .done
            .iter()
            .map(|done| done.name.len())
            .max()
            .unwrap_or_default();
        let row = |done: &StepReport| {
            let word = match done.outcome {
                StepOutcome::Passed => "passed",
                StepOutcome::Failed => "FAILED",
                StepOutcome::Skipped => "skipped",
            };
            format!("{:width$}  {word:7}  {:>9}", done.name, seconds(done.took))
        };
        self.done.iter().map(row).collect::<Vec<_>>().join("\n")
    }
}

/// Runs a command that prints to this terminal.
///
/// # Errors
/// When the command cannot be started or does not exit with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("starting {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}

/// Returns a command for the cargo that runs this task, in the root of the repository.
pub(crate) fn cargo(args: &[&str]) -> Command {
    // Cargo sets this variable for tasks; `cargo` on the PATH may be another version.
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(throughline_testkit::build::repository_root())
        .args(args);
    cargo
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f32())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_is_named_and_the_ones_after_it_still_run() {
        let mut steps = StepRunner::default();
        assert!(!steps.run("first", || bail!("no")));
        assert!(steps.run("second", || Ok(())));
        steps.skip("third", "not requested");
        assert!(
            steps.table().contains("first   FAILED"),
            "{}",
            steps.table()
        );
        assert_eq!(steps.finish().unwrap_err().to_string(), "failed: first");
    }

    #[test]
    fn a_command_that_fails_is_named() {
        let error = run(&mut Command::new("false")).unwrap_err().to_string();
        assert!(error.starts_with("false ended with"), "{error}");
    }
}
