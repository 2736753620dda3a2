//! The folder of a store: its lock, and the names in it.
//!
//! ```text
//! LOCK                                         held by the process that owns the folder
//! log/<generation>.log                         requests that are in no segment yet
//! segments/2026-11-29T22/<first>-<last>.parquet  the spans of these generations
//! segments/2026-11-29T22/<first>-<last>.index    can be deleted
//! woven.log                                    decisions about parents
//! OBJECTS                                      the URL and the prefix of its objects
//! COPIES                                       all else in the folder are copies of objects
//! ```
//!
//! With an object store, `segments` has those that are not uploaded yet, and copies of others. The
//! objects have the same names below the prefix of the folder, and decisions are in
//! `woven/<first>-<last>.log`: those of the uploads with these numbers.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fs::{File, TryLockError};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use time::{Date, Month, OffsetDateTime};

use crate::objects::is_incomplete;

/// Name of the folder with the segments of a store.
const SEGMENTS: &str = "segments";

/// Name of the folder with the objects that have decisions.
const WOVEN: &str = "woven";

/// Name of the file that names the objects of a folder.
const OBJECTS: &str = "OBJECTS";

/// Name of the file in a folder that has copies of the objects of others, and nothing else.
const COPIES: &str = "COPIES";

/// Content of that file, for those who find it.
const COPIES_TEXT: &str = "Copies of objects, which a query node of Throughline may delete.\n";

/// Name of the file that the owner of a folder locks.
const LOCK: &str = "LOCK";

/// The reason for which a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    /// Another process has the folder.
    #[error(
        "{} is in use by another process; stop it, or choose another folder with --data (for \
         objects with --local-folder)",
        .0.display()
    )]
    InUse(PathBuf),
    /// The folder cannot be used.
    #[error("cannot use {}: {source}; choose another folder with --data", path.display())]
    Unusable {
        /// Folder or file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The object store cannot be used.
    #[error("cannot use {url}: {error}; {}", remedy(error))]
    Objects {
        /// URL of the bucket.
        url: String,
        /// Error of the object store.
        error: io::Error,
    },
    /// The folder belongs to objects elsewhere.
    #[error(
        "{} has traces of {url}; use it with --data {url} and --local-folder, or choose another \
         folder",
        path.display()
    )]
    OtherObjects {
        /// Folder.
        path: PathBuf,
        /// URL of its bucket.
        url: String,
    },
    /// A folder for copies, which are deleted to make room, has files of others.
    #[error(
        "{} has {found}, and a query node deletes files in its folder to make room; choose an \
         empty one with --local-folder",
        path.display()
    )]
    NotCopies {
        /// Folder.
        path: PathBuf,
        /// Description of what it has.
        found: &'static str,
    },
    /// The folder has the copies of a query node, which would delete what a store writes there.
    #[error(
        "{} has the copies of a query node; choose another folder with --data (for objects with \
         --local-folder)",
        .0.display()
    )]
    HasCopies(PathBuf),
}

/// Returns the remedy for an error of an object store.
fn remedy(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::FileTooLarge {
        "choose a prefix with --data that only collectors write below"
    } else if error.kind() == io::ErrorKind::InvalidData {
        "set AWS_CA_BUNDLE to a file with the certificate of its authority"
    } else if error.kind() == io::ErrorKind::NotFound {
        "create the bucket, or correct its name in --data"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, and that they may list, read, \
         write and delete objects in the bucket"
    } else {
        "check AWS_ENDPOINT_URL and AWS_REGION, and AWS_ALLOW_HTTP=true for an http:// endpoint; \
         without AWS_ACCESS_KEY_ID, credentials are those of the machine"
    }
}

/// An object with decisions: its store, and the numbers of the uploads that it has.
pub(crate) type ListedDecisions = (PathBuf, (u64, u64));

