//! The files of the repository.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use throughline_testkit::build::repository_root;

/// Lists the files that belong to the repository or will: those git knows and those it would add.
///
/// # Errors
/// When git fails.
pub(super) fn tracked_files() -> Result<Vec<String>> {
    // `--others` has new files checked before they are added; without `-z` git quotes some names.
    let list = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let output = Command::new("git")
        .current_dir(repository_root())
        .args(list)
        .output();
    let output = output.context("starting git")?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git ls-files failed: {message}");
    let files = String::from_utf8(output.stdout)?;
    Ok(files.split_terminator('\0').map(str::to_owned).collect())
}
