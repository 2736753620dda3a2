//! Stores whose segments are objects, in a bucket in memory that fails in all ways.
#![expect(
    clippy::unwrap_used,
    reason = "a test reports its failure by panicking"
)]

mod bucket;
#[path = "../compared_stores/mod.rs"]
mod compared_stores;
mod requests;
mod unreadable;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use throughline_segments::{DiskSettings, DiskStore, ObjectBucket};
use throughline_store::{InsertError, MemoryStore, ObjectTotals, Store, TraceQuery, WeavingView};

use self::bucket::FaultyBucket;
use self::compared_stores::{TIMEOUT, assert_same, edge, halves};

fn settings() -> DiskSettings {
    DiskSettings {
        min_free_bytes: 0,
        refresh_interval: Duration::from_millis(20),
        ..DiskSettings::default()
    }
}

fn member(folder: &Path, bucket: &Arc<FaultyBucket>) -> DiskStore {
    let bucket: Arc<dyn ObjectBucket> = Arc::<FaultyBucket>::clone(bucket);
    DiskStore::open_objects(folder, bucket, settings()).unwrap()
}

/// A member in a new folder with a new bucket, and the store to compare it with.
fn new_member() -> (TempDir, Arc<FaultyBucket>, MemoryStore, DiskStore) {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Arc::new(FaultyBucket::default());
    let store = member(&folder.path().join("own"), &bucket);
    (folder, bucket, MemoryStore::new(usize::MAX), store)
}

fn node(folder: &Path, bucket: &Arc<FaultyBucket>, max_local_bytes: u64) -> Arc<dyn Store> {
    let bucket: Arc<dyn ObjectBucket> = Arc::<FaultyBucket>::clone(bucket);
    let settings = DiskSettings {
        max_local_bytes,
        ..settings()
    };
    DiskStore::open_query_only_objects(folder, bucket, settings).unwrap()
}

fn totals(store: &dyn Store) -> ObjectTotals {
    store.occupancy().objects.unwrap()
}

/// Waits for a condition.
fn wait_until(what: &str, is_met: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_met() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn wait_for_uploads(store: &DiskStore) {
    wait_until("all is uploaded", || totals(store).waiting_bytes == 0);
}

/// Adds the spans of traces, and seals them.
fn add(store: &DiskStore, expected: &MemoryStore, traces: std::ops::Range<u64>) {
    for spans in halves(traces) {
        expected.insert(spans.clone());
        store.insert(spans).unwrap();
    }
    store.seal();
}

#[test]
fn stores_in_a_bucket_are_queried_as_one_while_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let bucket = Arc::new(FaultyBucket::default());
    let expected = MemoryStore::new(usize::MAX);
    let stores = ["a", "b"].map(|name| member(&root.join(name), &bucket));
    // One of them has room for about a segment.
    let queried = node(&root.join("node"), &bucket, 20_000);
    let other = node(&root.join("other"), &bucket, u64::MAX);
    for first in [1, 21, 41] {
        for (store, spans) in stores.iter().zip(halves(first..first + 20)) {
            expected.insert(spans.clone());
            store.insert(spans).unwrap();
            store.seal();
        }
        assert_same(&*queried, &expected);
        assert_same(&*other, &expected);
    }
    for (child, parent) in [(7, 6), (9, 8)] {
        let edge = edge(child, parent);
        assert_eq!(expected.weave(vec![edge.clone()]).joined, 1);
        assert_eq!(stores[0].weave(vec![edge]).joined, 1);
        assert_same(&*queried, &expected);
    }
    // Both uploads are one object now.
    wait_until("one object has all decisions", || {
        bucket
            .keys(".log")
            .iter()
            .any(|key| key.ends_with("-0000000000000001.log"))
    });
    for store in &stores {
        wait_for_uploads(store);
        assert_eq!(store.compact(), 1);
    }
    assert_same(&*queried, &expected);
    let [a, b] = stores;
    drop((a, b));
    let stores = ["a", "b"].map(|name| member(&root.join(name), &bucket));
    assert_eq!(stores.iter().map(|it| it.segments().0).sum::<usize>(), 2);
    assert_same(&*queried, &expected);
    let small = totals(&*queried);
    assert!(small.evictions > 0 && small.bytes <= 30_000, "{small:?}");
    let large = totals(&*other);
    assert!(
        large.evictions == 0 && large.hits > large.misses,
        "{large:?}"
    );
    // A node that begins has all there is, with copies and without.
    drop(other);
    let before = large.misses;
    let other = node(&root.join("other"), &bucket, u64::MAX);
    assert_same(&*other, &expected);
    assert!(totals(&*other).misses < before, "{:?}", totals(&*other));
    assert_same(&*node(&root.join("late"), &bucket, u64::MAX), &expected);
}

