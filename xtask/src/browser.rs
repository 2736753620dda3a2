//! The web UI in a real Chromium on a real collector: screenshots for the docs, and speed.

use std::fs;

use anyhow::{Context, Result};
use throughline_testkit::build::{ProjectBinaries, repository_root};
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::demo::{Config, Demo, SPANS_TIMEOUT};
use throughline_testkit::eshop::DemoMode;

use crate::{requirements, ui};

/// Checkouts before the screenshots, enough to fill the plot of the search page.
const CHECKOUTS: u32 = 12;

/// Takes the screenshots of README and docs, light and dark, into `docs/images/ui`.
pub(crate) fn screenshots() -> Result<()> {
    let binaries = prepare()?;
    let demo = Demo::start(binaries, &Config::new(DemoMode::Linked), &mut |what| {
        eprintln!("{what}");
    })?;
    for _ in 0..CHECKOUTS {
        // Each checkout is awaited, so that no picture shows half a trace.
        demo.checkout_and_wait(SPANS_TIMEOUT)?;
    }
    let folder = repository_root().join("docs/images/ui");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let folder = folder.to_string_lossy().into_owned();
    let taken = run_in_browser("screenshots", demo.collector(), &[("SCREENSHOTS", &folder)]);
    // The processes are stopped even if the browser failed, whose error is reported first.
    let stopped = demo.stop();
    taken.and(stopped)
}

/// Prints how fast the page opens, scrolls and searches large traces.
///
/// # Errors
/// When the page is slower than `docs/ui.md` promises.
pub(crate) fn measure() -> Result<()> {
    let binaries = prepare()?;
    // The script sends the traces that it measures, so no eshop is started.
    let collector = CollectorInstance::start(&binaries.throughline)?;
    run_in_browser("measure", &collector, &[])
}

fn prepare() -> Result<&'static ProjectBinaries> {
    // The compiler and make are for librdkafka, which is part of the build.
    requirements::install_missing(&[
        requirements::COMPILER,
        requirements::MAKE,
        requirements::CHROMIUM,
    ])?;
    ui::build_if_stale()?;
    eprintln!("building the collector (the first time takes minutes)");
    ProjectBinaries::build()
}

fn run_in_browser(script: &str, collector: &CollectorInstance, env: &[(&str, &str)]) -> Result<()> {
    let url = collector.url();
    let otlp = format!("http://{}", collector.addresses().otlp_http);
    let mut all = vec![
        ("THROUGHLINE_URL", url.as_str()),
        ("THROUGHLINE_OTLP_URL", otlp.as_str()),
    ];
    all.extend_from_slice(env);
    ui::npm(&["run", "--silent", script], &all)
}
