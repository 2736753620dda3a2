//! The work beside ingest and queries: syncing, sealing, retention and compaction.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use throughline_model::TraceId;

use super::deletions::delete_segment;
use super::folder::{SegmentName, this_hour};
use super::generation::Generation;
use super::inner::DiskStoreInner;
use super::repeated_work::RepeatedWork;
use super::sealed_segment::{SealedSegment, read_into, shared_with, write_index};
use super::settings::Durability;
use super::sources::Sources;
use crate::columns::{HotColumns, SealedOrder};
use crate::index::BuiltIndex;
use crate::objects::StoredFile;
use crate::request_log::LogWriter;
use crate::segment::SegmentError;

/// Time between two looks at what is to be done.
const TICK: Duration = Duration::from_millis(200);

/// Time between two looks at the size and age of what is stored.
pub(super) const RETENTION_INTERVAL: Duration = Duration::from_secs(5);

/// Maximum number of spans of a segment that is made of small ones.
const MAX_COMPACTED_SPANS: u64 = 65_536;

// === impl DiskStoreInner ===

impl DiskStoreInner {
    /// Does all that is to be done until the store is closed.
    pub(super) fn work(&self) {
        std::thread::scope(|scope| {
            if let Durability::Interval(interval) = self.settings.durability {
                // A thread of its own: sealing takes longer than the interval.
                scope.spawn(move || self.sync_every(interval));
            }
            if let Some(objects) = &self.objects {
                // As a request may take as long as the object store likes.
                scope.spawn(move || self.work_on_objects(objects));
            }
            let mut looked = Instant::now();
            let mut sealing = RepeatedWork::every(Duration::ZERO);
            // Nothing has failed yet.
            sealing.note(&io::Result::Ok(()));
            self.retain();
            while !self.worker.next_tick(TICK) {
                self.rotate_if_due();
                if sealing.is_due() {
                    let sealed = self.seal_closed();
                    log_sealing(&sealed, sealing.note(&sealed));
                }
                if looked.elapsed() >= RETENTION_INTERVAL || self.is_full.load(Ordering::Relaxed) {
                    looked = Instant::now();
                    self.tidy_folder();
                }
            }
        });
    }

    fn sync_every(&self, interval: Duration) {
        let mut is_failing = false;
        while !self.worker.pause(interval) {
            let sources = self.sources();
            let mut logs = sources.generations.iter().map(|it| &it.log);
            let synced = logs.try_for_each(|log| log.sync(log.bytes()));
            let synced = synced.and_then(|()| self.woven.sync());
            if let (Err(error), false) = (&synced, is_failing) {
                tracing::error!(%error, "the log cannot be made durable");
            }
            is_failing = synced.is_err();
        }
    }

    fn rotate_if_due(&self) {
        let sources = self.sources();
        let Some(open) = sources.generations.last() else {
            return;
        };
        if open.is_empty() {
            open.begin(this_hour());
            return;
        }
        if open.is_full(self.settings.generation_bytes())
            || open.age() >= self.settings.seal_interval
            || open.log.is_damaged()
        {
            self.rotate(Some(open.number));
        }
    }

    /// Opens a new generation, and closes the one before if it has spans. With a number, only while
    /// the open one has it.
    pub(super) fn rotate(&self, expected: Option<u64>) {
        let _guard = self
            .worker
            .rotating
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let sources = self.sources();
        let Some(open) = sources.generations.last() else {
            return;
        };
        let is_expected = expected.is_none_or(|number| number == open.number);
        if !is_expected || (open.is_empty() && !open.log.is_damaged()) {
            return;
        }
        let number = open.number + 1;
        let path = self.folder.log(number);
        // An earlier attempt may have left it.
        std::fs::remove_file(&path).unwrap_or_default();
        let log = LogWriter::create(path.clone()).and_then(|log| {
            self.folder.sync(&path)?;
            Ok(log)
        });
        match log {
            Ok(log) => {
                let next = Arc::new(Generation::new(number, this_hour(), log));
                self.replace(|sources| sources.generations.push(next));
                open.close();
            }
            Err(error) => tracing::error!(%error, "no new log can be opened"),
        }
    }

