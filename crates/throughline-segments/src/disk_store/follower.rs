//! Stores that other processes write, seen as one: their segments and their decisions, which are
//! looked for again and again.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use throughline_model::TraceId;
use throughline_store::WovenEdge;

use super::folder::{
    SegmentName, StoreFolder, StoreOpenError, is_merged, list_segments, list_stores, woven_log,
};
use super::inner::DiskStoreInner;
use super::sealed_segment::{IndexCache, SealedSegment, shared_with};
use super::settings::DiskSettings;
use super::sources::Sources;
use super::worker::Worker;
use super::woven_layer::{WovenLayer, decode};
use crate::request_log::LogRecords;

/// Maximum length of the new decisions of a store that are read at once.
const MAX_TAIL_BYTES: u64 = 64 << 20;

/// The state of a reader of stores that other processes write.
#[derive(Debug, Default)]
pub(super) struct StoreFollower {
    /// Numbers of the stores, which never change.
    numbers: HashMap<PathBuf, u32>,
    /// The decisions that were read of each store.
    decisions: HashMap<PathBuf, DecisionPosition>,
    /// Segments that were reported because they have no index.
    unindexed: HashSet<PathBuf>,
}

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
        let cache = IndexCache::new(settings.index_bytes());
        let sources = Sources {
            generations: Vec::new(),
            segments: Vec::new(),
            shared: Arc::new(HashSet::new()),
        };
        let inner = Self {
            folder: StoreFolder::of_others(root.to_path_buf()),
            settings,
            sources: RwLock::new(Arc::new(sources)),
            replacing: Mutex::default(),
            cache,
            woven: WovenLayer::of_others(),
            changes: Mutex::default(),
            worker: Worker::default(),
            is_full: false.into(),
            merged: Mutex::default(),
            evicted_traces: 0.into(),
            evicted_spans: 0.into(),
            evicted_joins: 0.into(),
        };
        let mut follower = StoreFollower::default();
        let unusable = |source| StoreOpenError::Unusable {
            path: root.to_path_buf(),
            source,
        };
        inner.refresh(&mut follower).map_err(unusable)?;
        Ok((inner, follower))
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
        }
    }

    fn refresh(&self, follower: &mut StoreFollower) -> io::Result<()> {
        let stores = list_stores(self.folder.root())?;
        let mut listed = Vec::new();
        for store in &stores {
            let number = follower.number_of(store);
            let segments = list_segments(store, number)?;
            let names: Vec<SegmentName> = segments.iter().map(|(name, _)| *name).collect();
            listed.extend(
                segments
                    .into_iter()
                    .filter(|(name, _)| !is_merged(*name, &names)),
            );
        }
        let added = self.replace_segments(follower, listed);
        if !added.is_empty() {
            self.record_changes(&added);
        }
        self.read_decisions(follower, &stores)?;
        // Traces may begin earlier with the spans that came.
        let view = self.view();
        let joined = added.into_iter().filter(|id| self.woven.is_joined(*id));
        let joined: Vec<TraceId> = joined.collect();
        self.woven
            .start_changed(joined.into_iter(), &|id| view.start_of(id));
        Ok(())
    }

    /// Replaces the segments by the listed ones; returns the traces of those that are new.
    fn replace_segments(
        &self,
        follower: &mut StoreFollower,
        listed: Vec<(SegmentName, PathBuf)>,
    ) -> Vec<TraceId> {
        follower
            .unindexed
            .retain(|path| listed.iter().any(|(_, other)| other == path));
        let former = self.sources();
        let known = former.segments.iter().map(|it| (it.path.as_path(), it));
        let known: HashMap<&Path, &Arc<SealedSegment>> = known.collect();
        let is_same = listed.len() == known.len()
            && listed
                .iter()
                .all(|(_, path)| known.contains_key(path.as_path()));
        if is_same {
            return Vec::new();
        }
        let mut segments: Vec<Arc<SealedSegment>> = Vec::new();
        let mut added = Vec::new();
        for (name, path) in listed {
            if let Some(segment) = known.get(path.as_path()) {
                segments.push(Arc::clone(segment));
            } else if let Some(segment) = SealedSegment::open_foreign(name, path.clone()) {
                added.push(segment);
            } else if follower.unindexed.insert(path.clone()) {
                tracing::warn!(
                    path = %path.display(),
                    "a segment is left out, because it has no index of this version; its owner \
                     builds it when it is started again"
                );
            }
        }
        let mut ids = Vec::new();
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
        ids
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
