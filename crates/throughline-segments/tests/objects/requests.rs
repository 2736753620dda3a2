//! Requests that fail or get no answer, and what goes on meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use throughline_segments::{DiskSettings, DiskStore, ObjectBucket};
use throughline_store::{MemoryStore, Store as _, WeavingView};

use crate::bucket::FaultyBucket;
use crate::compared_stores::{assert_same, edge, halves};
use crate::{add, member, settings, totals, wait_for_uploads, wait_until};

fn hasty(folder: &Path, bucket: &Arc<FaultyBucket>) -> std::io::Result<DiskStore> {
    let bucket: Arc<dyn ObjectBucket> = Arc::<FaultyBucket>::clone(bucket);
    let settings = DiskSettings {
        deletion_delay: Duration::ZERO,
        max_local_bytes: 1,
        ..settings()
    };
    let opened = DiskStore::open_objects(folder, bucket, settings);
    opened.map_err(|error| std::io::Error::other(error.to_string()))
}

/// Fills a bucket by a member in `own`, with segments that were merged; returns what it has, too.
fn with_merged_segments(own: &Path) -> (Arc<FaultyBucket>, MemoryStore) {
    let bucket = Arc::new(FaultyBucket::default());
    let expected = MemoryStore::new(usize::MAX);
    let store = member(own, &bucket);
    add(&store, &expected, 1..11);
    add(&store, &expected, 11..21);
    wait_for_uploads(&store);
    assert_eq!(store.compact(), 1);
    wait_for_uploads(&store);
    (bucket, expected)
}

/// Removes the copies of objects, so that whatever needs one waits for the bucket.
fn remove_copies(own: &Path) {
    for hour in std::fs::read_dir(own.join("segments")).unwrap() {
        std::fs::remove_dir_all(hour.unwrap().path()).unwrap();
    }
}

#[test]
fn spans_are_sealed_and_the_store_is_closed_while_a_bucket_gives_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own");
    let (bucket, expected) = with_merged_segments(&own);
    let store = hasty(&own, &bucket).unwrap();
    remove_copies(&own);
    bucket.state().is_hung = true;
    wait_until("a request waits", || bucket.state().hung > 0);
    let begin = Instant::now();
    for spans in halves(5..25) {
        expected.insert(spans.clone());
        store.insert(spans).unwrap();
        store.seal();
    }
    assert_eq!(store.segments().0, 3);
    drop(store);
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    bucket.set_away(false);
    let store = member(&own, &bucket);
    assert_same(&store, &expected);
}

#[test]
fn queries_and_ingest_go_on_while_the_start_of_a_trace_is_downloaded() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Arc::new(FaultyBucket::default());
    let expected = MemoryStore::new(usize::MAX);
    let own = folder.path().join("own");
    let store = member(&own, &bucket);
    add(&store, &expected, 1..11);
    assert_eq!(store.weave(vec![edge(7, 6)]).joined, 1);
    wait_for_uploads(&store);
    drop(store);
    let store = hasty(&own, &bucket).unwrap();
    remove_copies(&own);
    add(&store, &expected, 31..32);
    wait_for_uploads(&store);
    bucket.state().is_hung = true;
    // The trace is joined, so that its start matters.
    let [_, spans] = halves(6..7);
    store.insert(spans).unwrap();
    wait_until("a request waits", || bucket.state().hung > 0);
    let [spans, _] = halves(41..42);
    let id = spans[0].trace_id;
    store.insert(spans).unwrap();
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(store.occupancy().woven_spans, 1);
            assert!(store.changes(0, WeavingView::Woven).traces.contains(&id));
            sender.send(()).unwrap();
        });
        let answered = receiver.recv_timeout(Duration::from_secs(10));
        bucket.cancel();
        answered.unwrap();
    });
}

#[test]
fn deletions_that_fail_are_counted_and_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own");
    let (bucket, expected) = with_merged_segments(&own);
    // The right to delete is missing, which is seen at the start.
    bucket.state().keeps_all = true;
    let error = hasty(&own, &bucket).unwrap_err().to_string();
    assert!(error.contains("list, read, write and delete"), "{error}");
    bucket.state().keeps_all = false;
    let delayed = DiskSettings {
        deletion_delay: Duration::from_secs(1),
        ..settings()
    };
    let dynamic: Arc<dyn ObjectBucket> = Arc::<FaultyBucket>::clone(&bucket);
    let store = DiskStore::open_objects(&own, dynamic, delayed).unwrap();
    bucket.state().keeps_all = true;
    wait_until("a deletion fails", || totals(&store).delete_failures > 0);
    assert_eq!(bucket.keys(".parquet").len(), 3);
    bucket.state().keeps_all = false;
    wait_until("all is deleted", || bucket.keys(".parquet").len() == 1);
    assert_same(&store, &expected);
}

#[test]
fn a_segment_is_deleted_once_its_own_replacement_is_uploaded() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Arc::new(FaultyBucket::default());
    let expected = MemoryStore::new(usize::MAX);
    let own = folder.path().join("own");
    let store = member(&own, &bucket);
    add(&store, &expected, 1..11);
    add(&store, &expected, 11..21);
    wait_for_uploads(&store);
    drop(store);
    let store = hasty(&own, &bucket).unwrap();
    bucket.state().failing = Some(("0000-0000000000000001.parquet", false));
    assert_eq!(store.compact(), 1);
    // Others are uploaded, and the former ones stay until theirs is.
    add(&store, &expected, 21..31);
    let uploaded = || bucket.keys(".parquet").len() == 3;
    wait_until("another segment is uploaded", uploaded);
    let failures = totals(&store).upload_failures;
    wait_until("the upload is tried again", || {
        totals(&store).upload_failures > failures + 2
    });
    assert_eq!(bucket.keys(".parquet").len(), 3);
    bucket.state().failing = None;
    wait_until("they are deleted", || bucket.keys(".parquet").len() == 2);
    assert_same(&store, &expected);
}
