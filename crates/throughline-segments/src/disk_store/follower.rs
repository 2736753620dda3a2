//! Stores that other processes write, seen as one: their segments and their decisions, which are
//! looked for again and again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use throughline_model::TraceId;
use throughline_store::StoreFreshness;

use super::decision_uploads::DecisionUploads;
use super::folder::{
    ListedDecisions, ObjectPath, SegmentName, StoreFolder, StoreOpenError, is_within,
    list_segments, list_stores, merged_names, parse_segment,
};
use super::followed_decisions::FollowedDecisions;
use super::inner::DiskStoreInner;
use super::sealed_segment::{IndexCache, SealedSegment, shared_with};
use super::settings::DiskSettings;
use super::sources::Sources;
use super::unopened::UnopenedFiles;
use super::worker::Worker;
use super::woven_layer::WovenLayer;
use crate::objects::{ObjectBucket, ObjectCache, StoredFile};
use crate::segment::SegmentError;

/// Traces of new segments that are recorded as changed: more than the log of changes has.
const MAX_LATEST: usize = 8192;

/// The state of a reader of stores that other processes write.
#[derive(Debug, Default)]
pub(super) struct StoreFollower {
    /// Numbers of the stores, which never change.
    numbers: HashMap<PathBuf, u32>,
    decisions: FollowedDecisions,
    unopened: UnopenedFiles,
}

/// A segment as it was found: its name, its path, and its size where it is an object.
type ListedSegment = (SegmentName, PathBuf, Option<u64>);

/// A segment whose index is not there, with the size of its file.
type UnindexedSegment = (SegmentName, (StoredFile, u64));

/// The traces of new segments, as far as others need to know. A node that starts has many.
#[derive(Debug, Default)]
struct AddedTraces {
    latest: VecDeque<TraceId>,
    /// Those that are joined with others, and may begin earlier with the spans that came.
    joined: Vec<TraceId>,
}

