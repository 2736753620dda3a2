//! `cargo xtask tidy`: the rules of this repository that no other tool checks. Also runs as a test.
//!
//! - [`arrows`]: which of our crates may know which, and that the pure ones know no runtime.
//! - [`sources`]: what a source file must look like.

mod arrows;
mod sources;

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use throughline_testkit::build::repository_root;

/// Checks all rules.
///
/// # Errors
/// Lists everything that breaks one.
pub(crate) fn run() -> Result<()> {
    let mut broken = arrows::check()?;
    broken.extend(sources::check(repository_root(), &tracked_files()?)?);
    if broken.is_empty() {
        Ok(())
    } else {
        bail!("not tidy:\n  {}", broken.join("\n  "))
    }
}

/// The files that belong to the repository, or will: those git knows and those it would add.
fn tracked_files() -> Result<Vec<String>> {
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
        .output()
        .context("starting git")?;
    ensure!(
        output.status.success(),
        "git ls-files failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?
        .split_terminator('\0')
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        if let Err(broken) = super::run() {
            panic!("{broken}");
        }
    }
}
