//! Stores that other processes write, seen as one: their segments and their decisions, which are
//! looked for again and again.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use throughline_model::TraceId;
use throughline_store::{StoreFreshness, WovenEdge};

use super::decision_uploads::DecisionUploads;
use super::folder::{
    ObjectPath, SegmentName, StoreFolder, StoreOpenError, is_within, list_segments, list_stores,
    merged_names, parse_segment, woven_log,
};
use super::inner::DiskStoreInner;
use super::sealed_segment::{IndexCache, SealedSegment, shared_with};
use super::settings::DiskSettings;
use super::sources::Sources;
use super::worker::Worker;
use super::woven_layer::{WovenLayer, decode};
use crate::objects::{ObjectBucket, ObjectCache, StoredFile};
use crate::request_log::LogRecords;

/// Maximum length of the new decisions of a store that are read at once.
const MAX_TAIL_BYTES: u64 = 64 << 20;

/// Time until an index of another version is downloaded again.
const UNINDEXED_INTERVAL: Duration = Duration::from_secs(60);

/// The state of a reader of stores that other processes write.
#[derive(Debug, Default)]
pub(super) struct StoreFollower {
    /// Numbers of the stores, which never change.
    numbers: HashMap<PathBuf, u32>,
    /// The decisions that were read of each store.
    decisions: HashMap<PathBuf, DecisionPosition>,
    /// Segments that were reported because they have no index, and when it was looked for.
    unindexed: HashMap<PathBuf, Instant>,
    /// The objects with decisions that were read.
    decision_objects: HashSet<PathBuf>,
}

/// A segment as it was found: its name, its path, and its size where it is an object.
type ListedSegment = (SegmentName, PathBuf, Option<u64>);

/// An object with decisions: its store, and the numbers of the uploads that it has.
type ListedDecisions = (PathBuf, (u64, u64));

/// A file of decisions, and the part of it that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DecisionPosition {
    inode: u64,
    bytes: u64,
}

// === impl DiskStoreInner ===

impl DiskStoreInner {
    pub(super) fn open_query_only(
        root: &Path,
        settings: DiskSettings,
    ) -> Result<(Self, StoreFollower), StoreOpenError> {
        let folder = StoreFolder::of_others(root.to_path_buf());
        let inner = Self::of_others(folder, None, settings);
        let mut follower = StoreFollower::default();
        let unusable = |source| StoreOpenError::Unusable {
            path: root.to_path_buf(),
            source,
        };
        inner.refresh(&mut follower).map_err(unusable)?;
        Ok((inner, follower))
    }

    pub(super) fn open_query_only_objects(
        root: &Path,
        bucket: Arc<dyn ObjectBucket>,
        settings: DiskSettings,
    ) -> Result<(Self, StoreFollower), StoreOpenError> {
        let folder = StoreFolder::open_cache(root)?;
        let url = bucket.url();
        let (max_bytes, prefix) = (settings.max_local_bytes, String::new());
        let objects = ObjectCache::new(root.to_path_buf(), prefix, bucket, max_bytes, false);
        let adopted = objects.adopt_all(|path| ObjectPath::parse(path, root).is_some());
        adopted.map_err(|source| StoreOpenError::Unusable {
            path: root.to_path_buf(),
            source,
        })?;
        let inner = Self::of_others(folder, Some(Arc::new(objects)), settings);
        let mut follower = StoreFollower::default();
        let refreshed = inner.refresh(&mut follower);
        refreshed.map_err(|error| StoreOpenError::Objects { url, error })?;
        Ok((inner, follower))
    }

