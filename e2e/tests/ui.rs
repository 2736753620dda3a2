//! The web page in a real Chromium, on the real collector, fed by real checkouts.

use std::process::Command;

use throughline_testkit::build::{Binaries, repository_root};
use throughline_testkit::demo::{Config, Demo, SPANS_LIMIT};
use throughline_testkit::eshop::Mode;

/// The states of the demo that the page is looked at in; the last one's collector also takes the odd traces of the tests.
const MODES: [Mode; 3] = [Mode::Rest, Mode::Kafka, Mode::Linked];

#[test]
fn the_page_shows_a_checkout_in_chromium() {
    let demos = MODES.map(|mode| {
        let demo =
            Demo::start(Binaries::build().unwrap(), &Config::new(mode), &mut |step| eprintln!("{step}")).unwrap();
        demo.checkout_and_wait(SPANS_LIMIT).unwrap();
        (mode, demo)
    });
    let urls: Vec<String> = demos.iter().map(|(mode, demo)| format!("{mode}={}", demo.collector().url())).collect();
    let (_, linked) = demos.last().unwrap();
    let status = Command::new("npm")
        .args(["run", "--silent", "e2e"])
        .current_dir(repository_root().join("ui"))
        .env("THROUGHLINE_URL", linked.collector().url())
        .env("THROUGHLINE_OTLP_URL", format!("http://{}", linked.collector().addresses().otlp_http))
        .env("THROUGHLINE_MODES", urls.join(","))
        .status()
        .unwrap();
    assert!(status.success(), "the tests in the browser failed: {status}");
    for (_, demo) in demos {
        demo.stop().unwrap();
    }
}
