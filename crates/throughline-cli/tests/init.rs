//! `throughline init` in a network namespace: rules are applied, replaced and removed.
//!
//! Needs root and nftables. Without them the test is skipped with a message; in CI it fails.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

#[test]
fn rules_are_idempotent_and_removed_by_undo() {
    if !can_redirect() {
        println!("skipped: root and nft are needed");
        return;
    }
    let init = format!("{} init", env!("CARGO_BIN_EXE_throughline"));
    let quiet = format!("{init} > /dev/null");
    let once = run_in_namespace(&format!("{quiet} && nft list ruleset"));
    for part in [
        "table inet throughline",
        "skuid 1337 return",
        "redirect to :19092",
        "redirect to :19090",
    ] {
        assert!(once.contains(part), "{part} is missing in:\n{once}");
    }
    let twice = run_in_namespace(&format!("{quiet} && {quiet} && nft list ruleset"));
    assert_eq!(twice, once);

    let other = "nft add table inet other";
    let undo = format!("{init} --undo > /dev/null");
    let undone = run_in_namespace(&format!("{other} && {quiet} && {undo} && nft list ruleset"));
    assert!(
        undone.contains("table inet other") && !undone.contains("throughline"),
        "{undone}"
    );
    assert_eq!(
        run_in_namespace(&format!("{undo} && nft list ruleset")),
        "",
        "undo without rules"
    );
    let printed = run_in_namespace(&format!("{init} --print && nft list ruleset"));
    assert!(
        printed.contains("redirect to :19092") && printed.ends_with("}\n"),
        "{printed}"
    );
}

#[test]
fn rules_in_the_kernel_are_those_that_are_printed() {
    if !can_redirect() {
        println!("skipped: root and nft are needed");
        return;
    }
    for options in [
        "",
        "--inbound-port off --uid 5 --gid 6 --outbound-port 4",
        "--exclude-outbound 22,6000-6010 --exclude-inbound 1-65535,7 --exclude-networks \
         10.0.0.0/8,172.16.0.0/12,192.168.7.9/32,0.0.0.0/0,fd00::/8,2001:db8::/45,::1/128",
    ] {
        let init = format!("{} init {options}", env!("CARGO_BIN_EXE_throughline"));
        let applied = run_in_namespace(&format!("{init} > /dev/null && nft list ruleset"));
        let printed = run_in_namespace(&format!("{init} --print | nft -f - && nft list ruleset"));
        assert_eq!(applied, printed, "{options}");
        assert!(applied.contains("redirect to"), "{applied}");
    }
}

#[test]
fn init_reports_the_redirection_and_its_removal() {
    if !can_redirect() {
        println!("skipped: root and nft are needed");
        return;
    }
    let init = format!("{} init", env!("CARGO_BIN_EXE_throughline"));
    let output = run_in_namespace(&format!(
        "{init} --exclude-outbound 22 --exclude-networks 10.0.0.0/8 && {init} --undo"
    ));
    for part in [
        "table throughline",
        "-> port 19092",
        "ports 22, networks 10.0.0.0/8",
        "-> port 19090",
        "throughline init --undo",
        "no longer redirected",
    ] {
        assert!(output.contains(part), "{part} is missing in:\n{output}");
    }
}

/// Whether this machine can redirect connections. CI must be able to.
fn can_redirect() -> bool {
    let possible = Command::new("unshare")
        .args(["--net", "nft", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    assert!(
        possible || std::env::var_os("CI").is_none(),
        "CI must be able to redirect: root and nft are needed"
    );
    possible
}

/// Runs a shell script in a new network namespace and returns its output.
fn run_in_namespace(script: &str) -> String {
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