    fn of_others(
        folder: StoreFolder,
        objects: Option<Arc<ObjectCache>>,
        settings: DiskSettings,
    ) -> Self {
        let cache = IndexCache::new(settings.index_bytes());
        let sources = Sources {
            generations: Vec::new(),
            segments: Vec::new(),
            shared: Arc::new(HashSet::new()),
        };
        Self {
            folder,
            settings,
            objects,
            decisions: Mutex::new(DecisionUploads::after(Vec::new())),
            sources: RwLock::new(Arc::new(sources)),
            replacing: Mutex::default(),
            cache,
            woven: WovenLayer::of_others(),
            changes: Mutex::default(),
            worker: Worker::default(),
            is_full: false.into(),
            has_backlog: false.into(),
            discarded: Mutex::default(),
            late_starts: Mutex::default(),
            evicted_traces: 0.into(),
            evicted_spans: 0.into(),
            evicted_joins: 0.into(),
            freshness: Mutex::default(),
        }
    }

    /// Looks for segments and decisions until the store is closed.
    pub(super) fn follow(&self, follower: &mut StoreFollower) {
        let mut is_failing = false;
        while !self.worker.pause(self.settings.refresh_interval) {
            let refreshed = self.refresh(follower);
            if let (Err(error), false) = (&refreshed, is_failing) {
                let folder = self.folder.root().display();
                tracing::error!(%folder, %error, "new segments cannot be looked for");
            }
            is_failing = refreshed.is_err();
            self.make_room();
        }
    }

