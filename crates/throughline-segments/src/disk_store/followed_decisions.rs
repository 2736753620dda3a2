//! Decisions of stores that other processes write.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use throughline_store::WovenEdge;

use super::folder::{ListedDecisions, StoreFolder, outermost_decisions, woven_log};
use super::inner::DiskStoreInner;
use super::unopened::UnopenedFiles;
use super::woven_layer::decode;
use crate::objects::StoredFile;
use crate::request_log::LogRecords;

/// Maximum length of the new decisions of a store that are read at once.
const MAX_TAIL_BYTES: u64 = 64 << 20;

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

// === impl DiskStoreInner ===

impl DiskStoreInner {
    /// Reads the decisions of objects that are new, and all of them again when an owner has written
    /// its log again, or is gone; not until all can be read.
    pub(super) fn read_decision_objects(
        &self,
        followed: &mut FollowedDecisions,
        unopened: &mut UnopenedFiles,
        listed: Vec<ListedDecisions>,
    ) {
        let current = outermost_decisions(listed);
        let path = |(store, numbers): &ListedDecisions| {
            StoreFolder::of_others(store.clone()).decisions(*numbers)
        };
        let current: Vec<(PathBuf, &ListedDecisions)> =
            current.iter().map(|it| (path(it), it)).collect();
        let stores: HashSet<&Path> = current.iter().map(|(_, it)| it.0.as_path()).collect();
        let is_gone = followed.objects.iter().any(|known| {
            let store = known.parent().and_then(Path::parent);
            store.is_none_or(|store| !stores.contains(store))
        });
        let is_new = |path: &PathBuf| !followed.objects.contains(path);
        // The first one is another one when the log was written again.
        let is_rewritten = current.iter().any(|(path, it)| it.1.0 == 0 && is_new(path));
        let is_outdated = followed.is_outdated || is_gone || is_rewritten;
        let wanted = current
            .iter()
            .filter(|(path, _)| is_outdated || is_new(path));
        let wanted: Vec<&PathBuf> = wanted.map(|(path, _)| path).collect();
        let opened = wanted.iter().filter_map(|path| {
            let file = self.open_decisions(path, unopened)?;
            Some((*path, file))
        });
        let mut opened: Vec<(&PathBuf, File)> = opened.collect();
        followed.is_outdated = is_outdated && opened.len() < wanted.len();
        if followed.is_outdated {
            opened.retain(|(path, _)| is_new(path));
        } else if is_outdated {
            self.woven.clear();
        }
        for (path, file) in opened {
            match self.keep_decisions(file) {
                Ok(()) => {
                    followed.objects.insert(path.clone());
                }
                Err(error) => unopened.note_failure(path, &error),
            }
        }
        let listed: HashSet<&PathBuf> = current.iter().map(|(path, _)| path).collect();
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
    fn keep_decisions(&self, mut file: File) -> io::Result<()> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.take(MAX_TAIL_BYTES).read_to_end(&mut bytes)?;
        let read = LogRecords::read_part(&bytes);
        let edges = read.records.iter().flat_map(|it| decode(it.payload));
        self.keep_edges(&edges.collect::<Vec<_>>());
        Ok(())
    }

    fn keep_edges(&self, edges: &[WovenEdge]) {
        let view = self.view();
        self.woven.keep(edges, &|id| view.start_of(id));
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
            match read_tail(&path, followed.logs.get(store).copied()) {
                Ok(Some((position, edges))) => {
                    followed.logs.insert(store.clone(), position);
                    self.keep_edges(&edges);
                    unopened.forget(&path);
                }
                Ok(None) => unopened.forget(&path),
                Err(error) => unopened.note_failure(&path, &error),
            }
        }
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