/// A folder that this process owns.
#[derive(Debug)]
pub(crate) struct StoreFolder {
    root: PathBuf,
    /// `None` for a folder that others own.
    _lock: Option<File>,
    /// Whether spans are written into it.
    is_owned: bool,
}

/// The name of a segment: the generations whose spans it has, and the hour in which the first of
/// them began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SegmentName {
    /// Number of the folder, for those who read several.
    pub(crate) folder: u32,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Hours since the Unix epoch.
    pub(crate) hour: u64,
}

// === impl StoreFolder ===

impl StoreFolder {
    /// Takes a folder, which is created where it is missing.
    pub(crate) fn open(root: &Path) -> Result<Self, StoreOpenError> {
        let unusable = |path: &Path| {
            let path = path.to_path_buf();
            move |source| StoreOpenError::Unusable { path, source }
        };
        if root.join(COPIES).exists() {
            return Err(StoreOpenError::HasCopies(root.to_path_buf()));
        }
        for folder in [root.join("log"), root.join(SEGMENTS)] {
            std::fs::create_dir_all(&folder).map_err(unusable(&folder))?;
        }
        Ok(Self {
            root: root.to_path_buf(),
            _lock: Some(lock(root)?),
            is_owned: true,
        })
    }

    /// Takes a folder for copies of objects that others own, which is created where it is missing.
    /// As copies are deleted, it is one that had nothing else from the beginning.
    pub(crate) fn open_cache(root: &Path) -> Result<Self, StoreOpenError> {
        let unusable = |source| StoreOpenError::Unusable {
            path: root.to_path_buf(),
            source,
        };
        std::fs::create_dir_all(root).map_err(unusable)?;
        let found = not_copies(root).map_err(unusable)?;
        if let Some(found) = found {
            let path = root.to_path_buf();
            return Err(StoreOpenError::NotCopies { path, found });
        }
        let lock = lock(root)?;
        std::fs::write(root.join(COPIES), COPIES_TEXT).map_err(unusable)?;
        Ok(Self {
            root: root.to_path_buf(),
            _lock: Some(lock),
            is_owned: false,
        })
    }

    /// Names a folder whose stores others own; nothing is written there.
    pub(crate) const fn of_others(root: PathBuf) -> Self {
        Self {
            root,
            _lock: None,
            is_owned: false,
        }
    }

    /// Returns whether this process may write into the folder.
    pub(crate) const fn is_owned(&self) -> bool {
        self.is_owned
    }

    /// Returns the prefix of the objects of the folder, which is chosen once, so that it is another
    /// one in every folder.
    pub(crate) fn object_prefix(&self, url: &str) -> Result<String, StoreOpenError> {
        if let Some((own, prefix)) = self.named_objects()? {
            if own == url {
                return Ok(prefix);
            }
            let path = self.root.clone();
            return Err(StoreOpenError::OtherObjects { path, url: own });
        }
        // Its keys are random, from the operating system.
        let number = RandomState::new().build_hasher().finish();
        let prefix = format!("{number:016x}");
        let path = self.root.join(OBJECTS);
        let temporary = path.with_extension("tmp");
        let written = std::fs::write(&temporary, format!("{url}\n{prefix}\n"))
            .and_then(|()| File::open(&temporary)?.sync_all())
            .and_then(|()| std::fs::rename(&temporary, &path))
            .and_then(|()| self.sync(&path));
        written.map_err(|source| StoreOpenError::Unusable { path, source })?;
        Ok(prefix)
    }

    /// Refuses a folder that has copies of objects, of which some would be missing.
    pub(crate) fn expect_no_objects(&self) -> Result<(), StoreOpenError> {
        match self.named_objects()? {
            None => Ok(()),
            Some((url, _)) => {
                let path = self.root.clone();
                Err(StoreOpenError::OtherObjects { path, url })
            }
        }
    }