#[test]
fn nothing_is_lost_while_uploads_fail() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own");
    let bucket = Arc::new(FaultyBucket::default());
    let expected = MemoryStore::new(usize::MAX);
    let store = member(&own, &bucket);
    let queried = node(&folder.path().join("node"), &bucket, u64::MAX);
    // The index is uploaded, and the segment is not; then it is, and the response is lost.
    for (traces, failing) in [(1..11, (".parquet", false)), (11..21, (".parquet", true))] {
        bucket.state().failing = Some(failing);
        add(&store, &expected, traces);
        wait_until("an upload fails", || totals(&store).upload_failures > 0);
        let waiting = totals(&store).waiting_bytes;
        assert!(waiting > 0);
        bucket.state().failing = None;
        wait_for_uploads(&store);
        assert_same(&*queried, &expected);
    }
    // Someone removes a segment before it is uploaded: those behind it are uploaded all the same.
    bucket.set_away(true);
    add(&store, &MemoryStore::new(usize::MAX), 41..42);
    let hours = std::fs::read_dir(own.join("segments")).unwrap();
    let files = hours.flat_map(|hour| std::fs::read_dir(hour.unwrap().path()).unwrap());
    let last = files.map(|file| file.unwrap().path()).max().unwrap();
    std::fs::remove_file(&last).unwrap();
    std::fs::remove_file(last.with_extension("index")).unwrap();
    bucket.set_away(false);
    wait_for_uploads(&store);
    // Spans are accepted while the bucket is away, and sealed; a restart does not lose them.
    bucket.set_away(true);
    add(&store, &expected, 21..31);
    assert_same(&store, &expected);
    drop(store);
    let open = || {
        let bucket: Arc<dyn ObjectBucket> = Arc::<FaultyBucket>::clone(&bucket);
        DiskStore::open_objects(&own, bucket, settings())
    };
    let error = open().unwrap_err().to_string();
    assert!(
        error.contains("cannot use s3://faulty: the bucket is away; check"),
        "{error}"
    );
    bucket.set_away(false);
    let store = open().unwrap();
    wait_for_uploads(&store);
    assert_same(&*queried, &expected);
    assert_same(&store, &expected);
    assert_eq!(bucket.keys(".parquet").len(), bucket.keys(".index").len());
}

#[test]
fn spans_are_refused_once_the_local_folder_is_full_of_segments_that_wait() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Arc::new(FaultyBucket::default());
    let expected = MemoryStore::new(usize::MAX);
    let dynamic: Arc<dyn ObjectBucket> = Arc::<FaultyBucket>::clone(&bucket);
    let settings = DiskSettings {
        max_local_bytes: 10_000,
        ..settings()
    };
    let store = DiskStore::open_objects(folder.path(), dynamic, settings).unwrap();
    bucket.set_away(true);
    add(&store, &expected, 1..21);
    let refused = || {
        let [spans, _] = halves(21..22);
        match store.insert(spans.clone()) {
            Ok(()) => {
                expected.insert(spans);
                false
            }
            Err(InsertError::NotUploaded) => true,
            Err(error) => panic!("{error}"),
        }
    };
    wait_until("spans are refused", refused);
    bucket.set_away(false);
    wait_until("spans are accepted", || !refused());
    assert_same(&store, &expected);
}

#[test]
fn copies_make_room_while_the_disk_is_full() {
    let (folder, bucket, expected, store) = new_member();
    add(&store, &expected, 1..11);
    wait_for_uploads(&store);
    drop(store);
    let dynamic = || -> Arc<dyn ObjectBucket> { Arc::<FaultyBucket>::clone(&bucket) };
    // No disk has so much room.
    let settings = DiskSettings {
        min_free_bytes: u64::MAX,
        ..settings()
    };
    let own = folder.path().join("own");
    let store = DiskStore::open_objects(&own, dynamic(), settings.clone()).unwrap();
    let node = folder.path().join("node");
    let node = DiskStore::open_query_only_objects(&node, dynamic(), settings).unwrap();
    for store in [&store as &dyn Store, &*node] {
        assert_same(store, &expected);
        wait_until("no copies", || totals(store).bytes == 0);
    }
    let [spans, _] = halves(11..12);
    let refused = store.insert(spans);
    assert!(matches!(refused, Err(InsertError::Full)), "{refused:?}");
    assert_eq!(bucket.keys(".parquet").len(), 1);
}

