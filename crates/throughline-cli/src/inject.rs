//! `throughline inject`: adds the sidecar to the pods of Kubernetes manifests.
//!
//! Manifests are changed as JSON values: Kubernetes' API has no other model, and a typed one would
//! drop the fields that it does not know.

mod container;
mod manifest;
mod pod;
mod pod_options;
mod workload;

use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;

pub(crate) use self::manifest::render;
pub(crate) use self::pod::{PodInjection, PodInjector};
use crate::args::inject::InjectArgs;
use crate::error::CommandError;

/// Cap on the size of a manifest.
const MAX_MANIFEST_BYTES: u64 = 256 << 20;

/// Reads a manifest and prints it with the sidecar in its pods.
pub(crate) fn run(args: &InjectArgs) -> Result<(), CommandError> {
    let injector = PodInjector::new(&args.pod).map_err(CommandError::Usage)?;
    let text = read(&args.file)?;
    // Nothing is printed unless every document is valid: `kubectl apply` would take the first ones.
    let injected = manifest::inject(&text, &injector).map_err(CommandError::Usage)?;
    for note in &injected.notes {
        report(note);
    }
    let mut out = std::io::stdout().lock();
    out.write_all(injected.text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to stdout")?;
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MAX_MANIFEST_BYTES)
            .read_to_string(&mut text)
            .context("cannot read the manifest from stdin")?;
    } else {
        std::fs::File::open(file)
            .and_then(|file| file.take(MAX_MANIFEST_BYTES).read_to_string(&mut text))
            .with_context(|| format!("cannot read {}", file.display()))?;
    }
    Ok(text)
}

#[expect(clippy::print_stderr, reason = "stdout is the manifest")]
fn report(note: &str) {
    eprintln!("{note}");
}

#[cfg(test)]
mod tests;