    /// Returns the URL and the prefix of the objects of the folder.
    fn named_objects(&self) -> Result<Option<(String, String)>, StoreOpenError> {
        let path = self.root.join(OBJECTS);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreOpenError::Unusable { path, source }),
        };
        let (url, prefix) = text.trim_end().split_once('\n').unwrap_or_default();
        Ok(Some((url.to_owned(), prefix.to_owned())))
    }

    /// Returns the path of an object with the decisions of uploads with these numbers.
    pub(crate) fn decisions(&self, (first, last): (u64, u64)) -> PathBuf {
        let folder = self.root.join(WOVEN);
        folder.join(format!("{first:016x}-{last:016x}.log"))
    }

    /// Returns the complete files of segments and indexes.
    pub(crate) fn segment_files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for folder in entries(&self.root.join(SEGMENTS))? {
            files.extend(entries(&folder)?);
        }
        files.retain(|path| ObjectPath::parse(path, &self.root).is_some());
        Ok(files)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn woven_log(&self) -> PathBuf {
        woven_log(&self.root)
    }

    pub(crate) fn log(&self, generation: u64) -> PathBuf {
        self.root.join("log").join(format!("{generation:016x}.log"))
    }

    /// Returns the path of a segment, in a folder that is created where it is missing.
    pub(crate) fn segment(&self, name: SegmentName) -> io::Result<PathBuf> {
        let folder = self.root.join(SEGMENTS).join(hour_name(name.hour));
        std::fs::create_dir_all(&folder)?;
        let (first, last) = (name.first, name.last);
        Ok(folder.join(format!("{first:016x}-{last:016x}.parquet")))
    }

    /// Returns the logs, the earliest generation first.
    pub(crate) fn logs(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut logs = Vec::new();
        for path in entries(&self.root.join("log"))? {
            let stem = stem(&path, "log");
            let number = stem.and_then(|stem| u64::from_str_radix(stem, 16).ok());
            logs.extend(number.map(|number| (number, path.clone())));
        }
        logs.sort_unstable();
        Ok(logs)
    }

    /// Returns the segments, the earliest generation first, and removes incomplete ones.
    pub(crate) fn segments(&self) -> io::Result<Vec<(SegmentName, PathBuf)>> {
        for folder in entries(&self.root.join(SEGMENTS))? {
            let name = folder.file_name().and_then(|name| name.to_str());
            if name.and_then(parse_hour).is_none() {
                continue;
            }
            for path in entries(&folder)? {
                if is_incomplete(&path) {
                    // The process ended while it was written.
                    std::fs::remove_file(&path)?;
                }
            }
        }
        list_segments(&self.root, 0)
    }

    /// Makes the names in the folders of logs and segments durable.
    pub(crate) fn sync(&self, path: &Path) -> io::Result<()> {
        let mut folder = path.parent();
        while let Some(own) = folder {
            File::open(own)?.sync_all()?;
            folder = own.parent().filter(|_| own != self.root);
        }
        Ok(())
    }

    /// Returns the free bytes of the disk.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.root)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

// === impl SegmentName ===

impl SegmentName {
    /// Returns whether the spans of a generation are in the segment.
    pub(crate) const fn contains(self, generation: u64) -> bool {
        self.first <= generation && generation <= self.last
    }
}

/// Describes what a folder has that is not a copy of an object.
fn not_copies(root: &Path) -> io::Result<Option<&'static str>> {
    if root.join(OBJECTS).exists() || root.join("log").exists() {
        return Ok(Some("the log and the segments of a collector"));
    }
    if root.join(COPIES).exists() {
        return Ok(None);
    }
    // The lock alone: a process ended between the two files.
    let mut entries = entries(root)?.into_iter();
    let is_other = entries.any(|path| path.file_name().is_none_or(|name| name != LOCK));
    Ok(is_other.then_some("other files"))
}

/// Takes the lock of a folder.
fn lock(root: &Path) -> Result<File, StoreOpenError> {
    let path = root.join(LOCK);
    let unusable = |source| StoreOpenError::Unusable {
        path: path.clone(),
        source,
    };
    let mut options = File::options();
    let options = options.create(true).write(true).truncate(false);
    let lock = options.open(&path).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreOpenError::InUse(root.to_path_buf())),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