    /// Seals all generations but the open one; after a failure they stay in their logs.
    pub(super) fn seal_closed(&self) -> Result<(), SegmentError> {
        let _guard = self
            .worker
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            let sources = self.sources();
            let [generation, _, ..] = sources.generations.as_slice() else {
                return Ok(());
            };
            self.seal(generation, &sources)?;
        }
    }

    fn seal(&self, generation: &Arc<Generation>, sources: &Sources) -> Result<(), SegmentError> {
        generation.settle();
        let number = generation.number;
        let columns = generation.columns();
        let sealed = if columns.spans() == 0 {
            None
        } else {
            let name = SegmentName {
                folder: 0,
                first: number,
                last: number,
                hour: generation.hour(),
            };
            let log = Some(&generation.log);
            Some(self.write_segment(name, &columns, log, &sources.segments)?)
        };
        drop(columns);
        self.replace(|sources| {
            sources.generations.retain(|it| it.number != number);
            sources.segments.extend(sealed);
            sources.refresh_shared();
        });
        // All in it is in the segment now; a log that stays is removed at the next start.
        std::fs::remove_file(generation.log.path()).unwrap_or_default();
        Ok(())
    }

    /// Writes a segment and its index.
    fn write_segment(
        &self,
        name: SegmentName,
        columns: &HotColumns,
        log: Option<&LogWriter>,
        earlier: &[Arc<SealedSegment>],
    ) -> Result<Arc<SealedSegment>, SegmentError> {
        let path = self.folder.segment(name)?;
        // A segment is there as a whole or not at all.
        let temporary = path.with_extension("parquet.tmp");
        let written = self.write_files(name, (&path, &temporary), (columns, log), earlier);
        if written.is_err() {
            // On a full disk it would be in the way of the next attempt.
            std::fs::remove_file(&temporary).unwrap_or_default();
        }
        written
    }

    fn write_files(
        &self,
        name: SegmentName,
        (path, temporary): (&Path, &Path),
        (columns, log): (&HotColumns, Option<&LogWriter>),
        earlier: &[Arc<SealedSegment>],
    ) -> Result<Arc<SealedSegment>, SegmentError> {
        let file = StoredFile::new(path.to_path_buf(), self.objects.as_ref());
        let order = SealedOrder::of(columns);
        crate::segment::write(temporary, columns, &order, log)?;
        let index = BuiltIndex::of(columns, &order);
        let ids = index.traces.iter().map(|trace| trace.id);
        let header = index.header(shared_with(ids, earlier, &self.cache));
        if let Err(error) = write_index(&file.index(), &header, &index) {
            // An object is never without its index.
            if self.objects.is_some() {
                return Err(error.into());
            }
            tracing::warn!(%error, "the index of a segment is not kept");
        }
        // After the index: others who read the folder find both.
        std::fs::rename(temporary, path)?;
        self.folder.sync(path)?;
        let bytes = file.note_written()? + file.index_bytes();
        Ok(Arc::new(SealedSegment {
            name,
            file,
            bytes,
            header,
        }))
    }

    /// Makes room where there is too little, and refuses spans while there is none.
    fn retain(&self) {
        self.make_room();
        if self.objects.is_none() {
            self.remove_earliest();
        }
        self.set_full(self.is_low());
    }

    /// Removes and merges segments of a folder; those of a bucket have a thread for that.
    fn tidy_folder(&self) {
        self.retain();
        if self.objects.is_none() {
            self.delete_merged(self.settings.deletion_delay);
            // Both need room before they make any.
            if !self.is_full.load(Ordering::Relaxed) {
                self.compact_once(false);
                self.woven.shorten_log();
            }
        }
    }

    /// Removes the earliest segments that are beyond the limits.
    pub(super) fn remove_earliest(&self) {
        while !self.worker.is_stopping()
            && let Some(earliest) = self.beyond_limits()
        {
            self.remove(&earliest);
        }
    }

    /// Returns the earliest segment, if it is beyond the limits.
    fn beyond_limits(&self) -> Option<Arc<SealedSegment>> {
        let sources = self.sources();
        let logs = sources.generations.iter().map(|it| it.log.bytes());
        let segments = sources.segments.iter().map(|it| it.bytes);
        let decisions = self.woven.log_range().map(|(_, end)| end);
        let bytes: u64 = logs.chain(segments).chain(decisions).sum();
        let earliest = sources.segments.first()?;
        let age = this_hour().saturating_sub(earliest.name.hour + 1);
        let max_age = self.settings.max_age.map(|age| age.as_secs() / 3600);
        let is_old = max_age.is_some_and(|max_age| age >= max_age);
        let is_too_large = bytes > self.settings.max_bytes;
        // Objects take no room here.
        let frees_room = self.objects.is_none() && self.is_low();
        (is_old || is_too_large || frees_room).then(|| Arc::clone(earliest))
    }

    /// Removes copies of objects while the disk is full.
    pub(super) fn make_room(&self) {
        if let Some(objects) = &self.objects
            && self.is_disk_low()
        {
            objects.discard_all();
        }
    }

    /// Returns whether the folder has no room for further spans.
    fn is_low(&self) -> bool {
        let waiting = self.objects.as_ref().map(|it| it.bytes_to_upload());
        let has_backlog = waiting.is_some_and(|it| it >= self.settings.max_local_bytes);
        let is_low = has_backlog || self.is_disk_low();
        if is_low {
            self.has_backlog.store(has_backlog, Ordering::Relaxed);
        }
        is_low
    }

    fn is_disk_low(&self) -> bool {
        let free = self.folder.free_bytes().unwrap_or(u64::MAX);
        free < self.settings.min_free_bytes
    }

    fn set_full(&self, is_full: bool) {
        let was_full = self.is_full.swap(is_full, Ordering::Relaxed);
        if is_full && !was_full {
            let folder = self.folder.root().display();
            if self.has_backlog.load(Ordering::Relaxed) {
                tracing::error!(%folder, "spans are refused until segments are uploaded");
                return;
            }
            tracing::error!(%folder, "the disk is full; spans are refused until there is room");
        }
    }

    fn remove(&self, segment: &Arc<SealedSegment>) {
        let index = segment.index(&self.cache);
        {
            let _guard = self
                .worker
                .writing
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            self.replace(|sources| {
                sources.segments.retain(|it| it.name != segment.name);
                sources.refresh_shared();
            });
        }
        let path = segment.file.path();
        if self.objects.is_some() {
            self.discard_later([path.to_path_buf()], None);
        } else {
            delete_segment(path);
        }
        let view = self.view();
        let ids = index.traces.iter().map(|trace| trace.id);
        let gone: Vec<TraceId> = ids.filter(|id| !view.may_contain(*id)).collect();
        let lost = self.woven.forget(&gone, &|id| view.start_of(id));
        self.evicted_traces
            .fetch_add(gone.len() as u64, Ordering::Relaxed);
        self.evicted_spans
            .fetch_add(segment.header.spans, Ordering::Relaxed);
        self.evicted_joins.fetch_add(lost, Ordering::Relaxed);
    }

    /// Makes one segment of several small ones of an hour; returns whether there were any. The
    /// hour that is not over waits, unless `all` are merged.
    pub(super) fn compact_once(&self, all: bool) -> bool {
        let sources = self.sources();
        let is_due = |segment: &SealedSegment| {
            let objects = self.objects.as_ref();
            let is_uploaded = objects.is_none_or(|it| !it.is_waiting(segment.file.path()));
            is_uploaded && (all || segment.name.hour < this_hour())
        };
        let Some(run) = small_run(&sources.segments, is_due) else {
            return false;
        };
        let mut merging = self
            .worker
            .merging
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !(all || merging.is_due()) {
            return false;
        }
        let merged = self.merge(run);
        let has_changed = merging.note(&merged);
        if let Err(error) = &merged {
            if has_changed {
                tracing::error!(%error, "small segments cannot be merged");
            }
            self.leave_out_missing(run);
        }
        merged.is_ok()
    }

    /// Leaves out segments whose objects someone else has deleted, as a rule of the bucket does.
    fn leave_out_missing(&self, run: &[Arc<SealedSegment>]) {
        for segment in run {
            let opened = segment.file.open();
            if opened.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                self.replace(|sources| {
                    sources.segments.retain(|it| it.name != segment.name);
                    sources.refresh_shared();
                });
            }
        }
    }

    fn merge(&self, run: &[Arc<SealedSegment>]) -> Result<(), SegmentError> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Ok(());
        };
        // Before the lock is taken that sealing needs: they may have to be downloaded.
        let mut columns = HotColumns::new();
        for segment in run {
            read_into(&segment.file, &mut columns)?;
        }
        columns.settle(None);
        let name = SegmentName {
            last: last.name.last,
            ..first.name
        };
        let _guard = self
            .worker
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let sources = self.sources();
        let mut current = sources.segments.iter();
        if !run.iter().all(|own| current.any(|it| Arc::ptr_eq(it, own))) {
            // Some were removed or merged meanwhile.
            return Ok(());
        }
        let earlier = sources.segments.iter();
        let earlier: Vec<_> = earlier
            .filter(|it| it.name.last < name.first)
            .cloned()
            .collect();
        let merged = self.write_segment(name, &columns, None, &earlier)?;
        let replacement = merged.file.path().to_path_buf();
        self.replace(|sources| {
            let at = sources.segments.iter();
            let at = at.take_while(|it| it.name.last < name.first).count();
            sources.segments.retain(|it| !name.contains(it.name.first));
            sources.segments.insert(at, merged);
            sources.refresh_shared();
        });
        let merged = run.iter().map(|segment| segment.file.path().to_path_buf());
        self.discard_later(merged, Some(&replacement));
        Ok(())
    }
}

