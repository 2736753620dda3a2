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

/// A target without sockets, clocks and C; a crate that builds for it uses none of them.
const WASM: &str = "wasm32-unknown-unknown";

/// Without the default features, one of which is a native codec.
const WASM_CRATES: [&str; 3] = [
    "--no-default-features",
    "--package=throughline-intercept",
    "--package=throughline-kafka",
];

fn has_wasm() -> Result<bool> {
    // rustc knows the folder with or without rustup; it exists if the target is installed.
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", WASM])
        .output();
    let output = output.context("starting rustc")?;
    Ok(Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}
