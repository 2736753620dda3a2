//! `throughline init`: redirects a pod's connections to its sidecar with nftables (ADR 29).
//!
//! All rules are in one table, so that they are replaced and removed as a whole, in one
//! transaction, and other tables are not touched.

mod config;
mod netlink;
mod ruleset;
mod summary;

use std::ffi::OsString;
use std::io::Write as _;

use anyhow::Context as _;

use self::config::RedirectConfig;
use crate::args::init::InitArgs;
use crate::args::{CliArgs, CliCommand};
use crate::error::CommandError;

/// Applies, removes or prints the rules.
pub(crate) fn run(args: &InitArgs) -> Result<(), CommandError> {
    let config = RedirectConfig::parse(args).map_err(CommandError::Usage)?;
    let chains = if args.undo {
        Vec::new()
    } else {
        ruleset::chains(&config)
    };
    if args.print {
        return Ok(print(&ruleset::render(&chains))?);
    }
    netlink::replace_table(&chains)?;
    Ok(print(&if args.undo {
        summary::removed()
    } else {
        summary::applied(&config)
    })?)
}

/// Checks the arguments of a command line, from the program's name on.
///
/// # Errors
/// Every error, each with its remedy.
pub(crate) fn check(arguments: &[OsString]) -> Result<(), Vec<String>> {
    match CliArgs::parse(arguments) {
        Ok(CliCommand::Init(args)) => RedirectConfig::parse(&args).map(drop),
        Ok(_) => Ok(()),
        Err(error) => Err(vec![error.to_string()]),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .context("cannot write to stdout")
}

#[cfg(test)]
mod tests;
