//! kafkajs, with the npm packages of the lock file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::install::{install, run};

/// Returns the folder with `node_modules`.
pub(super) fn install_client(sources: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let names = ["package.json", "package-lock.json"];
    install(
        "client-node",
        &names.map(|name| sources.join(name)),
        |into| {
            progress("fetching kafkajs (about 5 MB, once)");
            fs::create_dir_all(into)?;
            for name in names {
                fs::copy(sources.join(name), into.join(name))?;
            }
            let mut npm = Command::new("npm");
            // `--ignore-scripts`: a package must not run code at installation.
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(into);
            run(&mut npm, "install Node.js 20.19 or later with npm")
        },
    )
}