/// The largest ranges of generations that segments have, by store and first one. Ranges do not
/// overlap unless one has the other.
#[derive(Debug, Default)]
struct SegmentRanges(BTreeMap<(u32, u64), u64>);

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
        let woven = WovenLayer::of_others(settings.decision_bytes());
        Self {
            folder,
            settings,
            objects,
            decisions: Mutex::new(DecisionUploads::after(Vec::new())),
            sources: RwLock::new(Arc::new(sources)),
            replacing: Mutex::default(),
            cache,
            woven,
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
        let is_failing = looked.is_err() || follower.unopened.has_failures();
        let former = freshness.filter(|_| is_failing);
        *freshness = Some(StoreFreshness {
            last_start: starts.max(),
            refreshed: former.map_or(begun, |it| it.refreshed),
            is_failing,
        });
        looked
    }

    /// Looks for segments and decisions once. Files that cannot be read are left out, and the
    /// others are there.
    fn look(&self, follower: &mut StoreFollower) -> io::Result<()> {
        let joined = if let Some(objects) = &self.objects {
            let (segments, decisions) = list_objects(self.folder.root(), objects, follower)?;
            let joined = self.replace_segments(&mut follower.unopened, segments);
            let (followed, unopened) = (&mut follower.decisions, &mut follower.unopened);
            self.read_decision_objects(followed, unopened, decisions);
            joined
        } else {
            let stores = list_stores(self.folder.root())?;
            follower.unopened.retain(Path::exists);
            let mut listed: Vec<ListedSegment> = Vec::new();
            for store in &stores {
                let segments = list_segments(store, follower.number_of(store))?.into_iter();
                listed.extend(segments.map(|(name, path)| (name, path, None)));
            }
            let joined = self.replace_segments(&mut follower.unopened, listed);
            let (followed, unopened) = (&mut follower.decisions, &mut follower.unopened);
            self.read_decisions(followed, unopened, &stores);
            joined
        };
        // Traces may begin earlier with the spans that came.
        self.refresh_starts(joined);
        Ok(())
    }

    /// Replaces the segments by the listed ones; returns the joined traces of new ones. The parts
    /// of a merged segment are there until it is open itself.
    fn replace_segments(
        &self,
        unopened: &mut UnopenedFiles,
        listed: Vec<ListedSegment>,
    ) -> Vec<TraceId> {
        let former = self.sources();
        let known = former.segments.iter().map(|it| (it.file.path(), it));
        let known: HashMap<&Path, &Arc<SealedSegment>> = known.collect();
        let paths: HashSet<PathBuf> = listed.iter().map(|(_, path, _)| path.clone()).collect();
        let all = SegmentRanges::of(listed.iter().map(|(name, ..)| *name));
        let is_known = |(_, path, _): &&ListedSegment| known.contains_key(path.as_path());
        let mut open = SegmentRanges::of(listed.iter().filter(is_known).map(|(name, ..)| *name));
        let merged = merged_names(listed.iter().map(|(name, ..)| *name));
        let mut new = listed;
        new.retain(|it| !is_known(&it));
        // Those that failed come last, and what was merged after the one that has it.
        new.sort_by_key(|(name, path, _)| {
            let range = (name.folder, name.first, Reverse(name.last));
            (unopened.contains(path), range)
        });
        let is_first = |(name, path, _): &&ListedSegment| {
            !(merged.contains_key(name) || unopened.contains(path))
        };
        self.prefetch_indexes(new.iter().filter(is_first));
        let mut added = Vec::new();
        let mut unindexed = Vec::new();
        for (name, path, bytes) in new {
            if open.has_larger(name) {
                continue;
            }
            let file = StoredFile::new(path, self.objects.as_ref());
            if let Some(segment) = self.open_foreign(unopened, &mut unindexed, name, (file, bytes))
            {
                open.add(name);
                added.push(segment);
            }
        }
        let mut segments = former.segments.clone();
        // An older list may be that of a segment that cannot be opened yet, without its parts.
        segments.retain(|it| {
            let is_needed = paths.contains(it.file.path()) || all.has_larger(it.name);
            is_needed && !open.has_larger(it.name)
        });
        added.retain(|it| !open.has_larger(it.name));
        let is_same = segments.len() == former.segments.len();
        let mut ids = self.add_segments(&mut segments, added, unindexed, unopened);
        if is_same && ids.latest.is_empty() {
            return Vec::new();
        }
        // By hour: the order in which spans of several stores came is not known.
        segments.sort_by_key(|it| (it.name.hour, it.name.folder, it.name.first));
        self.replace(|sources| {
            sources.segments = segments;
            sources.refresh_shared();
        });
        if !ids.latest.is_empty() {
            self.record_changes(ids.latest.make_contiguous());
        }
        ids.joined
    }

    fn prefetch_indexes<'a>(&self, segments: impl Iterator<Item = &'a ListedSegment>) {
        if let Some(objects) = &self.objects {
            let indexes = segments.map(|(_, path, _)| path.with_extension("index"));
            let indexes: Vec<PathBuf> = indexes.collect();
            objects.prefetch(indexes.iter().map(PathBuf::as_path));
        }
    }

    /// Opens a segment, if it can be read. One whose index is gone is added to `unindexed`.
    fn open_foreign(
        &self,
        unopened: &mut UnopenedFiles,
        unindexed: &mut Vec<UnindexedSegment>,
        name: SegmentName,
        (file, bytes): (StoredFile, Option<u64>),
    ) -> Option<SealedSegment> {
        let path = file.path().to_path_buf();
        let bytes = bytes.or_else(|| Some(path.metadata().ok()?.len()))?;
        if self.objects.is_some() {
            let index = file.index();
            if unopened.is_waiting(&path) || index.is_paused() {
                return None;
            }
            match index.open() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // At first the list may be older than the deletion of the segment.
                    if !unopened.note(&path, false) {
                        unindexed.push((name, (file, bytes)));
                    }
                    return None;
                }
                Err(error) => {
                    unopened.note_failure(&path, &error);
                    return None;
                }
            }
        }
        let segment = SealedSegment::open_foreign(name, (file, bytes));
        if segment.is_some() {
            unopened.forget(&path);
        } else if unopened.note(&path, false) {
            tracing::warn!(
                path = %path.display(),
                "a segment is left out, because it has no index of this version; its owner builds \
                 it when it is started again"
            );
        }
        segment
    }

    /// Adds new segments, and those whose index has to be built; returns their traces.
    fn add_segments(
        &self,
        segments: &mut Vec<Arc<SealedSegment>>,
        added: Vec<SealedSegment>,
        unindexed: Vec<UnindexedSegment>,
        unopened: &mut UnopenedFiles,
    ) -> AddedTraces {
        let mut ids = AddedTraces::default();
        for mut segment in added {
            let own = segment.index(&self.cache);
            let own_ids = || own.traces.iter().map(|trace| trace.id);
            // Its owner has compared it with the earlier segments of the same store.
            let others = segments.iter();
            let others = others.filter(|it| it.name.folder != segment.name.folder);
            let others: Vec<_> = others.cloned().collect();
            let shared = shared_with(own_ids(), &others, &self.cache);
            segment.header.shared.extend(shared);
            ids.extend(own_ids(), &self.woven);
            segments.push(Arc::new(segment));
        }
        for (name, (file, bytes)) in unindexed {
            let path = file.path().to_path_buf();
            match SealedSegment::open(name, (file, bytes), segments, &self.cache) {
                Ok(segment) => {
                    let path = path.display();
                    tracing::warn!(%path, "the index of a segment is missing, and was built here");
                    let built = SegmentRanges::of([name].into_iter());
                    segments.retain(|it| !built.has_larger(it.name));
                    let index = segment.index(&self.cache);
                    ids.extend(index.traces.iter().map(|trace| trace.id), &self.woven);
                    segments.push(Arc::new(segment));
                }
                // Both are gone.
                Err(SegmentError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => unopened.note_failure(&path, &error),
            }
        }
        ids
    }
}

