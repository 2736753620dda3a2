//! `eshop-bare` is the uninstrumented eshop that sidecars trace: it must not contain tracing code.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::process::Command;

#[test]
fn bare_eshop_depends_on_no_tracing_crate() {
    let forbidden = ["tracing", "opentelemetry", "throughline"];
    let crates = dependencies_of("eshop-bare");
    let tracing_crates: Vec<_> = crates
        .iter()
        .filter(|name| forbidden.iter().any(|word| name.contains(word)))
        .collect();
    assert!(
        tracing_crates.is_empty(),
        "eshop-bare depends on {tracing_crates:?}"
    );
    assert!(
        crates.iter().any(|name| name == "rdkafka"),
        "unexpected dependency tree: {crates:?}"
    );
}

#[test]
fn traced_eshop_depends_on_the_tracing_crates() {
    let crates = dependencies_of("eshop");
    for name in ["tracing", "opentelemetry", "throughline"] {
        assert!(
            crates.iter().any(|found| found == name),
            "eshop does not depend on {name}: the other test proves nothing"
        );
    }
}

fn dependencies_of(package: &str) -> Vec<String> {
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
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8(output.stdout).expect("crate names are UTF-8");
    tree.lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}
