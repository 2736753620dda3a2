//! Dependencies between crates point one way (pure <- shell <- binary); pure crates use no runtime.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::runner::cargo;

/// Our crates that each of our crates may depend on. A new crate needs an entry here and a reason
/// in `docs/adr/`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("throughline-model", &[]),
    ("throughline-kafka", &[]),
    (
        "throughline-intercept",
        &[
            "throughline-kafka",
            "throughline-model",
            "throughline-weave",
        ],
    ),
    ("throughline-weave", &[]),
    ("throughline-otlp", &["throughline-model"]),
    ("throughline-store", &["throughline-model"]),
    (
        "throughline-query",
        &["throughline-model", "throughline-store"],
    ),
    (
        "throughline-segments",
        &["throughline-model", "throughline-otlp", "throughline-store"],
    ),
    ("throughline-objects", &["throughline-segments"]),
    (
        "throughline-collector",
        &[
            "throughline-model",
            "throughline-otlp",
            "throughline-query",
            "throughline-store",
            "throughline-weave",
        ],
    ),
    (
        "throughline-export",
        &["throughline-model", "throughline-otlp"],
    ),
    (
        "throughline-proxy",
        &["throughline-intercept", "throughline-model"],
    ),
    (
        "throughline-envoy",
        &[
            "throughline-export",
            "throughline-intercept",
            "throughline-model",
        ],
    ),
    (
        "throughline-cli",
        &[
            "throughline-collector",
            "throughline-export",
            "throughline-intercept",
            "throughline-model",
            "throughline-objects",
            "throughline-otlp",
            "throughline-proxy",
            "throughline-segments",
            "throughline-store",
            "throughline-topic",
        ],
    ),
    (
        "throughline-topic",
        &[
            "throughline-collector",
            "throughline-model",
            "throughline-otlp",
            "throughline-store",
        ],
    ),
    ("throughline", &["throughline-model"]),
    ("throughline-testkit", &[]),
    ("eshop", &["throughline"]),
    ("eshop-bare", &[]),
    ("weave-service", &[]),
    ("e2e", &["throughline", "throughline-testkit"]),
    ("xtask", &["throughline-testkit"]),
];

/// Crates that a crate's tests may use besides; the tests of every crate may use the testkit.
const ALLOWED_IN_TESTS: &[(&str, &str)] = &[
    ("throughline-collector", "throughline-segments"),
    ("throughline-export", "throughline-collector"),
    ("throughline-objects", "throughline-model"),
    ("throughline-objects", "throughline-otlp"),
    ("throughline-objects", "throughline-store"),
];

/// Crates without sockets, clocks and tasks, and the dependencies that would bring one in.
const PURE: [&str; 7] = [
    "throughline-intercept",
    "throughline-kafka",
    "throughline-model",
    "throughline-otlp",
    "throughline-query",
    "throughline-store",
    "throughline-weave",
];
const IMPURE: [&str; 4] = ["hyper", "mio", "socket2", "tokio"];

pub(super) fn check() -> Result<Vec<String>> {
    // `--locked`: a check must not change Cargo.lock.
    let metadata = output(&["metadata", "--format-version=1", "--no-deps", "--locked"])?;
    let mut violations = forbidden_dependencies(
        &serde_json::from_str(&metadata).context("parsing the output of cargo metadata")?,
    );
    for pure in PURE {
        let tree = output(&[
            "tree",
            "--package",
            pure,
            // Tests and build scripts may use a runtime.
            "--edges=normal",
            "--prefix=none",
            "--all-features",
            "--locked",
        ])?;
        violations.extend(
            impurities(&tree).map(|name| format!("{pure} is a pure crate and depends on {name}")),
        );
    }
    Ok(violations)
}

fn output(args: &[&str]) -> Result<String> {
    let output = cargo(args).output().context("starting cargo")?;
    ensure!(
        output.status.success(),
        "cargo {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Dependencies between our crates that the tables do not allow.
fn forbidden_dependencies(metadata: &Value) -> Vec<String> {
    let packages: Vec<&Value> = list(metadata, "packages").collect();
    let ours: BTreeSet<&str> = packages
        .iter()
        .map(|package| text(package, "name"))
        .collect();
    let mut violations = Vec::new();
    for package in &packages {
        let name = text(package, "name");
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
            violations.push(format!(
                "{name} is not in the table of crates; add it with its allowed dependencies"
            ));
            continue;
        };
        for dependency in list(package, "dependencies")
            .filter(|dependency| ours.contains(text(dependency, "name")))
        {
            let (other, is_for_tests) =
                // The kind of a normal dependency is null, which reads as an empty text here.
                (text(dependency, "name"), text(dependency, "kind") == "dev");
            let may_test_with =
                other == "throughline-testkit" || ALLOWED_IN_TESTS.contains(&(name, other));
            let is_allowed = allowed.contains(&other) || (is_for_tests && may_test_with);
            if !is_allowed {
                violations.push(format!("{name} must not depend on {other}"));
            }
        }
    }
    violations
}

fn impurities(tree: &str) -> impl Iterator<Item = &str> {
    // The tree repeats packages, the set does not.
    let names: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    names.into_iter().filter(|name| IMPURE.contains(name))
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
        let dependencies: Vec<Value> = dependencies
            .iter()
            .map(|(name, kind)| json!({"name": name, "kind": kind}))
            .collect();
        json!({"name": name, "dependencies": dependencies})
    }

    #[test]
    fn a_dependency_on_a_higher_tier_is_found() {
        let metadata = json!({"packages": [
            package("throughline-model", &[("throughline-store", None), ("serde", None)]),
            package("throughline-store", &[("throughline-model", None)]),
        ]});
        assert_eq!(
            forbidden_dependencies(&metadata),
            ["throughline-model must not depend on throughline-store"]
        );
    }

    #[test]
    fn the_testkit_is_a_dev_dependency() {
        let testkit = "throughline-testkit";
        let crates = |kind| {
            let users = [
                package("throughline", &[(testkit, kind)]),
                package(testkit, &[]),
            ];
            json!({ "packages": users })
        };
        assert_eq!(
            forbidden_dependencies(&crates(Some("dev"))),
            Vec::<String>::new()
        );
        assert_eq!(
            forbidden_dependencies(&crates(None)),
            ["throughline must not depend on throughline-testkit"]
        );
    }

    #[test]
    fn an_unlisted_crate_is_found() {
        let metadata = json!({"packages": [package("throughline-more", &[])]});
        assert_eq!(forbidden_dependencies(&metadata).len(), 1);
    }

    #[test]
    fn a_runtime_in_a_tree_is_found() {
        let tree =
            "throughline-store v0.1.0 (/x)\ntokio-util v0.7.0\ntokio v1.0.0\ntokio v1.0.0 (*)\n";
        assert_eq!(impurities(tree).collect::<Vec<_>>(), ["tokio"]);
    }
}
