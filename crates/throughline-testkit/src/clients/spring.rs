//! The eshop as a Spring Boot application, built by Maven from `examples/eshop-spring`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::install::install;
use crate::build::repository_root;
use crate::tool::run_tool;

/// Returns the jar; fetches its libraries and builds it if it is missing.
///
/// # Errors
/// Fails if a tool is missing or fails; the message names the remedy.
pub fn spring_eshop(progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let sources = repository_root().join("examples/eshop-spring");
    let mut files = vec![sources.join("pom.xml")];
    collect_files(&sources.join("src"), &mut files)?;
    // The order of `read_dir` varies and would change the hash of the sources.
    files.sort();
    let folder = install("eshop-spring", &files, |into| {
        progress("fetching and building the Spring application (about 80 MB, once)");
        // Maven writes its output next to the sources, so it works on a copy.
        for file in &files {
            let copy = into.join(file.strip_prefix(&sources)?);
            fs::create_dir_all(copy.parent().context("a file has a folder")?)?;
            fs::copy(file, copy)?;
        }
        let mut maven = Command::new("mvn");
        maven
            .args(["--batch-mode", "--quiet", "package", "--file"])
            .arg(into.join("pom.xml"));
        let missing = "on Debian: apt-get install default-jdk-headless maven";
        run_tool(&mut maven, missing)
    })?;
    Ok(folder.join("target/eshop-spring.jar"))
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect_files(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
