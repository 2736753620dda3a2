//! Opens a store where a former process stopped.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::SystemTime;

use super::decision_uploads::DecisionUploads;
use super::discarded_file::DiscardedFile;
use super::folder::{
    SegmentName, StoreFolder, StoreOpenError, hour_of, merged_names, parse_decisions,
    parse_segment, this_hour,
};
use super::generation::Generation;
use super::inner::DiskStoreInner;
use super::sealed_segment::{IndexCache, SealedSegment};
use super::settings::DiskSettings;
use super::sources::Sources;
use super::worker::Worker;
use super::woven_layer::WovenLayer;
use crate::objects::{ObjectBucket, ObjectCache, StoredFile};
use crate::request_log::LogWriter;
use crate::segment::SegmentError;

/// The segments of a store when it is opened.
#[derive(Debug, Default)]
struct FoundSegments {
    /// Names, files and sizes, the earliest generation first.
    segments: Vec<(SegmentName, StoredFile, u64)>,
    /// Objects that are no longer needed.
    discarded: Vec<DiscardedFile>,
    /// Numbers of the objects with decisions.
    decisions: Vec<(u64, u64)>,
}

// === impl DiskStoreInner ===

impl DiskStoreInner {
    /// Opens a store in a folder, or one whose segments are objects and whose log is in the folder.
    pub(super) fn open(
        root: &Path,
        bucket: Option<Arc<dyn ObjectBucket>>,
        settings: DiskSettings,
    ) -> Result<Self, StoreOpenError> {
        let folder = StoreFolder::open(root)?;
        let cache = IndexCache::new(settings.index_bytes());
        let unusable = |source| StoreOpenError::Unusable {
            path: root.to_path_buf(),
            source,
        };
        let local = folder.segments().map_err(unusable)?;
        let url = bucket.as_ref().map(|bucket| bucket.url());
        let (objects, found) = match bucket {
            Some(bucket) => {
                let url = bucket.url();
                let prefix = folder.object_prefix(&url)? + "/";
                let root = root.to_path_buf();
                let objects =
                    ObjectCache::new(root, prefix, bucket, settings.max_local_bytes, true);
                let objects = Arc::new(objects);
                let found = find_objects(&folder, local, &objects);
                let found = found.map_err(|error| StoreOpenError::Objects { url, error })?;
                (Some(objects), found)
            }
            None => {
                folder.expect_no_objects()?;
                (None, find_files(local).map_err(unusable)?)
            }
        };
        let segments = open_segments(found.segments, &cache).map_err(|error| match url {
            Some(url) => StoreOpenError::Objects { url, error },
            None => unusable(error),
        })?;
        let generations = recover_generations(&folder, &segments, &settings).map_err(unusable)?;
        let mut sources = Sources {
            generations,
            segments,
            shared: Arc::new(HashSet::new()),
        };
        sources.refresh_shared();
        let woven = WovenLayer::open(&folder.woven_log(), settings.decision_bytes(), &|id| {
            sources.start_of(id, &cache)
        });
        let woven = woven.map_err(unusable)?;
        Ok(Self {
            folder,
            settings,
            sources: RwLock::new(Arc::new(sources)),
            replacing: Mutex::default(),
            cache,
            objects,
            decisions: Mutex::new(DecisionUploads::after(found.decisions)),
            woven,
            changes: Mutex::default(),
            worker: Worker::default(),
            is_full: false.into(),
            has_backlog: false.into(),
            discarded: Mutex::new(found.discarded),
            late_starts: Mutex::default(),
            evicted_traces: 0.into(),
            evicted_spans: 0.into(),
            evicted_joins: 0.into(),
            freshness: Mutex::default(),
        })
    }
}

/// Finds the segments of a folder, and removes those that were merged into another, just before the
/// process ended.
fn find_files(local: Vec<(SegmentName, PathBuf)>) -> io::Result<FoundSegments> {
    let merged = merged_names(local.iter().map(|(name, _)| *name));
    let mut found = FoundSegments::default();
    for (name, path) in local {
        if merged.contains_key(&name) {
            std::fs::remove_file(&path)?;
            std::fs::remove_file(path.with_extension("index")).unwrap_or_default();
        } else {
            let bytes = path.metadata()?.len();
            found
                .segments
                .push((name, StoredFile::new(path, None), bytes));
        }
    }
    Ok(found)
}

