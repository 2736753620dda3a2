//! `eshop-bare` is what later parts of the product trace from outside: it must hold no tracing code of its own.
#![expect(clippy::expect_used, reason = "a test may fail by panicking")]

use std::process::Command;

#[test]
fn the_bare_eshop_has_no_tracing_crate_below_it() {
    let forbidden = ["tracing", "opentelemetry", "throughline"];
    let crates = crates_below("eshop-bare");
    let guilty: Vec<_> = crates
        .iter()
        .filter(|name| forbidden.iter().any(|word| name.contains(word)))
        .collect();
    assert!(guilty.is_empty(), "eshop-bare links {guilty:?}");
    assert!(
        crates.iter().any(|name| name == "rdkafka"),
        "this is not the eshop's tree: {crates:?}"
    );
}

#[test]
fn the_traced_eshop_has_them() {
    let crates = crates_below("eshop");
    for name in ["tracing", "opentelemetry", "throughline"] {
        assert!(
            crates.iter().any(|found| found == name),
            "eshop does not link {name}: the other test proves nothing"
        );
    }
}

fn crates_below(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--package",
            package,
        ])
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8(output.stdout).expect("names of crates are UTF-8");
    tree.lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}
