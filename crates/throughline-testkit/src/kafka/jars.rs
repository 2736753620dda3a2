//! The jars of Apache Kafka, from Maven Central, fetched once into `.tools/` of the repository.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::build::repository_root;

/// The version that `pom.xml` names.
pub const VERSION: &str = "4.4.0";

const POM: &str = include_str!("pom.xml");

/// The folder with the jars; when it is not there yet, Maven fills it (about 43 MB) and `progress` is told so.
///
/// The folder appears under its name only when it is complete, so a fetch that was interrupted is done again. Two fetches at
/// the same time do the work twice and harm nothing.
///
/// # Errors
/// When Maven is missing or fails; says how to mend it.
pub fn fetch(progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let tools = repository_root().join(".tools");
    let jars = tools.join(format!("kafka-{VERSION}"));
    if jars.is_dir() {
        return Ok(jars);
    }
    progress(&format!(
        "fetching Apache Kafka {VERSION} from Maven Central into {}",
        jars.display()
    ));
    fs::create_dir_all(&tools).with_context(|| format!("creating {}", tools.display()))?;
    let unfinished = tempfile::Builder::new()
        .prefix("kafka-unfinished-")
        .tempdir_in(&tools)?;
    let pom = unfinished.path().join("pom.xml");
    fs::write(&pom, POM)?;
    copy_dependencies(&pom, &unfinished.path().join("jars"))?;
    match fs::rename(unfinished.path().join("jars"), &jars) {
        Err(_) if jars.is_dir() => Ok(jars),
        renamed => renamed
            .map(|()| jars)
            .context("putting the jars into their place"),
    }
}

fn copy_dependencies(pom: &Path, into: &Path) -> Result<()> {
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "--file"]).arg(pom);
    maven.args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
    maven.arg(format!("-DoutputDirectory={}", into.display()));
    let output = match maven.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(
                "a real Kafka needs Java and Maven, and there is no `mvn` on this machine; \
                 on Debian: apt-get install default-jre-headless maven (the embedded broker needs neither)"
            )
        }
        Err(error) => return Err(error).context("starting mvn"),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        bail!(
            "Maven could not fetch the jars of Apache Kafka {VERSION} ({}):\n{said}",
            output.status
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pom_asks_for_the_version_that_the_code_names() {
        assert!(POM.contains(&format!("<kafka.version>{VERSION}</kafka.version>")));
    }
}
