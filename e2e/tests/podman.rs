//! The manifests of `deploy/` in real pods: `throughline inject`, the Dockerfiles, the static
//! program, redirection by `throughline init` in an init container, and the whole trace.
//!
//! Runs with `THROUGHLINE_FULL=1`, as root, with podman, buildah, runc and a JDK.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use throughline_testkit::build::{ProjectBinaries, envoy_module};
use throughline_testkit::podman::{self, PodmanEshop};

const LIMIT: Duration = Duration::from_secs(120);

/// Time for which the producer cannot learn who leads the topic, and keeps its first record.
const BROKER_PAUSE: Duration = Duration::from_secs(3);

#[test]
fn injected_pods_give_one_whole_trace() {
    if std::env::var("THROUGHLINE_FULL").is_ok_and(|full| full == "1") {
        if let Some(missing) = podman::missing() {
            eprintln!("skipped: {missing}");
            return;
        }
    } else {
        eprintln!("skipped: it runs with THROUGHLINE_FULL=1");
        return;
    }
    let binaries = ProjectBinaries::build().unwrap();
    let eshop = PodmanEshop::start(binaries, &mut |what| eprintln!("{what}")).unwrap();
    for number in 0..2 {
        // The first record may wait for its topic for seconds, long after the response.
        if number == 0 {
            eshop.pause("kafka").unwrap();
        }
        let traces = thread::scope(|scope| {
            if number == 0 {
                scope.spawn(|| resume_later(&eshop));
            }
            eshop.checkout_and_wait(LIMIT).unwrap()
        });
        let [trace] = &traces[..] else {
            panic!("not one trace: {traces:#?}")
        };
        check_trace(trace);
    }
    // The image of the module, in the same run: pods are slow to start.
    let module = envoy_module().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    eshop.copy_module(&module, folder.path()).unwrap();
    let copied = fs::read(folder.path().join("libthroughline_envoy.so")).unwrap();
    assert!(copied == fs::read(module).unwrap(), "the copy differs");
}

#[expect(clippy::disallowed_methods, reason = "the outage has a duration")]
fn resume_later(eshop: &PodmanEshop) {
    thread::sleep(BROKER_PAUSE);
    eshop.resume("kafka").unwrap();
}

/// Checks that a trace has all six services, one root, and the names of the article.
fn check_trace(trace: &Value) {
    let spans = trace["spans"].as_array().unwrap();
    let processes = trace["processes"].as_object().unwrap();
    let mut services: Vec<&str> = processes
        .values()
        .map(|process| process["serviceName"].as_str().unwrap())
        .collect();
    services.sort_unstable();
    services.dedup();
    assert_eq!(
        services,
        [
            "billing",
            "delivery",
            "eshop",
            "inventory",
            "kafka-consumer",
            "notification"
        ]
    );
    // One root; the consumer follows from the producer; no parent is open.
    let is_root = |span: &&Value| span["references"].as_array().is_none_or(Vec::is_empty);
    assert_eq!(spans.iter().filter(is_root).count(), 1, "{trace:#}");
    let names: Vec<&str> = spans
        .iter()
        .map(|span| span["operationName"].as_str().unwrap())
        .collect();
    for name in [
        "To_eshop-topic",
        "From_eshop-topic",
        "GET /checkout",
        "GET /sendEmail",
    ] {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    // The pod is named on the spans.
    assert!(
        trace.to_string().contains("k8s.namespace.name"),
        "{trace:#}"
    );
}