    fn refresh(&self, follower: &mut StoreFollower) -> io::Result<()> {
        // Before the look: what comes during it may not be seen.
        let begun = SystemTime::now().duration_since(UNIX_EPOCH);
        let begun = u64::try_from(begun.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
        let looked = self.look(follower);
        let sources = self.sources();
        let starts = sources.segments.iter().map(|it| it.header.last_start);
        let mut freshness = self.freshness();
        let former = freshness.filter(|_| looked.is_err());
        *freshness = Some(StoreFreshness {
            last_start: starts.max(),
            refreshed: former.map_or(begun, |it| it.refreshed),
            is_failing: looked.is_err(),
        });
        looked
    }

    /// Looks for segments and decisions once.
    fn look(&self, follower: &mut StoreFollower) -> io::Result<()> {
        let mut added = Vec::new();
        if let Some(objects) = &self.objects {
            let (segments, decisions) = list_objects(self.folder.root(), objects, follower)?;
            let replaced = self.replace_segments(follower, segments, &mut added);
            self.record_changes_of(&added);
            replaced?;
            self.read_decision_objects(follower, &decisions)?;
        } else {
            let stores = list_stores(self.folder.root())?;
            let mut listed: Vec<ListedSegment> = Vec::new();
            for store in &stores {
                let segments = list_segments(store, follower.number_of(store))?.into_iter();
                listed.extend(segments.map(|(name, path)| (name, path, None)));
            }
            self.replace_segments(follower, listed, &mut added)?;
            self.record_changes_of(&added);
            self.read_decisions(follower, &stores)?;
        }
        // Traces may begin earlier with the spans that came.
        let joined = added.into_iter().filter(|id| self.woven.is_joined(*id));
        self.refresh_starts(joined);
        Ok(())
    }

    fn record_changes_of(&self, added: &[TraceId]) {
        if !added.is_empty() {
            self.record_changes(added);
        }
    }

    /// Replaces the segments by the listed ones; adds the traces of those that are new to `ids`.
    /// After an error those that could be read are there.
    fn replace_segments(
        &self,
        follower: &mut StoreFollower,
        mut listed: Vec<ListedSegment>,
        ids: &mut Vec<TraceId>,
    ) -> io::Result<()> {
        let merged = merged_names(listed.iter().map(|(name, ..)| *name));
        listed.retain(|(name, ..)| !merged.contains_key(name));
        follower
            .unindexed
            .retain(|path, _| listed.iter().any(|(_, other, _)| other == path));
        let former = self.sources();
        let known = former.segments.iter().map(|it| (it.file.path(), it));
        let known: HashMap<&Path, &Arc<SealedSegment>> = known.collect();
        let (old, new): (Vec<_>, Vec<_>) = listed
            .into_iter()
            .partition(|(_, path, _)| known.contains_key(path.as_path()));
        if old.len() == known.len() && new.is_empty() {
            return Ok(());
        }
        let old = old
            .iter()
            .filter_map(|(_, path, _)| known.get(path.as_path()));
        let mut segments: Vec<Arc<SealedSegment>> = old.map(|it| Arc::clone(it)).collect();
        let mut added = Vec::new();
        let opened = self.open_new(follower, new, &mut added);
        for mut segment in added {
            let own = segment.index(&self.cache);
            let own_ids = || own.traces.iter().map(|trace| trace.id);
            // Its owner has compared it with the earlier segments of the same store.
            let others = segments.iter();
            let others = others.filter(|it| it.name.folder != segment.name.folder);
            let others: Vec<_> = others.cloned().collect();
            let shared = shared_with(own_ids(), &others, &self.cache);
            segment.header.shared.extend(shared);
            ids.extend(own_ids());
            segments.push(Arc::new(segment));
        }
        // By hour: the order in which spans of several stores came is not known.
        segments.sort_by_key(|it| (it.name.hour, it.name.folder, it.name.first));
        self.replace(|sources| {
            sources.segments = segments;
            sources.refresh_shared();
        });
        opened
    }

    /// Opens new segments, up to the first error of an object store.
    fn open_new(
        &self,
        follower: &mut StoreFollower,
        new: Vec<ListedSegment>,
        added: &mut Vec<SealedSegment>,
    ) -> io::Result<()> {
        if let Some(objects) = &self.objects {
            let indexes = new
                .iter()
                .map(|(_, path, _)| (path.with_extension("index"), 0));
            objects.prefetch(&indexes.collect::<Vec<_>>());
        }
        for (name, path, bytes) in new {
            let looked = follower.unindexed.get(&path);
            let is_waiting = looked.is_some_and(|it| it.elapsed() < UNINDEXED_INTERVAL);
            if self.objects.is_some() && is_waiting {
                continue;
            }
            let file = StoredFile::new(path.clone(), self.objects.as_ref());
            if self.objects.is_some() {
                match file.index().open() {
                    Ok(_) => {}
                    // The list is older than the deletion of the segment.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            let bytes = bytes.or_else(|| Some(path.metadata().ok()?.len()));
            let segment = bytes.and_then(|bytes| SealedSegment::open_foreign(name, (file, bytes)));
            if let Some(segment) = segment {
                added.push(segment);
            } else if follower
                .unindexed
                .insert(path.clone(), Instant::now())
                .is_none()
            {
                tracing::warn!(
                    path = %path.display(),
                    "a segment is left out, because it has no index of this version; its owner \
                     builds it when it is started again"
                );
            }
        }
        Ok(())
    }

    /// Reads the decisions of objects that are new, and all of them again when an owner has written
    /// its log again, or is gone.
    fn read_decision_objects(
        &self,
        follower: &mut StoreFollower,
        listed: &[ListedDecisions],
    ) -> io::Result<()> {
        let is_merged = |(store, range): &ListedDecisions| {
            let mut others = listed.iter().filter(|(other, _)| other == store);
            others.any(|(_, other)| is_within(*range, *other))
        };
        let mut current: Vec<&ListedDecisions> =
            listed.iter().filter(|it| !is_merged(it)).collect();
        current.sort_unstable();
        let path = |it: &ListedDecisions| StoreFolder::of_others(it.0.clone()).decisions(it.1);
        let paths: HashSet<PathBuf> = current.iter().map(|it| path(it)).collect();
        let is_new = |it: &ListedDecisions| !follower.decision_objects.contains(&path(it));
        let stores: HashSet<&PathBuf> = current.iter().map(|(store, _)| store).collect();
        let mut known = follower.decision_objects.iter();
        let is_gone = known.any(|known| {
            let store = known.parent().and_then(Path::parent);
            store.is_none_or(|store| !stores.iter().any(|it| it.as_path() == store))
        });
        let is_rewritten = current.iter().any(|it| it.1.0 == 0 && is_new(it));
        let is_all = is_gone || is_rewritten;
        let read = current.into_iter().filter(|it| is_all || is_new(it));
        let read = read.map(|it| read_object(&StoredFile::new(path(it), self.objects.as_ref())));
        let edges: Vec<WovenEdge> = read.collect::<io::Result<Vec<_>>>()?.concat();
        if is_all {
            self.woven.clear();
        }
        follower.decision_objects = paths;
        let view = self.view();
        self.woven.keep(&edges, &|id| view.start_of(id));
        Ok(())
    }

    /// Reads the decisions that were added, and all of them again when an owner has rewritten its
    /// file.
    fn read_decisions(&self, follower: &mut StoreFollower, stores: &[PathBuf]) -> io::Result<()> {
        let is_rewritten = stores.iter().any(|store| {
            let former = follower.decisions.get(store);
            let now = woven_log(store).metadata().ok();
            former
                .zip(now)
                .is_some_and(|(former, now)| former.inode != now.ino() || former.bytes > now.len())
        });
        let is_gone = follower
            .decisions
            .keys()
            .any(|known| !stores.contains(known));
        if is_rewritten || is_gone {
            follower.decisions.clear();
            self.woven.clear();
        }
        for store in stores {
            let former = follower.decisions.get(store).copied();
            if let Some((position, edges)) = read_tail(&woven_log(store), former)? {
                follower.decisions.insert(store.clone(), position);
                let view = self.view();
                self.woven.keep(&edges, &|id| view.start_of(id));
            }
        }
        Ok(())
    }
}

// === impl StoreFollower ===

impl StoreFollower {
    fn number_of(&mut self, store: &Path) -> u32 {
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        *self.numbers.entry(store.to_path_buf()).or_insert(next)
    }
}

/// Lists the segments in a bucket, and the objects with decisions.
fn list_objects(
    root: &Path,
    objects: &ObjectCache,
    follower: &mut StoreFollower,
) -> io::Result<(Vec<ListedSegment>, Vec<ListedDecisions>)> {
    let (mut segments, mut decisions) = (Vec::new(), Vec::new());
    let mut listed: Vec<(PathBuf, u64)> = objects.list()?.into_iter().collect();
    listed.sort_unstable();
    for (path, bytes) in listed {
        match ObjectPath::parse(&path, root) {
            Some(ObjectPath::Decisions(store, numbers)) => {
                decisions.push((store.to_path_buf(), numbers));
            }
            Some(ObjectPath::Segment(store)) => {
                let below = path.strip_prefix(store).unwrap_or(&path);
                // The name is that of a segment, and not of its index.
                let name = parse_segment(below, follower.number_of(store));
                segments.extend(name.map(|name| (name, path.clone(), Some(bytes))));
            }
            None => {}
        }
    }
    Ok((segments, decisions))
}

/// Reads all decisions of an object.
fn read_object(file: &StoredFile) -> io::Result<Vec<WovenEdge>> {
    let mut bytes = Vec::new();
    let mut content = match file.open() {
        Ok(file) => file,
        // A later one has what it had; the next list shows it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    content.seek(SeekFrom::Start(0))?;
    content.take(MAX_TAIL_BYTES).read_to_end(&mut bytes)?;
    let read = LogRecords::read_part(&bytes);
    Ok(read
        .records
        .iter()
        .flat_map(|it| decode(it.payload))
        .collect())
}

/// Reads the decisions behind a position; `None` when there are none.
fn read_tail(
    path: &Path,
    former: Option<DecisionPosition>,
) -> io::Result<Option<(DecisionPosition, Vec<WovenEdge>)>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    let start = former.map_or(0, |it| it.bytes);
    // Rewritten just now: all of it is read the next time.
    let is_other = former.is_some_and(|it| it.inode != metadata.ino());
    if is_other || metadata.len() <= start {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(MAX_TAIL_BYTES).read_to_end(&mut bytes)?;
    let read = if start == 0 {
        LogRecords::read(&bytes)
    } else {
        LogRecords::read_part(&bytes)
    };
    let edges = read.records.iter().flat_map(|it| decode(it.payload));
    let position = DecisionPosition {
        inode: metadata.ino(),
        bytes: start + read.intact_bytes as u64,
    };
    Ok(Some((position, edges.collect())))
}
