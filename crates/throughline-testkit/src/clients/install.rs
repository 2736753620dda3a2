//! Builds a tool once into a folder of `.tools/`.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::build::repository_root;

/// Returns a folder of `.tools/` whose name contains a hash of its sources; a changed source leads
/// to a new folder.
///
/// The folder gets its name only when it is complete, so an interrupted build is repeated.
pub(super) fn install(
    name: &str,
    sources: &[PathBuf],
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let tools = repository_root().join(".tools");
    let folder = tools.join(format!("{name}-{:016x}", fingerprint(sources)?));
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&tools).with_context(|| format!("creating {}", tools.display()))?;
    let unfinished = tempfile::Builder::new()
        .prefix("unfinished-")
        .tempdir_in(&tools)?;
    let made = unfinished.path().join(name);
    make(&made)?;
    // A rename is atomic: a concurrent build that finished first wins, and its result is the same.
    match fs::rename(&made, &folder) {
        Err(_) if folder.is_dir() => {}
        renamed => renamed.with_context(|| format!("renaming the folder of {name}"))?,
    }
    remove_others(&tools, name, &folder);
    Ok(folder)
}

/// Removes folders of older sources. A failure is ignored: it costs disk space only.
fn remove_others(tools: &Path, name: &str, folder: &Path) {
    let entries = fs::read_dir(tools)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let is_older = |path: &PathBuf| {
        let own = path
            .file_name()
            .and_then(|own| own.to_str())
            .and_then(|own| own.strip_prefix(name));
        // A dash and 16 hexadecimal digits: no other tool's folder has such a name.
        path != folder && own.is_some_and(|rest| rest.len() == 17 && rest.starts_with('-'))
    };
    for older in entries.map(|entry| entry.path()).filter(is_older) {
        drop(fs::remove_dir_all(older));
    }
}

fn fingerprint(sources: &[PathBuf]) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for source in sources {
        fs::read(source)
            .with_context(|| format!("reading {}", source.display()))?
            .hash(&mut hasher);
    }
    Ok(hasher.finish())
}
