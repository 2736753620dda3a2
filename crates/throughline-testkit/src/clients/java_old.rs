//! Earlier Java clients: one program, run with several versions of the library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::install::install;
use crate::tool::run_tool;

/// Sources that the program shares with the current Java client.
const SHARED: [&str; 3] = ["Options.java", "Lines.java", "Produce.java"];

/// Returns the folder with `clients.jar`, `lib/` and `versions/`. `sources` is the folder of all
/// clients.
pub(super) fn install_client(sources: &Path) -> Result<PathBuf> {
    let package = Path::new("src/main/java/clients");
    let own = sources.join("java-old");
    let mut files: Vec<PathBuf> = vec![own.join("pom.xml"), own.join(package).join("Main.java")];
    files.extend(SHARED.map(|name| sources.join("java").join(package).join(name)));
    install("client-java-old", &files, |into| {
        fs::create_dir_all(into.join(package))?;
        for file in &files {
            let Some(name) = file.file_name() else {
                continue;
            };
            let is_pom = name == "pom.xml";
            let folder = if is_pom {
                into.to_owned()
            } else {
                into.join(package)
            };
            fs::copy(file, folder.join(name))?;
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

/// Returns the class path with one version of the library.
pub(super) fn classes(built: &Path, version: &str) -> String {
    let target = built.join("target").display().to_string();
    format!("{target}/clients.jar:{target}/versions/kafka-clients-{version}.jar:{target}/lib/*")
}
