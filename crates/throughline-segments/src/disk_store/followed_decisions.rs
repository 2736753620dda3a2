//! Decisions of stores that other processes write.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use throughline_store::WovenEdge;

use super::decision_codec::decode;
use super::folder::{ListedDecisions, StoreFolder, outermost_decisions, woven_log};
use super::inner::DiskStoreInner;
use super::unopened::UnopenedFiles;
use crate::objects::StoredFile;
use crate::request_log::LogReader;

/// The decisions that were read.
#[derive(Debug, Default)]
pub(super) struct FollowedDecisions {
    /// How much of the log of each store.
    logs: HashMap<PathBuf, DecisionPosition>,
    /// The objects.
    objects: HashSet<PathBuf>,
    /// Whether all have to be read again, because some of them count no more.
    is_outdated: bool,
}

/// A file of decisions, and the part of it that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DecisionPosition {
    inode: u64,
    bytes: u64,
}

/// An object with decisions that is in the list.
#[derive(Debug)]
struct ListedObject {
    path: PathBuf,
    store: PathBuf,
    /// Number of the first upload that it has.
    first: u64,
}

// === impl FollowedDecisions ===

impl FollowedDecisions {
    fn is_new(&self, object: &ListedObject) -> bool {
        !self.objects.contains(&object.path)
    }

    /// Returns whether a later object of the same store was read.
    fn has_later(&self, object: &ListedObject, listed: &[ListedObject]) -> bool {
        let is_later = |it: &&ListedObject| it.store == object.store && it.first > object.first;
        listed.iter().filter(is_later).any(|it| !self.is_new(it))
    }

    /// Returns whether decisions that were read count no more, or would come behind later ones.
    fn must_read_again(&self, listed: &[ListedObject]) -> bool {
        let stores: HashSet<&Path> = listed.iter().map(|it| it.store.as_path()).collect();
        let is_gone = self.objects.iter().any(|known| {
            let store = known.parent().and_then(Path::parent);
            store.is_none_or(|store| !stores.contains(store))
        });
        let mut new = listed.iter().filter(|it| self.is_new(it));
        // The first one is another one when the log was written again.
        is_gone || new.any(|it| it.first == 0 || self.has_later(it, listed))
    }
}

// === impl DiskStoreInner ===

impl DiskStoreInner {
    /// Reads the decisions of objects that are new, in their order, and all of them again when an
    /// owner has written its log again, or is gone; not until all can be read. Behind an object
    /// that cannot be read, the others of its store wait: it may have decisions that they replace.
    pub(super) fn read_decision_objects(
        &self,
        followed: &mut FollowedDecisions,
        unopened: &mut UnopenedFiles,
        listed: Vec<ListedDecisions>,
    ) {
        let current = outermost_decisions(listed);
        let current = current.into_iter().map(|(store, numbers)| {
            let path = StoreFolder::of_others(store.clone()).decisions(numbers);
            ListedObject {
                path,
                store,
                first: numbers.0,
            }
        });
        let current: Vec<ListedObject> = current.collect();
        let is_outdated = followed.is_outdated || followed.must_read_again(&current);
        let wanted = current.iter();
        let wanted = wanted.filter(|it| is_outdated || followed.is_new(it));
        let wanted: Vec<&ListedObject> = wanted.collect();
        let mut behind_gap: HashSet<&Path> = HashSet::new();
        let mut opened: Vec<(&ListedObject, File)> = Vec::new();
        for object in &wanted {
            if behind_gap.contains(object.store.as_path()) {
                continue;
            }
            match self.open_decisions(&object.path, unopened) {
                Some(file) => opened.push((object, file)),
                None => drop(behind_gap.insert(&object.store)),
            }
        }
        followed.is_outdated = is_outdated && opened.len() < wanted.len();
        if followed.is_outdated {
            opened.retain(|(object, _)| {
                followed.is_new(object) && !followed.has_later(object, &current)
            });
        } else if is_outdated {
            self.woven.clear();
            followed.objects.clear();
        }
        let mut failed: HashSet<&Path> = HashSet::new();
        for (object, file) in opened {
            if failed.contains(object.store.as_path()) {
                continue;
            }
            match self.keep_decisions(file) {
                Ok(()) => drop(followed.objects.insert(object.path.clone())),
                Err(error) => {
                    failed.insert(&object.store);
                    unopened.note_failure(&object.path, &error);
                }
            }
        }
        let listed: HashSet<&PathBuf> = current.iter().map(|it| &it.path).collect();
        followed.objects.retain(|path| listed.contains(path));
    }

    /// Opens an object with decisions; `None` when it is to be tried later.
    fn open_decisions(&self, path: &Path, unopened: &mut UnopenedFiles) -> Option<File> {
        let file = StoredFile::new(path.to_path_buf(), self.objects.as_ref());
        if unopened.is_waiting(path) || file.is_paused() {
            return None;
        }
        match file.open() {
            Ok(file) => {
                unopened.forget(path);
                Some(file)
            }
            // A later one has what it had; the next list shows it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                unopened.note_failure(path, &error);
                None
            }
        }
    }

    /// Keeps all decisions of an object.
    fn keep_decisions(&self, file: File) -> io::Result<()> {
        let mut reader = LogReader::new(file, 0)?;
        while let Some(payload) = reader.next_payload()? {
            self.keep_edges(&decode(&payload));
        }
        Ok(())
    }

    fn keep_edges(&self, edges: &[WovenEdge]) {
        let view = self.view();
        let lost = self.woven.keep(edges, &|id| view.start_of(id));
        self.evicted_joins.fetch_add(lost, Ordering::Relaxed);
    }

    /// Reads the decisions that were added, and all of them again when an owner has rewritten its
    /// file.
    pub(super) fn read_decisions(
        &self,
        followed: &mut FollowedDecisions,
        unopened: &mut UnopenedFiles,
        stores: &[PathBuf],
    ) {
        let is_rewritten = stores.iter().any(|store| {
            let former = followed.logs.get(store);
            let now = woven_log(store).metadata().ok();
            former
                .zip(now)
                .is_some_and(|(former, now)| former.inode != now.ino() || former.bytes > now.len())
        });
        let is_gone = followed.logs.keys().any(|known| !stores.contains(known));
        if is_rewritten || is_gone {
            followed.logs.clear();
            self.woven.clear();
        }
        for store in stores {
            let path = woven_log(store);
            if unopened.is_waiting(&path) {
                continue;
            }
            match self.read_tail(&path, followed.logs.get(store).copied()) {
                Ok(Some(position)) => {
                    followed.logs.insert(store.clone(), position);
                    unopened.forget(&path);
                }
                Ok(None) => unopened.forget(&path),
                Err(error) => unopened.note_failure(&path, &error),
            }
        }
    }

    /// Reads the decisions behind a position; returns the one behind them, and `None` when there
    /// are none.
    fn read_tail(
        &self,
        path: &Path,
        former: Option<DecisionPosition>,
    ) -> io::Result<Option<DecisionPosition>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        // Rewritten just now: all of it is read the next time.
        let is_other = former.is_some_and(|it| it.inode != metadata.ino());
        if is_other || metadata.len() <= former.map_or(0, |it| it.bytes) {
            return Ok(None);
        }
        let mut reader = match former {
            Some(former) if former.bytes > 0 => LogReader::new(file, former.bytes)?,
            _ => LogReader::of_log(file)?,
        };
        while let Some(payload) = reader.next_payload()? {
            self.keep_edges(&decode(&payload));
        }
        Ok(Some(DecisionPosition {
            inode: metadata.ino(),
            bytes: reader.intact_bytes(),
        }))
    }
}
