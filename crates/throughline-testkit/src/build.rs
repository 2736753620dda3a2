//! The binaries that tests and the demo start: built by cargo, found by what cargo says about them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

/// Every binary of the project that something here starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectBinaries {
    /// The collector and the command line.
    pub throughline: PathBuf,
    /// The eshop, traced by the SDK.
    pub eshop: PathBuf,
    /// The eshop without a line of tracing code.
    pub eshop_bare: PathBuf,
    /// The broker that needs no Java.
    pub embedded_kafka: PathBuf,
}

// === impl Binaries ===

impl ProjectBinaries {
    /// Builds all of them (nothing, when they are fresh), once a process. Cargo's progress goes to stderr.
    ///
    /// Always all together: cargo unites the features of what it builds at the same time, so other subsets would
    /// compile the same dependencies again and again. For the same reason, whoever has built the whole workspace can say in
    /// [`BUILT_IN`] where the binaries are, and nothing is built here.
    ///
    /// # Errors
    /// When the build fails; the compiler's words are on stderr by then.
    pub fn build() -> Result<&'static Self> {
        static BUILT: OnceLock<Result<ProjectBinaries, String>> = OnceLock::new();
        BUILT
            .get_or_init(|| Self::build_now().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|message| anyhow!("{message}"))
    }

    fn build_now() -> Result<Self> {
        if let Some(dir) = std::env::var_os(BUILT_IN).map(PathBuf::from) {
            return Self::find_in(&dir);
        }
        let packages = [
            "throughline-cli",
            "eshop",
            "eshop-bare",
            "throughline-testkit",
        ];
        let mut built = build(&packages, &["throughline-testkit/embedded-kafka"])?;
        let mut take = |name: &str| {
            built
                .remove(name)
                .ok_or_else(|| anyhow!("cargo built no binary named {name}"))
        };
        Ok(Self {
            throughline: take("throughline")?,
            eshop: take("eshop")?,
            eshop_bare: take("eshop-bare")?,
            embedded_kafka: take("embedded-kafka")?,
        })
    }

    fn find_in(dir: &Path) -> Result<Self> {
        let find = |name: &str| {
            let path = dir.join(name);
            ensure!(
                path.is_file(),
                "{BUILT_IN} is set, and there is no {}",
                path.display()
            );
            Ok(path)
        };
        Ok(Self {
            throughline: find("throughline")?,
            eshop: find("eshop")?,
            eshop_bare: find("eshop-bare")?,
            embedded_kafka: find("embedded-kafka")?,
        })
    }
}

/// The environment variable that names the folder where all binaries lie, freshly built.
pub const BUILT_IN: &str = "THROUGHLINE_BINARIES";

/// Builds the binaries of these packages in the development profile; gives their paths by name.
///
/// # Errors
/// When cargo cannot be started or the build fails.
pub fn build(packages: &[&str], features: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repository_root()).args([
        "build",
        "--bins",
        "--message-format=json-render-diagnostics",
    ]);
    cargo.args(packages.iter().flat_map(|package| ["--package", package]));
    cargo.args(features.iter().flat_map(|feature| ["--features", feature]));
    let output = cargo
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo")?;
    ensure!(
        output.status.success(),
        "building {} failed ({})",
        packages.join(", "),
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(executable)
        .collect())
}

/// The name and path of an executable, if that is what this message is about (cargo's book, "External tools").
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let path = message.get("executable")?.as_str()?;
    let name = message.pointer("/target/name")?.as_str()?;
    Some((name.to_owned(), PathBuf::from(path)))
}

/// The folder that holds the workspace.
#[must_use]
pub fn repository_root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_about_executables_name_one() {
        let built = r#"{"reason":"compiler-artifact","target":{"name":"eshop"},"executable":"/t/debug/eshop"}"#;
        assert_eq!(
            executable(built),
            Some(("eshop".to_owned(), PathBuf::from("/t/debug/eshop")))
        );
        let library =
            r#"{"reason":"compiler-artifact","target":{"name":"bytes"},"executable":null}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable("not json"), None);
    }

    #[test]
    fn a_folder_that_lacks_a_binary_is_told() {
        let error = ProjectBinaries::find_in(Path::new("/nowhere"))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "THROUGHLINE_BINARIES is set, and there is no /nowhere/throughline"
        );
    }

    #[test]
    fn the_root_is_where_the_workspace_is() {
        assert!(repository_root().join("Cargo.lock").is_file());
    }
}