fn log_sealing(sealed: &Result<(), SegmentError>, has_changed: bool) {
    match sealed {
        Err(error) if has_changed => {
            tracing::error!(%error, "spans cannot be sealed; they stay in the log");
        }
        Ok(()) if has_changed => tracing::info!("spans are sealed again"),
        _ => {}
    }
}

/// Returns the first neighbours of one hour that fit into one segment.
fn small_run(
    segments: &[Arc<SealedSegment>],
    is_due: impl Fn(&SealedSegment) -> bool,
) -> Option<&[Arc<SealedSegment>]> {
    for (at, first) in segments.iter().enumerate() {
        let mut spans = 0;
        let rest = segments.get(at..)?;
        let count = rest.iter().take_while(|segment| {
            spans += segment.header.spans;
            segment.name.hour == first.name.hour && spans <= MAX_COMPACTED_SPANS && is_due(segment)
        });
        let run = rest.get(..count.count())?;
        if run.len() > 1 {
            return Some(run);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk_store::settings::DiskSettings;
    use crate::request_log::{LogRecords, RecordKind};

    #[test]
    fn a_segment_that_cannot_be_written_leaves_nothing_and_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let settings = DiskSettings::default();
        let inner = DiskStoreInner::open(folder.path(), None, settings).unwrap();
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/segments");
        let log = std::fs::read(format!("{seeds}/log-request")).unwrap();
        let otlp = LogRecords::read(&log).records[0].payload;
        let added = inner.insert_request(RecordKind::Spans, otlp).unwrap();
        assert!(added.is_some_and(|spans| spans > 0));
        let open = Arc::clone(inner.sources().generations.last().unwrap());
        let name = SegmentName {
            folder: 0,
            first: open.number,
            last: open.number,
            hour: open.hour(),
        };
        // A folder is not replaced by a file.
        let path = inner.folder.segment(name).unwrap();
        std::fs::create_dir_all(path.join("below")).unwrap();
        inner.rotate(None);
        inner.seal_closed().unwrap_err();
        assert!(!path.with_extension("parquet.tmp").exists());
        std::fs::remove_dir_all(&path).unwrap();
        inner.seal_closed().unwrap();
        let sealed = inner.sources();
        let [segment] = sealed.segments.as_slice() else {
            panic!("there is one segment");
        };
        let sizes = [path.clone(), path.with_extension("index")];
        let sizes = sizes.map(|path| path.metadata().unwrap().len());
        assert_eq!(segment.bytes, sizes.iter().sum::<u64>());
    }
}
