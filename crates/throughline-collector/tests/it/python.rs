//! Virtual environments of Python with the packages of a test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the interpreter of a virtual environment with the packages; creates it when missing.
pub(crate) fn interpreter(name: &str, packages: &[&str]) -> PathBuf {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../.tools")
        .join(name);
    let python = home.join("bin/python");
    let ready = home.join(format!("ready-{}", packages[0]));
    if !ready.exists() {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&home));
        run(Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(packages));
        std::fs::write(ready, packages.join("\n")).unwrap();
    }
    python
}

/// Runs a command that must succeed and returns what it writes.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stderr}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}
