//! Programs for Node.js, with the npm packages of their lock file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::install::install;
use crate::tool::run_tool;

/// Returns the folder with `node_modules`; `name` is its name in `.tools/`, `what` is fetched.
pub(super) fn install_packages(
    name: &str,
    what: &str,
    sources: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    let names = ["package.json", "package-lock.json"];
    install(name, &names.map(|name| sources.join(name)), |into| {
        progress(&format!("fetching {what} (once)"));
        fs::create_dir_all(into)?;
        for name in names {
            fs::copy(sources.join(name), into.join(name))?;
        }
        let mut npm = Command::new("npm");
        // `--ignore-scripts`: a package must not run code at installation.
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(into);
        run_tool(&mut npm, "install Node.js 20.19 or later with npm")
    })
}
