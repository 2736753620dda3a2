//! `throughline init`: redirects a pod's connections to its sidecar with nftables.
//!
//! All rules are in one table, so that they are replaced and removed as a whole, in one
//! transaction, and other tables are not touched.

mod config;
mod ruleset;
mod summary;

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use self::config::RedirectConfig;
use crate::args::init::InitArgs;
use crate::error::CommandError;

/// Applies, removes or prints the rules.
pub(crate) fn run(args: &InitArgs) -> Result<(), CommandError> {
    let config = RedirectConfig::parse(args).map_err(CommandError::Usage)?;
    let rules = if args.undo {
        ruleset::REMOVE.to_owned()
    } else {
        ruleset::render(&config)
    };
    if args.print {
        return Ok(print(&rules)?);
    }
    apply(&rules)?;
    Ok(print(&if args.undo {
        summary::removed()
    } else {
        summary::applied(&config)
    })?)
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .context("cannot write to stdout")
}

/// Applies rules in one transaction: on an error, the previous rules stay in effect.
fn apply(rules: &str) -> anyhow::Result<()> {
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"])
        .stdin(Stdio::piped())
        // nft prints nothing on success; its errors are on stderr.
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut nft = nft
        .spawn()
        .context("cannot run nft; install nftables (Debian: apt-get install nftables)")?;
    // If nft has exited already, the pipe is broken; the reason is on its stderr.
    nft.stdin
        .take()
        .context("nft has no stdin")?
        .write_all(rules.as_bytes())
        .unwrap_or_default();
    let output = nft.wait_with_output().context("cannot wait for nft")?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let reason = stderr.lines().next().unwrap_or_default().trim();
    // The usual case of a container without the capability deserves its own remedy.
    if reason.contains("Operation not permitted") {
        bail!(
            "redirecting connections needs root (CAP_NET_ADMIN) in this network namespace; nft \
             failed: {reason}"
        );
    }
    bail!("nft rejected the rules: {reason}");
}

#[cfg(test)]
mod tests;
