//! The web page in a real Chromium, on the real collector, fed by a real checkout.

use std::process::Command;

use throughline_testkit::build::{Binaries, repository_root};
use throughline_testkit::demo::{Config, Demo, SPANS_LIMIT};
use throughline_testkit::eshop::Mode;

#[test]
fn the_page_shows_a_checkout_in_chromium() {
    let demo =
        Demo::start(Binaries::build().unwrap(), &Config::new(Mode::Linked), &mut |step| eprintln!("{step}")).unwrap();
    demo.checkout_and_wait(SPANS_LIMIT).unwrap();
    let status = Command::new("npm")
        .args(["run", "--silent", "e2e"])
        .current_dir(repository_root().join("ui"))
        .env("THROUGHLINE_URL", demo.collector().url())
        .env("THROUGHLINE_OTLP_URL", format!("http://{}", demo.collector().addresses().otlp_http))
        .status()
        .unwrap();
    assert!(status.success(), "the tests in the browser failed: {status}");
    demo.stop().unwrap();
}