#[test]
fn a_stale_list_and_missing_objects_leave_the_others() {
    let (folder, bucket, expected, store) = new_member();
    add(&store, &expected, 1..11);
    wait_for_uploads(&store);
    let queried = node(&folder.path().join("node"), &bucket, u64::MAX);
    assert_same(&*queried, &expected);
    // A list without what came since, then one with what is gone.
    let listed = bucket.list("").unwrap();
    bucket.state().stale = Some(listed);
    add(&store, &expected, 11..21);
    wait_for_uploads(&store);
    let count = |store: &dyn Store| store.search(&TraceQuery::default()).traces.len();
    assert_eq!(count(&*queried), 10);
    bucket.state().stale = None;
    assert_same(&*queried, &expected);
    let gone = bucket.keys(".parquet")[0].clone();
    let listed = bucket.list("").unwrap();
    {
        let mut state = bucket.state();
        state.stale = Some(listed);
        state.objects.remove(&gone);
        state.objects.remove(&gone.replace(".parquet", ".index"));
    }
    let late = node(&folder.path().join("late"), &bucket, u64::MAX);
    assert_eq!(count(&*late), 10);
    assert!(late.services().len() == 2);
}

#[test]
fn a_node_deletes_nothing_that_it_has_not_downloaded() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Arc::new(FaultyBucket::default());
    let expected = MemoryStore::new(usize::MAX);
    let open = |root: &Path| {
        let dynamic: Arc<dyn ObjectBucket> = Arc::<FaultyBucket>::clone(&bucket);
        let settings = DiskSettings {
            max_local_bytes: 0,
            ..settings()
        };
        DiskStore::open_query_only_objects(root, dynamic, settings)
    };
    let refusal = |root: &Path| open(root).err().unwrap().to_string();
    let write = |path: &Path| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "mine").unwrap();
    };
    // A folder of someone else.
    let home = folder.path().join("home");
    let files = ["notes.tmp", "a/letter.txt", "a/draft.tmp"].map(|name| home.join(name));
    files.iter().for_each(|path| write(path));
    let error = refusal(&home);
    assert!(error.contains("home has other files"), "{error}");
    assert!(
        error.contains("an empty one with --local-folder"),
        "{error}"
    );
    assert!(files.iter().all(|path| path.exists()));
    // The folder of a member that stopped before all was uploaded.
    let own = folder.path().join("own");
    let store = member(&own, &bucket);
    bucket.set_away(true);
    add(&store, &expected, 1..11);
    drop(store);
    bucket.set_away(false);
    let error = refusal(&own);
    assert!(error.contains("the segments of a collector"), "{error}");
    let store = member(&own, &bucket);
    assert_same(&store, &expected);
    wait_for_uploads(&store);
    // A folder of copies, with files that someone has put there since.
    let copies = folder.path().join("copies");
    let node = open(&copies).unwrap();
    assert_same(&*node, &expected);
    drop(node);
    let hour = bucket.keys(".parquet")[0].clone();
    let hour = copies.join(hour).parent().unwrap().to_path_buf();
    let files = ["x.tmp", "segments/x.log", "m/n/o/x.parquet"].map(|name| copies.join(name));
    let files = files.into_iter().chain([hour.join("notes.txt")]);
    let files: Vec<_> = files.inspect(|path| write(path)).collect();
    let cut = hour.join("0000000000000000-0000000000000000.parquet.download");
    write(&cut);
    let node = open(&copies).unwrap();
    assert_same(&*node, &expected);
    assert!(files.iter().all(|path| path.exists()) && !cut.exists());
    drop(node);
    // Its copies would be deleted beside the log and segments of a member.
    let dynamic: Arc<dyn ObjectBucket> = Arc::<FaultyBucket>::clone(&bucket);
    let error = DiskStore::open_objects(&copies, dynamic, settings()).unwrap_err();
    assert!(
        error.to_string().contains("copies of a query node"),
        "{error}"
    );
}