// === impl AddedTraces ===

impl AddedTraces {
    fn extend(&mut self, ids: impl Iterator<Item = TraceId>, woven: &WovenLayer) {
        for id in ids {
            if woven.is_joined(id) {
                self.joined.push(id);
            }
            if self.latest.len() == MAX_LATEST {
                self.latest.pop_front();
            }
            self.latest.push_back(id);
        }
    }
}

// === impl SegmentRanges ===

impl SegmentRanges {
    fn of(names: impl Iterator<Item = SegmentName>) -> Self {
        let mut ranges = Self::default();
        names.for_each(|name| ranges.add(name));
        ranges
    }

    fn add(&mut self, name: SegmentName) {
        if self.has_larger(name) {
            return;
        }
        let inner = self.0.range((name.folder, name.first)..);
        let inner =
            inner.take_while(|((folder, first), _)| *folder == name.folder && *first <= name.last);
        let inner: Vec<(u32, u64)> = inner.map(|(key, _)| *key).collect();
        for key in inner {
            self.0.remove(&key);
        }
        self.0.insert((name.folder, name.first), name.last);
    }

    /// Returns whether there is a larger range that has this one.
    fn has_larger(&self, name: SegmentName) -> bool {
        let before = self.0.range((name.folder, 0)..=(name.folder, name.first));
        let nearest = before.last().map(|((_, first), last)| (*first, *last));
        nearest.is_some_and(|range| is_within((name.first, name.last), range))
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
    let listed = objects.list()?;
    follower.unopened.retain(|path| listed.contains_key(path));
    let mut listed: Vec<(PathBuf, u64)> = listed.into_iter().collect();
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
