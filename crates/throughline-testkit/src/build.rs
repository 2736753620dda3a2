//! Builds the binaries that tests and the demo start, and finds them from cargo's JSON messages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

/// Paths of all binaries of the project that this crate starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectBinaries {
    /// The `throughline` command: collector, sidecar and tools.
    pub throughline: PathBuf,
    /// The eshop instrumented by the SDK.
    pub eshop: PathBuf,
    /// The eshop without tracing code.
    pub eshop_bare: PathBuf,
    /// The mock broker, which needs no Java.
    pub embedded_kafka: PathBuf,
}

// === impl ProjectBinaries ===

impl ProjectBinaries {
    /// Builds all binaries once per process; a fresh build does nothing. Cargo's progress goes to
    /// stderr.
    ///
    /// All binaries are built by one command: cargo unifies features over the packages of a
    /// command, so building subsets would compile the same dependencies several times. For the same
    /// reason a caller that built the whole workspace can name the folder in [`BINARIES_DIR`], and
    /// nothing is built here.
    ///
    /// # Errors
    /// Fails if the build fails; the compiler's messages are on stderr.
    pub fn build() -> Result<&'static Self> {
        // Tests of one program run in parallel; the first one builds and the others wait.
        static BUILT: OnceLock<Result<ProjectBinaries, String>> = OnceLock::new();
        BUILT
            .get_or_init(|| Self::build_now().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|message| anyhow!("{message}"))
    }

    fn build_now() -> Result<Self> {
        if let Some(dir) = std::env::var_os(BINARIES_DIR).map(PathBuf::from) {
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
                .ok_or_else(|| anyhow!("no binary named {name} in the output of cargo"))
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
                "{BINARIES_DIR} is set, but {} does not exist",
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

/// Builds the module for Envoy and returns its path; a fresh build does nothing.
///
/// # Errors
/// Fails if the build fails; the compiler's messages are on stderr.
pub fn envoy_module() -> Result<PathBuf> {
    const FILE: &str = "libthroughline_envoy.so";
    if let Some(dir) = std::env::var_os(BINARIES_DIR).map(PathBuf::from) {
        let path = dir.join(FILE);
        ensure!(
            path.is_file(),
            "{BINARIES_DIR} is set, but {} does not exist",
            path.display()
        );
        return Ok(path);
    }
    let messages = run_cargo(&["--lib", "--package", "throughline-envoy"])?;
    let files = messages
        .lines()
        .filter_map(|message| serde_json::from_str::<Value>(message).ok());
    let files = files.flat_map(|message| {
        let names = message.get("filenames").and_then(Value::as_array).cloned();
        names.unwrap_or_default()
    });
    files
        .filter_map(|file| Some(PathBuf::from(file.as_str()?)))
        .find(|path| path.ends_with(FILE))
        .ok_or_else(|| anyhow!("no {FILE} in the output of cargo"))
}

/// Target of programs that need no library of the system.
pub(crate) const STATIC_TARGET: &str = "x86_64-unknown-linux-musl";

/// Builds `throughline` as a static program and returns its path; a fresh build does nothing.
///
/// # Errors
/// Fails if the target or its C compiler is missing, or the build fails.
pub fn static_throughline() -> Result<PathBuf> {
    let args = [
        "--bins",
        "--package",
        "throughline-cli",
        "--target",
        STATIC_TARGET,
    ];
    let messages = run_cargo(&args).with_context(|| {
        format!("it needs `rustup target add {STATIC_TARGET}` and musl-gcc (musl-tools in Debian)")
    })?;
    let mut built = messages.lines().filter_map(executable);
    built
        .find_map(|(name, path)| (name == "throughline").then_some(path))
        .ok_or_else(|| anyhow!("no binary named throughline in the output of cargo"))
}

/// Environment variable with the folder of binaries that are already built.
pub const BINARIES_DIR: &str = "THROUGHLINE_BINARIES";

/// Builds the binaries of these packages in the development profile and returns their paths by
/// name.
///
/// # Errors
/// Fails if cargo cannot be started or the build fails.
pub fn build(packages: &[&str], features: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut args = vec!["--bins"];
    args.extend(packages.iter().flat_map(|package| ["--package", package]));
    args.extend(features.iter().flat_map(|feature| ["--features", feature]));
    Ok(run_cargo(&args)?.lines().filter_map(executable).collect())
}

/// Runs `cargo build` and returns its JSON messages.
fn run_cargo(args: &[&str]) -> Result<String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Stdout carries the JSON messages; rendered diagnostics go to stderr for the developer.
    let format = "--message-format=json-render-diagnostics";
    let output = cargo
        .current_dir(repository_root())
        .args(["build", format])
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo")?;
    ensure!(
        output.status.success(),
        "cargo build {} failed ({})",
        args.join(" "),
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the name and path from a message about an executable (cargo book, "External tools").
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let path = message.get("executable")?.as_str()?;
    let name = message.pointer("/target/name")?.as_str()?;
    Some((name.to_owned(), PathBuf::from(path)))
}

/// Returns the root folder of the workspace.
#[must_use]
pub fn repository_root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_is_read_from_artifact_messages_only() {
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
    fn missing_binary_is_named_in_the_error() {
        let error = ProjectBinaries::find_in(Path::new("/nowhere"))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "THROUGHLINE_BINARIES is set, but /nowhere/throughline does not exist"
        );
    }

    #[test]
    fn repository_root_holds_the_lock_file() {
        assert!(repository_root().join("Cargo.lock").is_file());
    }
}
