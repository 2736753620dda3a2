//! `cargo xtask lint`: everything that can be checked without running the program.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::runner::{self, StepRunner, cargo};
use crate::{requirements, tidy, ui};

pub(crate) fn run() -> Result<()> {
    let mut steps = StepRunner::default();
    steps.run("format", || {
        runner::run(&mut cargo(&["fmt", "--all", "--check"]))
    });
    steps.run("tidy", tidy::run);
    // Clippy compiles the collector, which embeds the web UI.
    steps.run("web UI", ui::build_if_stale);
    steps.run("web UI lint", || {
        ui::install()?;
        ui::npm(&["run", "--silent", "lint"], &[])
    });
    steps.run("clippy", || {
        let flags = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--quiet",
            "--",
            "--deny=warnings",
        ];
        runner::run(&mut cargo(&flags))
    });
    steps.run("docs", || {
        let flags = [
            "doc",
            "--workspace",
            "--all-features",
            "--no-deps",
            "--quiet",
        ];
        // By default a broken link is only a warning.
        runner::run(cargo(&flags).env("RUSTDOCFLAGS", "--deny=warnings"))
    });
    check_published_sdk(&mut steps)?;
    if has_wasm()? {
        steps.run("pure crates for WebAssembly", || {
            runner::run(cargo(&["check", "--target", WASM, "--quiet"]).args(WASM_CRATES))
        });
    } else {
        steps.skip(
            "pure crates for WebAssembly",
            "the target is not installed (rustup target add wasm32-unknown-unknown)",
        );
    }
    if requirements::find_program("cargo-deny").is_some() {
        // Without the advisories: the gate must not depend on the network or on the day.
        let flags = [
            "deny",
            "check",
            "--hide-inclusion-graph",
            "bans",
            "licenses",
            "sources",
        ];
        steps.run("licences and walls", || runner::run(&mut cargo(&flags)));
    } else {
        steps.skip(
            "licences and walls",
            "cargo-deny is not installed (cargo install cargo-deny)",
        );
    }
    steps.finish()
}

/// Checks that the SDK can be published, and that its oldest Rust builds it.
fn check_published_sdk(steps: &mut StepRunner) -> Result<()> {
    steps.run("packages of the SDK", || {
        // Without building them, which e2e/tests/packaged_sdk.rs does. `cargo publish --dry-run`
        // does the same, and also asks the registry, on which the gate must not depend.
        let flags = [
            "package",
            "--no-verify",
            "--allow-dirty",
            "--offline",
            "--quiet",
        ];
        runner::run(cargo(&flags).args(SDK_PACKAGES))
    });
    check_sdk_api(steps)?;
    if has_toolchain(SDK_RUST)? {
        steps.run("SDK with its oldest Rust", || {
            // rustup's `cargo`, which takes a version. A folder of its own keeps the artifacts of
            // the workspace's version.
            let mut check = Command::new("cargo");
            check
                .current_dir(throughline_testkit::build::repository_root())
                .arg(format!("+{SDK_RUST}"))
                .args([
                    "check",
                    "--quiet",
                    "--lib",
                    "--target-dir",
                    "target/oldest-rust",
                ]);
            runner::run(check.args(SDK_PACKAGES).args(SDK_FEATURES))
        });
    } else {
        steps.skip(
            "SDK with its oldest Rust",
            "the toolchain is not installed (rustup toolchain install 1.85.0)",
        );
    }
    Ok(())
}

/// Compares the public API of the SDK with the last release: a breaking change needs a new version.
fn check_sdk_api(steps: &mut StepRunner) -> Result<()> {
    const STEP: &str = "API of the SDK since its last release";
    if requirements::find_program("cargo-semver-checks").is_none() {
        steps.skip(
            STEP,
            "cargo-semver-checks is not installed (cargo install cargo-semver-checks)",
        );
        return Ok(());
    }
    let tag = Command::new("git")
        .current_dir(throughline_testkit::build::repository_root())
        .args(["describe", "--tags", "--abbrev=0", "--match=v*"])
        .output()
        .context("starting git")?;
    let release = String::from_utf8_lossy(&tag.stdout).trim().to_owned();
    if release.is_empty() {
        steps.skip(STEP, "nothing is released yet: there is no tag v*");
        return Ok(());
    }
    steps.run(STEP, || {
        let flags = ["semver-checks", "check-release", "--baseline-rev", &release];
        runner::run(cargo(&flags).args(SDK_PACKAGES))
    });
    Ok(())
}

/// The packages that are published.
const SDK_PACKAGES: [&str; 2] = ["--package=throughline-model", "--package=throughline"];

/// The oldest Rust of the published packages (`rust-version` in their manifests).
const SDK_RUST: &str = "1.85.0";

/// The features whose locked dependencies build with it: tonic, and the crates for names of hosts
/// below reqwest, need 1.88 in their locked versions.
const SDK_FEATURES: [&str; 4] = [
    "--no-default-features",
    "--features=throughline/axum",
    "--features=throughline/kafka",
    "--features=throughline/signal",
];

/// A target without sockets, clocks and C; a crate that builds for it uses none of them.
const WASM: &str = "wasm32-unknown-unknown";

/// Without the default features, one of which is a native codec.
const WASM_CRATES: [&str; 3] = [
    "--no-default-features",
    "--package=throughline-intercept",
    "--package=throughline-kafka",
];

/// Returns whether rustup has a toolchain; without rustup there is none but the current one.
fn has_toolchain(version: &str) -> Result<bool> {
    if requirements::find_program("rustup").is_none() {
        return Ok(false);
    }
    let output = Command::new("rustup").args(["toolchain", "list"]).output();
    let output = output.context("starting rustup")?;
    let installed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(installed.lines().any(|line| line.starts_with(version)))
}

fn has_wasm() -> Result<bool> {
    // rustc knows the folder with or without rustup; it exists if the target is installed.
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", WASM])
        .output();
    let output = output.context("starting rustc")?;
    Ok(Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}
