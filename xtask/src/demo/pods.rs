//! `cargo xtask demo --mode pods`: the manifests of `deploy/` as pods by podman.

use anyhow::Result;
use serde_json::{Value, json};
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::demo::SPANS_TIMEOUT;
use throughline_testkit::podman::PodmanEshop;

use super::tree;
use crate::requirements::{COMPILER, MAKE, MAVEN};
use crate::{interrupt, requirements, ui};

/// Options of the demo that apply to pods.
#[derive(Debug)]
pub(super) struct PodDemo {
    pub(super) checkouts: u32,
    /// Whether the traces are printed as JSON.
    pub(super) json: bool,
    /// Whether the pods are removed at once.
    pub(super) once: bool,
}

pub(super) fn run(options: &PodDemo) -> Result<()> {
    interrupt::install_handlers()?;
    let binaries = prepare()?;
    let eshop = PodmanEshop::start(binaries, &mut |what| eprintln!("{what}"))?;
    let mut traces: Vec<Value> = Vec::new();
    for number in 1..=options.checkouts {
        eprintln!(
            "checkout {number} of {}: waiting for its spans",
            options.checkouts
        );
        traces.extend(eshop.checkout_and_wait(SPANS_TIMEOUT)?);
    }
    let collector = eshop.collector_url()?;
    if options.json {
        println!("{}", json!({ "data": traces }));
    } else {
        for trace in &traces {
            tree::print(&collector, trace, binaries)?;
        }
    }
    if !options.once {
        eprintln!("\nopen in a browser:      {collector}");
        eprintln!("send another checkout:  curl {}", eshop.checkout_url()?);
        eprintln!("Ctrl-C removes the pods");
        drop(interrupt::wait_for_crash(|| None));
    }
    Ok(())
}

/// Installs and builds what is missing.
fn prepare() -> Result<&'static ProjectBinaries> {
    requirements::install_missing(&[COMPILER, MAKE, MAVEN])?;
    requirements::install_for_pods()?;
    ui::build_if_stale()?;
    eprintln!("building the command and the eshop (the first time takes minutes)");
    ProjectBinaries::build()
}
