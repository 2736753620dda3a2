//! `throughline store`, and the store that `throughline up` opens.

mod choice;
mod place;
mod transfer;

use std::io::Write as _;

use anyhow::{Context as _, Result, bail};
use throughline_segments::{DiskSettings, DiskStore, check_folder};

pub(crate) use self::choice::StoreChoice;
use crate::args::store::{FolderArgs, StoreCommand};
use crate::error::CommandError;

/// Runs one of the commands.
pub(crate) fn run(command: &StoreCommand) -> Result<(), CommandError> {
    match command {
        StoreCommand::Check(args) => check(args)?,
        StoreCommand::Compact(args) => compact(args)?,
        StoreCommand::Export(args) => transfer::export(&open(args)?)?,
        StoreCommand::Import(args) => transfer::import(&open(&args.folder)?, &args.files)?,
    }
    Ok(())
}

/// Opens the store of a folder. Nothing is removed, whatever its size.
fn open(args: &FolderArgs) -> Result<DiskStore> {
    let folder = place::folder(args.data.as_ref())?;
    let settings = DiskSettings {
        max_bytes: u64::MAX,
        min_free_bytes: 0,
        ..DiskSettings::default()
    };
    Ok(DiskStore::open(&folder, settings)?)
}

fn check(args: &FolderArgs) -> Result<()> {
    let folder = place::folder(args.data.as_ref())?;
    let found = check_folder(&folder)?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}: {} spans in {} segments, {} requests in {} logs",
        folder.display(),
        found.spans,
        found.segments,
        found.requests,
        found.logs
    )
    .and_then(|()| {
        let mut problems = found.problems.iter();
        problems.try_for_each(|problem| writeln!(out, "  {problem}"))
    })
    .context("cannot write to stdout")?;
    if !found.problems.is_empty() {
        bail!("{} of them are damaged", found.problems.len());
    }
    Ok(())
}

fn compact(args: &FolderArgs) -> Result<()> {
    let store = open(args)?;
    let (before, _) = store.segments();
    store.seal();
    let _segments = store.compact();
    let (after, bytes) = store.segments();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{before} segments became {after}, of {bytes} bytes")
        .context("cannot write to stdout")
}
