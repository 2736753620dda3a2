//! The web UI in Chromium, with the real collector and real checkouts.

use std::process::Command;

use throughline_testkit::build::{ProjectBinaries, repository_root};
use throughline_testkit::demo::{Config, Demo, SPANS_TIMEOUT};
use throughline_testkit::eshop::DemoMode;

/// Mode whose collector also receives the synthetic traces of the tests.
const MAIN: DemoMode = DemoMode::Linked;

#[test]
fn page_shows_a_checkout_in_chromium() {
    // The expectations for each mode are in `ui/e2e/modes.test.mjs`.
    let with_checkout = |mode: &DemoMode| {
        let config = Config::new(*mode);
        let demo = Demo::start(ProjectBinaries::build().unwrap(), &config, &mut |step| {
            eprintln!("{step}");
        })
        .unwrap();
        demo.checkout_and_wait(SPANS_TIMEOUT).unwrap();
        demo
    };
    let demos: Vec<Demo> = DemoMode::ALL.iter().map(with_checkout).collect();
    let urls: Vec<String> = DemoMode::ALL
        .iter()
        .zip(&demos)
        .map(|(mode, demo)| format!("{mode}={}", demo.collector().url()))
        .collect();
    let (_, main) = DemoMode::ALL
        .iter()
        .zip(&demos)
        .find(|(mode, _)| **mode == MAIN)
        .unwrap();
    let status = Command::new("npm")
        .args(["run", "--silent", "e2e"])
        .current_dir(repository_root().join("ui"))
        .env("THROUGHLINE_URL", main.collector().url())
        .env(
            "THROUGHLINE_OTLP_URL",
            format!("http://{}", main.collector().addresses().otlp_http),
        )
        .env("THROUGHLINE_MODES", urls.join(","))
        .status()
        .unwrap();
    assert!(
        status.success(),
        "the tests in the browser failed: {status}"
    );
    for demo in demos {
        demo.stop().unwrap();
    }
}
