//! A trace in the terminal.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;
use throughline_testkit::build::ProjectBinaries;

use crate::runner;

/// Prints a trace of a collector as a tree.
pub(super) fn print(collector: &str, trace: &Value, binaries: &ProjectBinaries) -> Result<()> {
    let id = trace
        .get("traceID")
        .and_then(Value::as_str)
        .context("reading the trace id")?;
    // The tree is printed by the command that a user would run.
    let mut throughline = Command::new(&binaries.throughline);
    runner::run(throughline.args(["trace", id, "--collector", collector]))?;
    println!();
    Ok(())
}