/// Finds the segments that are objects, and those that a former process did not upload.
fn find_objects(
    folder: &StoreFolder,
    local: Vec<(SegmentName, PathBuf)>,
    objects: &Arc<ObjectCache>,
) -> io::Result<FoundSegments> {
    let listed = objects.list()?;
    // A right that is missing is seen now, and not when a segment is uploaded or deleted.
    objects.probe(&folder.root().join("PROBE"))?;
    let started = format!("{:?}\n", SystemTime::now());
    objects.upload_content(&folder.root().join("STARTED"), started.into_bytes())?;
    adopt_files(folder, &listed, objects)?;
    let mut found = FoundSegments::default();
    let mut segments = BTreeMap::new();
    for (path, bytes) in &listed {
        let below = path.strip_prefix(folder.root()).unwrap_or(path);
        if let Some(name) = parse_segment(below, 0) {
            segments.insert(
                (name.first, name.last, name.hour),
                (name, path.clone(), *bytes),
            );
        }
        found.decisions.extend(parse_decisions(below));
        // The process ended while it deleted or uploaded a segment.
        let is_index = path.extension().is_some_and(|own| own == "index");
        let segment = path.with_extension("parquet");
        if is_index && !listed.contains_key(&segment) && !segment.exists() {
            found.discarded.push(DiscardedFile::new(path.clone(), None));
        }
    }
    for (name, path) in local {
        // Some were removed, because the object has another size.
        if let Ok(metadata) = path.metadata() {
            let key = (name.first, name.last, name.hour);
            segments.entry(key).or_insert((name, path, metadata.len()));
        }
    }
    let merged = merged_names(segments.values().map(|(name, ..)| *name));
    let paths: HashMap<SegmentName, PathBuf> = segments
        .values()
        .map(|(name, path, _)| (*name, path.clone()))
        .collect();
    for (name, path, bytes) in segments.into_values() {
        if let Some(replacement) = merged.get(&name) {
            let replacement = paths.get(replacement).cloned();
            found.discarded.push(DiscardedFile::new(path, replacement));
        } else {
            let file = StoredFile::new(path, Some(objects));
            found.segments.push((name, file, bytes));
        }
    }
    let indexes = found.segments.iter().map(|(_, file, _)| file.index());
    let indexes: Vec<StoredFile> = indexes.collect();
    let indexes = indexes.iter().map(StoredFile::path);
    objects.prefetch(indexes.filter(|path| listed.contains_key(*path)));
    Ok(found)
}

/// Takes note of the files that a former process left: copies of objects, and segments that are not
/// uploaded yet.
fn adopt_files(
    folder: &StoreFolder,
    listed: &HashMap<PathBuf, u64>,
    objects: &ObjectCache,
) -> io::Result<()> {
    for path in folder.segment_files()? {
        let segment = path.with_extension("parquet");
        let bytes = path.metadata()?.len();
        let is_uploaded = listed.contains_key(&segment);
        let is_other = is_uploaded && listed.get(&path).is_some_and(|own| *own != bytes);
        if is_other || !(is_uploaded || segment.exists()) {
            std::fs::remove_file(&path)?;
        } else {
            objects.adopt(&path, bytes, is_uploaded && listed.contains_key(&path));
        }
    }
    Ok(())
}

fn open_segments(
    found: Vec<(SegmentName, StoredFile, u64)>,
    cache: &IndexCache,
) -> io::Result<Vec<Arc<SealedSegment>>> {
    let mut segments = Vec::new();
    for (name, file, bytes) in found {
        let path = file.path().to_path_buf();
        let is_downloaded = file.is_downloaded();
        match SealedSegment::open(name, (file, bytes), &segments, cache) {
            Ok(segment) => segments.push(Arc::new(segment)),
            // The object store is away: without its segments the store would seem smaller.
            Err(SegmentError::Io(error))
                if is_downloaded && error.kind() != io::ErrorKind::NotFound =>
            {
                return Err(error);
            }
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
