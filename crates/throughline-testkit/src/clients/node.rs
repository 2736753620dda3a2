//! kafkajs: npm's packages, as the lock file names them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::run;

/// The folder with `node_modules`.
pub(super) fn provide(sources: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let names = ["package.json", "package-lock.json"];
    super::provide(
        "client-node",
        &names.map(|name| sources.join(name)),
        |into| {
            progress("fetching kafkajs (about 5 MB, once)");
            fs::create_dir_all(into)?;
            for name in names {
                fs::copy(sources.join(name), into.join(name))?;
            }
            let mut npm = Command::new("npm");
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(into);
            run(&mut npm, "Node.js 20.19 or later is needed, and its npm")
        },
    )
}
