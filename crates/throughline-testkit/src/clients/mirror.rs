//! MirrorMaker 2, fetched by Maven.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::install::install;
use crate::tool::run_tool;

/// Main class; its argument is a properties file.
pub(super) const MAIN: &str = "org.apache.kafka.connect.mirror.MirrorMaker";

/// Returns the folder with the jars.
pub(super) fn install_mirror_maker(sources: &Path) -> Result<PathBuf> {
    let pom = sources.join("pom.xml");
    install("client-mirror", std::slice::from_ref(&pom), |into| {
        fs::create_dir_all(into)?;
        let mut maven = Command::new("mvn");
        maven
            .args(["--batch-mode", "--quiet", "--file"])
            .arg(&pom)
            .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
            .arg(format!("-DoutputDirectory={}", into.display()));
        run_tool(
            &mut maven,
            "on Debian: apt-get install default-jdk-headless maven",
        )
    })
}
