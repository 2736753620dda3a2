//! The web UI: npm packages, the build into `ui/dist`, and its tests.

use std::fs;
use std::io::{ErrorKind, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, ensure};
use throughline_testkit::build::repository_root;

/// Builds the page, even if it is up to date.
pub(crate) fn build() -> Result<()> {
    install()?;
    npm(&["run", "build"], &[])
}

/// Builds the page if its sources are newer than the last build.
pub(crate) fn build_if_stale() -> Result<()> {
    if is_fresh(&folder())? {
        return Ok(());
    }
    eprintln!("building the web UI");
    build()
}

/// Installs the npm packages if they are older than the lock file.
pub(crate) fn install() -> Result<()> {
    let ui = folder();
    let (installed, locked) = (
        // npm writes this file last, so an interrupted installation is repeated.
        modified(&ui.join("node_modules/.package-lock.json")),
        modified(&ui.join("package-lock.json")),
    );
    if installed? >= locked? {
        return Ok(());
    }
    eprintln!("fetching the packages of the web UI");
    // The audit would need the network and changes nothing.
    npm(&["ci", "--no-audit", "--no-fund"], &[])
}

/// Runs npm in the page's folder with its output on stderr; stdout is the task's own.
///
/// # Errors
/// When Node.js is missing or too old, or npm fails.
pub(crate) fn npm(args: &[&str], env: &[(&str, &str)]) -> Result<()> {
    check_node()?;
    let mut npm = Command::new("npm");
    npm.args(args)
        .envs(env.iter().copied())
        .current_dir(folder())
        .stdin(Stdio::null())
        .stdout(stderr());
    let status = npm
        .status()
        .context("starting npm, which comes with Node.js")?;
    ensure!(
        status.success(),
        "npm {} ended with {status}",
        args.join(" ")
    );
    Ok(())
}

/// Oldest Node.js that runs the build tools of the page.
const NODE: [u32; 2] = [20, 19];

fn check_node() -> Result<()> {
    let wanted = format!(
        "building the web UI needs Node.js {}.{} or later with npm",
        NODE[0], NODE[1]
    );
    let output = match Command::new("node").arg("--version").output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(anyhow!(
                "{wanted}; `node` was not found, see https://nodejs.org/en/download"
            ));
        }
        Err(error) => return Err(error).context("starting node"),
    };
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(
        is_new_enough(&version),
        "{wanted}; found {version}, see https://nodejs.org/en/download"
    );
    Ok(())
}

/// Whether `version`, such as `v20.19.4`, is supported.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version
        .trim_start_matches('v')
        .split('.')
        // The suffix of a nightly version ends the numbers.
        .map_while(|part| part.parse::<u32>().ok());
    [
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    ] >= NODE
}

fn folder() -> PathBuf {
    repository_root().join("ui")
}

/// Whether the built page is newer than all of its sources.
fn is_fresh(ui: &Path) -> Result<bool> {
    // Each build writes this file.
    let Some(built) = modified(&ui.join("dist/index.html"))? else {
        return Ok(false);
    };
    let mut newest = None;
    for source in [
        "src",
        "public",
        "index.html",
        "package.json",
        "package-lock.json",
        "tsconfig.json",
        "vite.config.ts",
    ] {
        newest = newest.max(newest_in(&ui.join(source))?);
    }
    Ok(newest.is_some_and(|newest| newest <= built))
}

fn newest_in(path: &Path) -> Result<Option<SystemTime>> {
    // The time of a folder counts as well: a deletion changes nothing else.
    let mut newest = modified(path)?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            newest = newest.max(newest_in(&entry?.path())?);
        }
    }
    Ok(newest)
}

/// Returns the modification time, or [`None`] if the file does not exist.
fn modified(path: &Path) -> Result<Option<SystemTime>> {
    match fs::metadata(path).and_then(|metadata| metadata.modified()) {
        Ok(time) => Ok(Some(time)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("looking at {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn node_versions_compare_as_numbers() {
        for (version, supported) in [
            ("v20.19.0", true),
            ("v20.9.1", false),
            ("v24.1.0", true),
            ("v18.20.4", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version), supported, "{version}");
        }
    }

    fn write(path: &Path, age: Duration) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = fs::File::create(path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn a_page_is_fresh_until_one_of_its_sources_is_newer() {
        let ui = tempfile::tempdir().unwrap();
        let hours = |n: u64| Duration::from_secs(3600 * n);
        write(&ui.path().join("package.json"), hours(9));
        assert!(!is_fresh(ui.path()).unwrap(), "never built");
        write(&ui.path().join("dist/index.html"), hours(5));
        assert!(is_fresh(ui.path()).unwrap());
        write(&ui.path().join("public/icon.svg"), hours(1));
        assert!(!is_fresh(ui.path()).unwrap());
    }
}
