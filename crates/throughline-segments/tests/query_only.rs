//! Two stores that are written, and a third one that answers queries about both.
#![expect(
    clippy::unwrap_used,
    reason = "a test reports its failure by panicking"
)]

mod compared_stores;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use throughline_segments::{DiskSettings, DiskStore};
use throughline_store::{InsertError, MemoryStore, Store, StoreFreshness};

use self::compared_stores::{assert_same, edge, halves, span};

fn settings() -> DiskSettings {
    DiskSettings {
        min_free_bytes: 0,
        refresh_interval: Duration::from_millis(20),
        ..DiskSettings::default()
    }
}

fn open(root: &Path, name: &str) -> DiskStore {
    DiskStore::open(&root.join(name), settings()).unwrap()
}

#[test]
fn two_stores_are_queried_as_one_while_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let expected = MemoryStore::new(usize::MAX);
    let stores = [open(root, "a"), open(root, "b")];
    let queried = DiskStore::open_query_only(root, settings()).unwrap();
    let other = DiskStore::open_query_only(root, settings()).unwrap();
    assert_eq!(queried.services(), Vec::<String>::new());
    for first in [1, 21, 41] {
        for (store, spans) in stores.iter().zip(halves(first..first + 20)) {
            expected.insert(spans.clone());
            store.insert(spans).unwrap();
            store.seal();
        }
        assert_same(&*queried, &expected);
        assert_same(&*other, &expected);
    }
    // A span that came to both, as after the death of a member of a group, is one.
    let [_, spans] = halves(1..3);
    stores[0].insert(spans).unwrap();
    stores[0].seal();
    // A decision of one of them.
    let edge = edge(7, 6);
    assert_eq!(expected.weave(vec![edge.clone()]).joined, 1);
    assert_eq!(stores[0].weave(vec![edge]).joined, 1);
    assert_same(&*queried, &expected);
    // Segments are merged, and others come, while they are read.
    for store in &stores {
        assert_eq!(store.compact(), 1);
    }
    assert_same(&*queried, &expected);
    let [a, b] = stores;
    drop(a);
    let a = open(root, "a");
    assert_same(&*queried, &expected);
    drop((a, b, queried));
    // A later one begins with all there is.
    let late = DiskStore::open_query_only(root, settings()).unwrap();
    assert_same(&*late, &expected);
    assert_same(&*other, &expected);
}

#[test]
fn a_store_for_queries_refuses_spans_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let queried = DiskStore::open_query_only(folder.path(), settings()).unwrap();
    let refused = queried.insert(vec![span(1, 1, "shop")]);
    assert!(matches!(refused, Err(InsertError::QueryOnly)));
    drop(queried);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let absent = folder.path().join("absent");
    assert!(DiskStore::open_query_only(&absent, settings()).is_err());
}

/// Waits until the freshness of a store is such.
fn wait_for_freshness(store: &dyn Store, is: impl Fn(&StoreFreshness) -> bool) -> StoreFreshness {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let freshness = store.freshness().unwrap();
        if is(&freshness) {
            return freshness;
        }
        assert!(Instant::now() < deadline, "{freshness:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn freshness_is_the_latest_sealed_start_and_the_last_look_that_succeeded() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("stores");
    std::fs::create_dir(&root).unwrap();
    let now = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::try_from(now.as_nanos()).unwrap()
    };
    let begun = now();
    let queried = DiskStore::open_query_only(&root, settings()).unwrap();
    let first = queried.freshness().unwrap();
    assert_eq!((first.last_start, first.is_failing), (None, false));
    assert!(first.refreshed >= begun, "{first:?}");
    let [a, b] = ["a", "b"].map(|name| open(&root, name));
    assert_eq!(a.freshness(), None, "it shows what it was given");
    let spans: Vec<_> = (1..=3).map(|trace| span(trace, 1, "shop")).collect();
    let start = |at: usize| Some(spans[at].start);
    let mut sealed_spans = 1..=3;
    // The latest one first: an earlier one in another store does not change it.
    for (store, sealed, latest) in [(&a, 1, 1), (&b, 0, 1), (&b, 2, 2)] {
        store.insert(vec![spans[sealed].clone()]).unwrap();
        store.seal();
        let spans = sealed_spans.next();
        // The spans are there before the look for them has ended.
        wait_for_freshness(&*queried, |it| {
            Some(queried.occupancy().spans) == spans && it.last_start == start(latest)
        });
    }
    drop((a, b));
    let away = folder.path().join("away");
    std::fs::rename(&root, &away).unwrap();
    let gone = now();
    let failing = wait_for_freshness(&*queried, |it| it.is_failing);
    assert!(failing.refreshed <= gone, "{failing:?}");
    assert_eq!(failing.last_start, start(2));
    std::fs::rename(&away, &root).unwrap();
    let back = wait_for_freshness(&*queried, |it| !it.is_failing);
    assert!(back.refreshed > failing.refreshed, "{back:?}");
}