/// Returns the complete segments of a folder that anyone may own, the earliest generation first.
pub(crate) fn list_segments(root: &Path, number: u32) -> io::Result<Vec<(SegmentName, PathBuf)>> {
    let mut segments = Vec::new();
    for folder in entries(&root.join(SEGMENTS))? {
        let name = folder.file_name().and_then(|name| name.to_str());
        let Some(hour) = name.and_then(parse_hour) else {
            continue;
        };
        let paths = match entries(&folder) {
            // Its owner removed the last segment in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for path in paths {
            let name = segment_name(&path, hour, number);
            segments.extend(name.map(|name| (name, path)));
        }
    }
    segments.sort_unstable_by_key(|(name, _)| (name.first, name.last));
    Ok(segments)
}

/// Returns the name of a segment that may be an object, by its path below the folder of a store.
pub(crate) fn parse_segment(below: &Path, number: u32) -> Option<SegmentName> {
    let mut parts = below.iter();
    let is_segment = parts.next()? == SEGMENTS;
    let hour = parse_hour(parts.next()?.to_str()?)?;
    is_segment.then_some(())?;
    segment_name(Path::new(parts.next()?), hour, number).filter(|_| parts.next().is_none())
}

fn segment_name(path: &Path, hour: u64, number: u32) -> Option<SegmentName> {
    let (first, last) = stem(path, "parquet").and_then(parse_range)?;
    Some(SegmentName {
        folder: number,
        first,
        last,
        hour,
    })
}

/// Returns the numbers of an object with decisions about parents, by its path below the folder of a
/// store: those of the uploads whose decisions it has.
pub(crate) fn parse_decisions(below: &Path) -> Option<(u64, u64)> {
    let name = below.strip_prefix(WOVEN).ok()?;
    stem(name, "log").and_then(parse_range)
}

/// An object, by the path of its copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObjectPath<'a> {
    /// The segment of a store, or its index.
    Segment(&'a Path),
    /// Decisions of a store, and the numbers of their uploads.
    Decisions(&'a Path, (u64, u64)),
}

// === impl ObjectPath ===

impl<'a> ObjectPath<'a> {
    /// Returns the object of a copy below a folder; `None` for any other file.
    pub(crate) fn parse(path: &'a Path, root: &Path) -> Option<Self> {
        // The store is the part before the last two, or three, names.
        let mut parents = path.ancestors();
        let (decided, sealed) = (parents.nth(2), parents.next());
        let below = |store: &Option<&'a Path>| -> Option<(&'a Path, &'a Path)> {
            let store = store.filter(|store| store.starts_with(root))?;
            Some((store, path.strip_prefix(store).ok()?))
        };
        if let Some((store, below)) = below(&decided)
            && let Some(numbers) = parse_decisions(below)
        {
            return Some(Self::Decisions(store, numbers));
        }
        let (store, below) = below(&sealed)?;
        let is_index = path.extension().is_some_and(|own| own == "index");
        let name = if is_index {
            parse_segment(&below.with_extension("parquet"), 0)
        } else {
            parse_segment(below, 0)
        };
        name.map(|_| Self::Segment(store))
    }
}

/// Returns the segments whose spans are in a larger one as well, into which they were merged, with
/// the largest of those.
pub(crate) fn merged_names(
    names: impl Iterator<Item = SegmentName>,
) -> HashMap<SegmentName, SegmentName> {
    let mut names: Vec<SegmentName> = names.collect();
    names.sort_unstable_by_key(|it| (it.folder, it.first, Reverse(it.last)));
    let mut merged = HashMap::new();
    let mut largest: Option<SegmentName> = None;
    for name in names {
        let range = (name.first, name.last);
        match largest {
            Some(other)
                if other.folder == name.folder && is_within(range, (other.first, other.last)) =>
            {
                merged.insert(name, other);
            }
            _ => largest = Some(name),
        }
    }
    merged
}