#[test]
fn objects_that_are_cut_are_left_out_until_they_are_whole() {
    let (folder, bucket, expected, store) = new_member();
    add(&store, &expected, 1..11);
    add(&store, &expected, 11..21);
    wait_for_uploads(&store);
    let (segment, index) = (
        bucket.keys(".parquet")[0].clone(),
        bucket.keys(".index")[1].clone(),
    );
    let whole = bucket.state().objects.clone();
    for key in [&segment, &index] {
        let length = whole[key].len();
        let mut state = bucket.state();
        state.objects.get_mut(key).unwrap().truncate(length / 2);
    }
    let queried = node(&folder.path().join("node"), &bucket, u64::MAX);
    let shown = || {
        let ids: Vec<_> = expected.search(&TraceQuery::default()).traces;
        let shown = ids
            .iter()
            .filter(|it| queried.trace(it.id, WeavingView::Raw).is_some());
        shown.count()
    };
    assert_eq!(shown(), 0);
    // A cut copy is not kept.
    bucket
        .state()
        .objects
        .insert(segment.clone(), whole[&segment].clone());
    // Once a list has its size.
    wait_until("the segment is shown", || shown() == 10);
    bucket.state().objects = whole;
    drop(queried);
    assert_same(
        &*node(&folder.path().join("node"), &bucket, u64::MAX),
        &expected,
    );
}

#[test]
fn objects_that_are_not_needed_are_deleted_after_a_delay() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Arc::new(FaultyBucket::default());
    let expected = MemoryStore::new(usize::MAX);
    let own = folder.path().join("own");
    let store = member(&own, &bucket);
    for first in [1, 11, 21] {
        add(&store, &expected, first..first + 10);
    }
    wait_for_uploads(&store);
    let small = bucket.keys(".parquet");
    assert_eq!((small.len(), store.compact()), (3, 1));
    wait_for_uploads(&store);
    assert_eq!(bucket.keys(".parquet").len(), 4);
    let deleted = || -> BTreeSet<String> {
        let deleted = bucket.state().deleted.clone().into_iter();
        deleted.filter(|key| !key.ends_with("/PROBE")).collect()
    };
    assert_eq!(deleted(), BTreeSet::new());
    // A process that is killed here leaves them to the next one, and so it does with an index whose
    // segment it had deleted.
    drop(store);
    let stray = small[0]
        .replace("-0000", "-00ff")
        .replace(".parquet", ".index");
    bucket.state().objects.insert(stray, Vec::new());
    let dynamic = || -> Arc<dyn ObjectBucket> { Arc::<FaultyBucket>::clone(&bucket) };
    let hasty = DiskSettings {
        deletion_delay: Duration::ZERO,
        ..settings()
    };
    let store = DiskStore::open_objects(&own, dynamic(), hasty.clone()).unwrap();
    assert_same(&store, &expected);
    let left = || (bucket.keys(".parquet").len(), bucket.keys(".index").len());
    wait_until("merged segments are deleted", || left() == (1, 1));
    assert_same(&store, &expected);
    drop(store);
    // Beyond the size that is kept, segments are deleted as well.
    let kept = DiskSettings {
        max_bytes: 1,
        ..hasty
    };
    let store = DiskStore::open_objects(&own, dynamic(), kept).unwrap();
    wait_until("the segment is deleted", || left() == (0, 0));
    assert_eq!(store.occupancy().evicted_spans, 120);
    assert_eq!(store.segments().0, 0);
}

#[test]
fn a_folder_belongs_to_one_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Arc::new(FaultyBucket::default());
    drop(member(folder.path(), &bucket));
    let error = DiskStore::open(folder.path(), settings()).unwrap_err();
    assert!(
        error.to_string().contains("has traces of s3://faulty"),
        "{error}"
    );
    // Another folder has another prefix.
    let other = tempfile::tempdir().unwrap();
    drop(member(other.path(), &bucket));
    assert_eq!(bucket.keys("/STARTED").len(), 2);
    // Segments of a folder that had no bucket are uploaded.
    let former = tempfile::tempdir().unwrap();
    let expected = MemoryStore::new(usize::MAX);
    let store = DiskStore::open(former.path(), settings()).unwrap();
    add(&store, &expected, 1..11);
    drop(store);
    let store = member(former.path(), &bucket);
    wait_for_uploads(&store);
    let node = node(&folder.path().join("node"), &bucket, u64::MAX);
    assert_same(&*node, &expected);
}
