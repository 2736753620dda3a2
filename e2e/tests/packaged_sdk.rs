//! The published packages of the SDK, as a stranger uses them: packed by `cargo package`, unpacked
//! outside of the workspace, and built into a project of its own, with each feature alone. Takes
//! minutes, so `THROUGHLINE_FULL=1` runs it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The oldest supported Rust, where rustup has it.
const OLDEST_RUST: &str = "+1.85.0";

/// Each feature with the trace of the sample: a span, and its parent.
const TRACES: [(&str, &[&str]); 9] = [
    ("", &["method < -"]),
    ("export", &["method < -"]),
    ("export-grpc", &["method < -"]),
    ("export-tls", &["method < -"]),
    ("signal", &["method < -"]),
    ("tower", &["POST < GET", "method < GET", "GET < -"]),
    (
        "axum",
        &["method < GET /orders/{id}", "GET /orders/{id} < -"],
    ),
    ("reqwest", &["GET < -", "method < -"]),
    (
        "kafka",
        &[
            "send orders < -",
            "method < process orders",
            "process orders < send orders",
        ],
    ),
];

#[test]
fn project_outside_the_workspace_builds_with_each_feature_alone() {
    if std::env::var_os("THROUGHLINE_FULL").is_none_or(|full| full != "1") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let sample = pack_and_unpack(folder.path());
    for (feature, trace) in TRACES {
        let mut run = Command::new("cargo");
        run.args(["run", "--quiet", "--features", feature]);
        let printed = output(run.current_dir(&sample));
        let mut lines: Vec<_> = printed.lines().collect();
        let mut expected = trace.to_vec();
        lines.sort_unstable();
        expected.sort_unstable();
        assert_eq!(lines, expected, "feature {feature:?}");
    }
    let oldest = Command::new("cargo")
        .args([OLDEST_RUST, "--version"])
        .output();
    if !oldest.is_ok_and(|output| output.status.success()) {
        eprintln!("the oldest Rust is not installed (rustup toolchain install 1.85.0)");
        return;
    }
    // The locked versions below reqwest and tonic need 1.88. A stranger's cargo chooses versions
    // that build with the `rust-version` of its package.
    fs::remove_file(sample.join("Cargo.lock")).unwrap();
    for (feature, _) in TRACES {
        let mut check = Command::new("cargo");
        check.args([OLDEST_RUST, "check", "--quiet", "--features", feature]);
        check.args(["--target-dir", "target/oldest"]);
        check.env("CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS", "fallback");
        output(check.current_dir(&sample));
    }
}

/// Packs the crates into `folder`, and writes a project beside them that uses them.
fn pack_and_unpack(folder: &Path) -> std::path::PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pack = Command::new("cargo");
    pack.args([
        "package",
        "--quiet",
        "--no-verify",
        "--allow-dirty",
        "--target-dir",
    ])
    .arg(folder)
    .args(["-p", "throughline-model", "-p", "throughline"]);
    output(pack.current_dir(&root));
    for name in ["throughline-model", "throughline"] {
        let archive = folder.join(format!("package/{name}-{VERSION}.crate"));
        output(
            Command::new("tar")
                .arg("-xzf")
                .arg(archive)
                .current_dir(folder),
        );
        let unpacked = folder.join(format!("{name}-{VERSION}"));
        for file in ["LICENSE", "README.md"] {
            assert!(unpacked.join(file).is_file(), "{name} without {file}");
        }
    }
    let sample = folder.join("stranger");
    fs::create_dir_all(sample.join("src")).unwrap();
    let manifest = include_str!("packaged_sdk/Cargo.toml.txt").replace("VERSION", VERSION);
    fs::write(sample.join("Cargo.toml"), manifest).unwrap();
    let program = include_str!("packaged_sdk/sample.rs");
    fs::write(sample.join("src/main.rs"), program).unwrap();
    // The same versions as here, which are in cargo's cache.
    fs::copy(root.join("Cargo.lock"), sample.join("Cargo.lock")).unwrap();
    sample
}

/// Runs a command that must succeed, and returns its output.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
