//! h2spec, an HTTP/2 conformance tester, compiled by the same Go as the Go client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::go;
use super::install::{install, run};

/// Returns the binary.
pub(super) fn install_h2spec(
    sources: &Path,
    python: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    let folder = install(
        "h2spec",
        &["go.mod", "go.sum"].map(|name| sources.join(name)),
        |into| {
            let go = go::go(python, progress)?;
            progress("fetching and building h2spec");
            fs::create_dir_all(into)?;
            let mut build = Command::new(go);
            build
                // `-mod=readonly` fails if go.mod and go.sum do not pin every dependency.
                .args(["build", "-trimpath", "-mod=readonly", "-o"])
                .arg(into.join("h2spec"))
                .arg("github.com/summerwind/h2spec/cmd/h2spec")
                .current_dir(sources);
            run(&mut build, "go was removed during the build")
        },
    )?;
    Ok(folder.join("h2spec"))
}
