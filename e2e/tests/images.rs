//! The Dockerfiles of `deploy/images` as they are: every stage is built, and the images run.
//!
//! Runs with `THROUGHLINE_FULL=1`, as root, with podman, runc, debootstrap, rustup and npm. The
//! base images take some minutes, and the first release builds some twenty on two cores.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use throughline_testkit::build::repository_root;
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::envoy;
use throughline_testkit::http;
use throughline_testkit::podman::DockerfileBuilds;
use throughline_testkit::process::ProcessSpec;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const LIMIT: Duration = Duration::from_secs(30);

/// Bounds of the sizes: what docs say, with some room.
const MAX_BYTES: u64 = 40_000_000;

#[test]
fn dockerfiles_build_images_that_run() {
    if !std::env::var("THROUGHLINE_FULL").is_ok_and(|full| full == "1") {
        eprintln!("skipped: it runs with THROUGHLINE_FULL=1");
        return;
    }
    if let Some(missing) = DockerfileBuilds::missing() {
        eprintln!("skipped: {missing}");
        return;
    }
    let builds = DockerfileBuilds::start(&mut |what| eprintln!("{what}")).unwrap();
    let build = |file: &str, image: &str| {
        let tag = format!("localhost/{image}:{VERSION}");
        eprintln!("building {file}");
        let bytes = builds.build(file, &tag).unwrap();
        eprintln!("{image}: {:.1} MB", bytes as f64 / 1e6);
        assert!(bytes < MAX_BYTES, "{image}: {bytes} bytes");
        tag
    };
    let throughline = build("throughline.Dockerfile", "throughline");
    check_throughline(&builds, &throughline);
    let eshop = build("eshop.Dockerfile", "throughline-eshop");
    check_eshop(&builds, &eshop);
    let module = build("envoy-module.Dockerfile", "throughline-envoy");
    check_module(&builds, &module);
}

/// The program is what it says, and serves the web UI that the first stage built.
fn check_throughline(builds: &DockerfileBuilds, tag: &str) {
    let version = builds.run(&[], tag, &["--version"]).unwrap();
    assert!(version.contains(VERSION), "{version}");
    let program = builds.program("throughline", tag).unwrap();
    let collector = CollectorInstance::start(&program).unwrap();
    let page = collector.get("/").unwrap();
    let script = page.body.split('"').find(|part| part.ends_with(".js"));
    let script = script.unwrap_or_else(|| panic!("no script in {}", page.body));
    let script = collector.get(script.trim_start_matches('.')).unwrap();
    assert_eq!(script.status, 200);
    assert!(script.body.len() > 100_000, "{} bytes", script.body.len());
    assert_eq!(collector.get("/api/services").unwrap().status, 200);
    drop(collector);
    // The authorities for TLS to brokers are those of the build's image.
    let archive = builds.files(tag).unwrap();
    assert!(
        archive.contains("etc/ssl/certs/ca-certificates.crt"),
        "{archive}"
    );
}

/// A service answers, so its libraries are in the image.
fn check_eshop(builds: &DockerfileBuilds, tag: &str) {
    let program = builds.program("eshop-bare", tag).unwrap();
    let arguments = ["inventory", "--max-delay-ms", "0"];
    let service = ProcessSpec::new("inventory", program).args(arguments);
    let service = service.spawn().unwrap();
    let address = |line: &str| line.strip_prefix("listening on ").map(str::to_owned);
    let url = service
        .wait_for_line("its address", LIMIT, address)
        .unwrap();
    let reply = http::get(&format!("{url}/createOrder"), LIMIT).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    service.stop(LIMIT).unwrap();
}

/// The image copies the module, as an init container does, and a stock Envoy loads it.
fn check_module(builds: &DockerfileBuilds, tag: &str) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let volume = format!("--volume={}:/throughline", folder.path().display());
    builds.run(&[&volume], tag, &[]).unwrap();
    let output = Command::new(envoy::program().unwrap())
        .env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", folder.path())
        .args(["--mode", "validate", "-l", "warning", "-c"])
        .arg(repository_root().join("docs/envoy.yaml"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}
