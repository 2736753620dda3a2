//! Opens a store where a former process stopped.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::SystemTime;

use super::folder::{SegmentName, StoreFolder, StoreOpenError, hour_of, is_merged, this_hour};
use super::generation::Generation;
use super::inner::DiskStoreInner;
use super::sealed_segment::{IndexCache, SealedSegment};
use super::settings::DiskSettings;
use super::sources::Sources;
use super::worker::Worker;
use super::woven_layer::WovenLayer;
use crate::request_log::LogWriter;

// === impl DiskStoreInner ===

impl DiskStoreInner {
    pub(super) fn open(root: &Path, settings: DiskSettings) -> Result<Self, StoreOpenError> {
        let folder = StoreFolder::open(root)?;
        let cache = IndexCache::new(settings.index_bytes());
        let unusable = |source| StoreOpenError::Unusable {
            path: root.to_path_buf(),
            source,
        };
        let segments = open_segments(&folder, &cache).map_err(unusable)?;
        let generations = recover_generations(&folder, &segments, &settings).map_err(unusable)?;
        let mut sources = Sources {
            generations,
            segments,
            shared: Arc::new(HashSet::new()),
        };
        sources.refresh_shared();
        let woven = WovenLayer::open(&folder.woven_log(), &|id| sources.start_of(id, &cache));
        let woven = woven.map_err(unusable)?;
        Ok(Self {
            folder,
            settings,
            sources: RwLock::new(Arc::new(sources)),
            replacing: Mutex::default(),
            cache,
            woven,
            changes: Mutex::default(),
            worker: Worker::default(),
            is_full: false.into(),
            merged: Mutex::default(),
            evicted_traces: 0.into(),
            evicted_spans: 0.into(),
            evicted_joins: 0.into(),
        })
    }
}

fn open_segments(folder: &StoreFolder, cache: &IndexCache) -> io::Result<Vec<Arc<SealedSegment>>> {
    let named = folder.segments()?;
    let names: Vec<SegmentName> = named.iter().map(|(name, _)| *name).collect();
    let mut segments = Vec::new();
    for (name, path) in named {
        // One that was merged into another, just before the process ended.
        if is_merged(name, &names) {
            std::fs::remove_file(&path)?;
            std::fs::remove_file(path.with_extension("index")).unwrap_or_default();
            continue;
        }
        match SealedSegment::open(name, path.clone(), &segments, cache) {
            Ok(segment) => segments.push(Arc::new(segment)),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a segment is left out");
            }
        }
    }
    Ok(segments)
}

fn recover_generations(
    folder: &StoreFolder,
    segments: &[Arc<SealedSegment>],
    settings: &DiskSettings,
) -> io::Result<Vec<Arc<Generation>>> {
    let mut generations: Vec<Arc<Generation>> = Vec::new();
    let sealed = segments.iter().map(|segment| segment.name.last + 1);
    let mut next = sealed.max().unwrap_or_default();
    for (number, path) in folder.logs()? {
        next = next.max(number + 1);
        if segments.iter().any(|segment| segment.name.contains(number)) {
            // The process ended between the two steps of sealing.
            std::fs::remove_file(path)?;
            continue;
        }
        let modified = path.metadata().and_then(|it| it.modified());
        let hour = hour_of(modified.unwrap_or_else(|_| SystemTime::now()));
        let generation = Generation::recover(number, hour, &path)?;
        if let Some(former) = generations.last() {
            former.close();
        }
        generations.push(Arc::new(generation));
    }
    // The last one stays open if there is room in it.
    let open = generations.last();
    if open.is_none_or(|open| open.is_full(settings.generation_bytes())) {
        if let Some(former) = open {
            former.close();
        }
        let path = folder.log(next);
        let log = LogWriter::create(path.clone())?;
        folder.sync(&path)?;
        generations.push(Arc::new(Generation::new(next, this_hour(), log)));
    }
    Ok(generations)
}
