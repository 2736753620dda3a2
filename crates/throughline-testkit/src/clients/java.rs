//! Java programs, compiled by Maven, which also fetches their dependencies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::install::install;
use crate::tool::run_tool;

/// Returns the folder of the Kafka clients.
pub(super) fn install_client(sources: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let what = "the Java client (about 120 MB, once)";
    install_program("client-java", what, sources, progress)
}

/// Returns the folder with `clients.jar` and `lib/`; `name` is its name in `.tools/`, `what` is
/// fetched and built.
pub(super) fn install_program(
    name: &str,
    what: &str,
    sources: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    let mut files = vec![sources.join("pom.xml")];
    let package = sources.join("src/main/java/clients");
    for file in fs::read_dir(&package).with_context(|| format!("reading {}", package.display()))? {
        files.push(file?.path());
    }
    // The order of `read_dir` varies and would change the hash of the sources.
    files.sort();
    install(name, &files, |into| {
        progress(&format!("fetching and building {what}"));
        // Maven writes its output next to the sources, so it works on a copy.
        let copy = into.join("src/main/java/clients");
        fs::create_dir_all(&copy)?;
        for file in &files {
            let name = file.file_name().context("a file has a name")?;
            fs::copy(
                file,
                if name == "pom.xml" {
                    into.join(name)
                } else {
                    copy.join(name)
                },
            )?;
        }
        let mut maven = Command::new("mvn");
        maven
            .args(["--batch-mode", "--quiet", "package", "--file"])
            .arg(into.join("pom.xml"));
        run_tool(
            &mut maven,
            "on Debian: apt-get install default-jdk-headless maven",
        )
    })
}

/// Returns the class path.
pub(super) fn classes(built: &Path) -> String {
    let target = built.join("target");
    let of = |name: &str| target.join(name).display().to_string();
    format!("{}:{}", of("clients.jar"), of("lib/*"))
}

/// Returns the class path for Kafka Streams, which needs clients of its own version.
pub(super) fn streams_classes(built: &Path) -> String {
    format!(
        "{}:{}",
        built.join("target/streams/*").display(),
        classes(built)
    )
}

/// Returns the jar of OpenTelemetry's agent.
pub(super) fn agent(built: &Path) -> Result<PathBuf> {
    let folder = built.join("target/agent");
    let jars = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    jars.filter_map(|jar| Some(jar.ok()?.path()))
        .last()
        .with_context(|| format!("no agent jar in {}", folder.display()))
}