/// Returns the decisions, by store and number, that are not in a larger object as well.
pub(crate) fn outermost_decisions(mut listed: Vec<ListedDecisions>) -> Vec<ListedDecisions> {
    listed.sort_unstable_by(|(store, a), (other, b)| {
        store.cmp(other).then(a.0.cmp(&b.0)).then(b.1.cmp(&a.1))
    });
    // A larger one comes first, and is the second of the two here.
    listed.dedup_by(|(store, own), (other, larger)| store == other && is_within(*own, *larger));
    listed
}

/// Returns whether a range of numbers is within another, larger one.
pub(crate) fn is_within(range: (u64, u64), other: (u64, u64)) -> bool {
    range != other && other.0 <= range.0 && range.1 <= other.1
}

/// Returns the stores below a folder, by name: its own, and those of its subfolders.
pub(crate) fn list_stores(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut stores = entries(root)?;
    stores.push(root.to_path_buf());
    stores.retain(|folder| folder.join(SEGMENTS).is_dir());
    stores.sort_unstable();
    Ok(stores)
}

/// Returns the decisions about parents of a store.
pub(crate) fn woven_log(root: &Path) -> PathBuf {
    root.join("woven.log")
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn stem<'a>(path: &'a Path, extension: &str) -> Option<&'a str> {
    let is_kind = path.extension().is_some_and(|own| own == extension);
    path.file_stem().filter(|_| is_kind)?.to_str()
}

fn parse_range(stem: &str) -> Option<(u64, u64)> {
    let (first, last) = stem.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last)
}

/// Returns the hours since the Unix epoch.
pub(crate) fn this_hour() -> u64 {
    hour_of(SystemTime::now())
}

pub(crate) fn hour_of(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() / 3600
}

fn hour_name(hour: u64) -> String {
    let seconds = i64::try_from(hour.saturating_mul(3600)).unwrap_or_default();
    let time = OffsetDateTime::from_unix_timestamp(seconds);
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = time.to_calendar_date();
    let (month, hour) = (u8::from(month), time.hour());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}")
}

fn parse_hour(name: &str) -> Option<u64> {
    let (date, hour) = name.split_once('T')?;
    let mut numbers = date.splitn(3, '-');
    let year: i32 = numbers.next()?.parse().ok()?;
    let month: u8 = numbers.next()?.parse().ok()?;
    let day: u8 = numbers.next()?.parse().ok()?;
    let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    let time = date.with_hms(hour.parse().ok()?, 0, 0).ok()?;
    u64::try_from(time.assume_utc().unix_timestamp() / 3600).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_have_readable_names() {
        for (hour, name) in [(0, "1970-01-01T00"), (498_766, "2026-11-24T22")] {
            assert_eq!(hour_name(hour), name);
            assert_eq!(parse_hour(name), Some(hour));
        }
        assert_eq!(parse_hour("2026-13-01T00"), None);
    }

    #[test]
    fn decisions_in_a_larger_object_are_left_out() {
        let of = |store: &str, numbers| (PathBuf::from(store), numbers);
        let kept = [
            of("a", (0, 7)),
            of("a", (8, 9)),
            of("b", (0, 3)),
            of("b", (4, 4)),
        ];
        let inner = [(0, 3), (4, 5), (7, 7)].map(|numbers| of("a", numbers));
        let listed = inner.iter().chain(kept.iter().rev()).cloned().collect();
        assert_eq!(outermost_decisions(listed), kept);
    }

    #[test]
    fn a_folder_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let owner = StoreFolder::open(folder.path()).unwrap();
        let refused = StoreFolder::open(folder.path()).unwrap_err();
        assert!(refused.to_string().contains("in use by another process"));
        drop(owner);
        StoreFolder::open(folder.path()).unwrap();
    }
}
