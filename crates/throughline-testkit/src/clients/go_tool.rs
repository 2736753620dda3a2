//! Programs that a `go.mod` names as tools, compiled by the same Go as the Go client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::go;
use super::install::install;
use crate::tool::run_tool;

/// Returns the binary of the package `import_path`; `name` is its name and that of its folder in
/// `.tools/`.
pub(super) fn install_tool(
    name: &str,
    import_path: &str,
    sources: &Path,
    python: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    let folder = install(
        name,
        &["go.mod", "go.sum"].map(|name| sources.join(name)),
        |into| {
            let go = go::go(python, progress)?;
            progress(&format!("fetching and building {name}"));
            fs::create_dir_all(into)?;
            let mut build = Command::new(go);
            build
                // `-mod=readonly` fails if go.mod and go.sum do not pin every dependency.
                .args(["build", "-trimpath", "-mod=readonly", "-o"])
                .arg(into.join(name))
                .arg(import_path)
                .current_dir(sources);
            run_tool(&mut build, "go was removed during the build")
        },
    )?;
    Ok(folder.join(name))
}
