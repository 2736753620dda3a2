//! `throughline init` in a network of its own: the rules come, come again, and go.
//!
//! Needs root and nftables. Where these are missing it says so and is no proof; CI has them, and fails without.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

#[test]
fn the_rules_are_the_same_when_they_come_twice_and_gone_when_they_are_undone() {
    let works = |args: &[&str]| {
        Command::new("unshare")
            .args(args)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if !works(&["--net", "nft", "--version"]) {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must be able to redirect: root and nft are needed"
        );
        println!("skipped, and nothing is proved: root and nft are needed");
        return;
    }
    let binary = env!("CARGO_BIN_EXE_throughline");
    let once = inside(&format!("{binary} init && nft list ruleset"));
    for part in [
        "table inet throughline",
        "skuid 1337 return",
        "redirect to :19092",
        "redirect to :19090",
    ] {
        assert!(once.contains(part), "{part} is missing in:\n{once}");
    }
    assert_eq!(
        inside(&format!(
            "{binary} init && {binary} init && nft list ruleset"
        )),
        once
    );
    // What others have set up stays.
    let other = "nft add table inet other";
    let undone = inside(&format!(
        "{other} && {binary} init && {binary} init --undo && nft list ruleset"
    ));
    assert!(
        undone.contains("table inet other") && !undone.contains("throughline"),
        "{undone}"
    );
    assert_eq!(
        inside(&format!("{binary} init --undo && nft list ruleset")),
        "",
        "there was nothing to undo"
    );
    let printed = inside(&format!("{binary} init --print && nft list ruleset"));
    assert!(
        printed.contains("redirect to :19092") && printed.ends_with("}\n"),
        "{printed}"
    );
}

/// What this prints in a network of its own.
fn inside(script: &str) -> String {
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", script])
        .output()
        .unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    assert!(
        status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8(stdout).unwrap()
}
