//! `cargo xtask lint`: everything that can be checked without running the program.

use anyhow::Result;

use crate::steps::{self, Steps, cargo};
use crate::{machine, tidy, ui};

pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    steps.run("format", || steps::run(&mut cargo(&["fmt", "--all", "--check"])));
    steps.run("tidy", tidy::run);
    steps.run("web page", ui::build_if_stale);
    steps.run("clippy", || {
        let flags = ["clippy", "--workspace", "--all-targets", "--all-features", "--quiet", "--", "--deny=warnings"];
        steps::run(&mut cargo(&flags))
    });
    steps.run("docs", || {
        let flags = ["doc", "--workspace", "--all-features", "--no-deps", "--quiet"];
        steps::run(cargo(&flags).env("RUSTDOCFLAGS", "--deny=warnings"))
    });
    if machine::find_program("cargo-deny").is_some() {
        // Not the advisories: what passes today must pass tomorrow, and offline. `cargo deny check advisories` is for a person.
        let flags = ["deny", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
        steps.run("licences and walls", || steps::run(&mut cargo(&flags)));
    } else {
        steps.skip("licences and walls", "cargo-deny is not installed (cargo install cargo-deny)");
    }
    steps.finish()
}
