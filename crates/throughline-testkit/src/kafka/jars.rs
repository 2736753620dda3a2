//! The jars of Apache Kafka from Maven Central, fetched once into `.tools/` of the repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::repository_root;
use crate::tool::run_tool;

/// Version of Apache Kafka, the same as in `pom.xml`.
pub const VERSION: &str = "4.4.0";

/// The last release line that accepts clients from before Kafka 2.1 (KIP-896).
pub const EARLIER_VERSION: &str = "3.9.2";

const POM: &str = include_str!("pom.xml");

/// Returns the folder with the jars of [`VERSION`]. If it does not exist, Maven fetches about 43
/// MB, and `progress` is called.
///
/// The folder gets its name only when it is complete, so an interrupted fetch is repeated. Two
/// concurrent fetches do the work twice and harm nothing.
///
/// # Errors
/// Fails if Maven is missing or fails; the message names the remedy.
pub fn fetch(progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    fetch_version(VERSION, progress)
}

/// Returns the folder with the jars of a version, as [`fetch`] does.
pub(super) fn fetch_version(version: &str, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let tools = repository_root().join(".tools");
    let jars = tools.join(format!("kafka-{version}"));
    if jars.is_dir() {
        return Ok(jars);
    }
    progress(&format!(
        "fetching Apache Kafka {version} from Maven Central into {}",
        jars.display()
    ));
    fs::create_dir_all(&tools).with_context(|| format!("creating {}", tools.display()))?;
    let unfinished = tempfile::Builder::new()
        .prefix("kafka-unfinished-")
        .tempdir_in(&tools)?;
    let pom = unfinished.path().join("pom.xml");
    let requested = format!("<kafka.version>{version}<");
    fs::write(
        &pom,
        POM.replace(&format!("<kafka.version>{VERSION}<"), &requested),
    )?;
    copy_dependencies(version, &pom, &unfinished.path().join("jars"))?;
    // A rename is atomic: a concurrent fetch that finished first wins, and its result is the same.
    match fs::rename(unfinished.path().join("jars"), &jars) {
        Err(_) if jars.is_dir() => Ok(jars),
        renamed => renamed
            .map(|()| jars)
            .context("renaming the folder of jars"),
    }
}

fn copy_dependencies(version: &str, pom: &Path, into: &Path) -> Result<()> {
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "--file"]).arg(pom);
    maven.args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
    maven.arg(format!("-DoutputDirectory={}", into.display()));
    let missing = "Apache Kafka needs Java and Maven (the mock broker needs neither); \
                   on Debian: apt-get install default-jre-headless maven";
    run_tool(&mut maven, missing)
        .with_context(|| format!("fetching the jars of Apache Kafka {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pom_requests_the_version_of_the_code() {
        assert!(POM.contains(&format!("<kafka.version>{VERSION}</kafka.version>")));
    }
}
