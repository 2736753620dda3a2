//! The store that the arguments choose.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use throughline_model::{byte_size, duration};
use throughline_segments::{DiskSettings, Durability};
use throughline_store::{MemoryStore, Store};

use super::place::StorePlace;
use crate::args::store::StoreArgs;

/// Minimum of `--store-memory`: less would hardly hold a single trace.
const MIN_STORE_MEMORY_BYTES: usize = 1 << 20;

/// Default of `--local-bytes`.
const DEFAULT_LOCAL_BYTES: &str = "4GiB";

/// The store that the arguments choose.
#[derive(Debug)]
pub(crate) enum StoreChoice {
    /// In memory, with this maximum.
    Memory(usize),
    /// On disk or in a bucket.
    Disk(StorePlace, DiskSettings),
    /// Where other processes write.
    QueryOnly(StorePlace, DiskSettings),
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
        let local_bytes = args.local_bytes.as_deref().unwrap_or(DEFAULT_LOCAL_BYTES);
        let local_bytes = size("--local-bytes", local_bytes);
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
                let place = StorePlace::parse(args, errors)?;
                let settings = DiskSettings {
                    durability: durability?,
                    max_memory_bytes: memory?,
                    max_bytes: bytes? as u64,
                    max_age,
                    min_free_bytes: free? as u64,
                    seal_interval: seal_interval?,
                    max_local_bytes: local_bytes? as u64,
                    refresh_interval: place.refresh_interval(),
                    ..DiskSettings::default()
                };
                Some(if args.query_only {
                    Self::QueryOnly(place, settings)
                } else {
                    Self::Disk(place, settings)
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
            Self::Disk(place, settings) => place.open(settings.clone())?,
            Self::QueryOnly(place, settings) => place.open_query_only(settings.clone())?,
        })
    }

    /// Returns the folder or the URL of a store that is not in memory.
    pub(crate) fn location(&self) -> Option<String> {
        match self {
            Self::Memory(_) => None,
            Self::Disk(place, _) | Self::QueryOnly(place, _) => Some(place.location()),
        }
    }

    /// Returns a sentence about where traces are kept.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Memory(_) => "Traces are kept in memory only and are lost then.".to_owned(),
            Self::QueryOnly(place, settings) => format!(
                "Traces of the collectors below {} are shown; nothing is received or written.{}",
                place.location(),
                place.describe_local(settings)
            ),
            Self::Disk(place, settings) => format!(
                "Traces are kept in {}, up to {}.{}",
                place.location(),
                byte_size::format(settings.max_bytes),
                place.describe_local(settings)
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
