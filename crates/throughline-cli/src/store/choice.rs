//! The store that the arguments choose.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use throughline_model::{byte_size, duration};
use throughline_segments::{DiskSettings, DiskStore, Durability};
use throughline_store::{MemoryStore, Store};

use crate::args::store::StoreArgs;

/// Minimum of `--store-memory`: less would hardly hold a single trace.
const MIN_STORE_MEMORY_BYTES: usize = 1 << 20;

/// The store that the arguments choose.
#[derive(Debug)]
pub(crate) enum StoreChoice {
    /// In memory, with this maximum.
    Memory(usize),
    /// In a folder.
    Disk(PathBuf, DiskSettings),
    /// In a folder below which other processes write.
    QueryOnly(PathBuf, DiskSettings),
}

// === impl StoreChoice ===

impl StoreChoice {
    /// Parses the arguments; adds every error, with its remedy, to `errors`.
    pub(crate) fn parse(args: &StoreArgs, errors: &mut Vec<String>) -> Option<Self> {
        let mut size = |option: &str, text: &str| {
            let parsed = byte_size::parse(text);
            if parsed.is_none() {
                errors.push(format!(
                    "{option} {text:?} is not a size; write it as 512MiB or 2GiB"
                ));
            }
            parsed
        };
        let memory = size("--store-memory", &args.store_memory);
        let bytes = size("--retention-bytes", &args.retention_bytes);
        let free = size("--min-free", &args.min_free);
        if memory.is_some_and(|bytes| bytes < MIN_STORE_MEMORY_BYTES) {
            let text = &args.store_memory;
            errors.push(format!(
                "--store-memory {text} is too small for a trace; use 1MiB or more"
            ));
        }
        let durability = parse_durability(&args.durability, errors);
        let max_age = args.retention.as_deref();
        let max_age = max_age.and_then(|text| parse_time("--retention", text, errors));
        let seal_interval = parse_time("--seal-interval", &args.seal_interval, errors);
        match args.store.as_str() {
            "memory" if args.query_only => {
                errors.push(
                    "--query-only reads the traces that others keep on disk; leave --store memory \
                     out"
                    .to_owned(),
                );
                None
            }
            "memory" => Some(Self::Memory(memory?)),
            "disk" => {
                let folder = folder(args.data.as_ref());
                let folder = folder
                    .map_err(|error| errors.push(error.to_string()))
                    .ok()?;
                let settings = DiskSettings {
                    durability: durability?,
                    max_memory_bytes: memory?,
                    max_bytes: bytes? as u64,
                    max_age,
                    min_free_bytes: free? as u64,
                    seal_interval: seal_interval?,
                    ..DiskSettings::default()
                };
                Some(if args.query_only {
                    Self::QueryOnly(folder, settings)
                } else {
                    Self::Disk(folder, settings)
                })
            }
            other => {
                errors.push(format!(
                    "--store {other:?} is not known; use disk or memory"
                ));
                None
            }
        }
    }

    /// Opens the store.
    pub(crate) fn open(&self) -> Result<Arc<dyn Store>> {
        Ok(match self {
            Self::Memory(bytes) => Arc::new(MemoryStore::new(*bytes)),
            Self::Disk(folder, settings) => Arc::new(DiskStore::open(folder, settings.clone())?),
            Self::QueryOnly(folder, settings) => {
                DiskStore::open_query_only(folder, settings.clone())?
            }
        })
    }

    /// Returns the folder of a store on disk.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Memory(_) => None,
            Self::Disk(folder, _) | Self::QueryOnly(folder, _) => Some(folder),
        }
    }

    /// Returns a sentence about where traces are kept.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Memory(_) => "Traces are kept in memory only and are lost then.".to_owned(),
            Self::QueryOnly(folder, _) => format!(
                "Traces of the collectors below {} are shown; nothing is received or written.",
                folder.display()
            ),
            Self::Disk(folder, settings) => format!(
                "Traces are kept in {}, up to {}.",
                folder.display(),
                byte_size::format(settings.max_bytes)
            ),
        }
    }
}

fn parse_time(option: &str, text: &str, errors: &mut Vec<String>) -> Option<Duration> {
    let parsed = duration::parse(text).filter(|time| *time > 0);
    if parsed.is_none() {
        errors.push(format!(
            "{option} {text:?} is not a duration; write it as 72h or 30s"
        ));
    }
    parsed.map(Duration::from_nanos)
}

fn parse_durability(text: &str, errors: &mut Vec<String>) -> Option<Durability> {
    match text {
        "fsync" => Some(Durability::Fsync),
        "interval" => Some(DiskSettings::default().durability),
        _ => {
            errors.push(format!(
                "--durability {text:?} is not known; use interval or fsync"
            ));
            None
        }
    }
}

/// Returns the folder of a store: the one given, or that of the user's data directory (XDG Base
/// Directory Specification).
pub(super) fn folder(given: Option<&PathBuf>) -> Result<PathBuf> {
    if let Some(folder) = given {
        return Ok(folder.clone());
    }
    let absolute = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let home = || Some(absolute("HOME")?.join(".local/share"));
    let data = absolute("XDG_DATA_HOME").or_else(home);
    data.map(|data| data.join("throughline")).ok_or_else(|| {
        anyhow!(
            "there is no user's data directory; name a folder with --data, or keep traces in \
             memory with --store memory"
        )
    })
}
