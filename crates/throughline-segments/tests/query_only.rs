//! Two stores that are written, and a third one that answers queries about both.
#![expect(
    clippy::unwrap_used,
    reason = "a test reports its failure by panicking"
)]

mod compared_stores;

use std::path::Path;
use std::time::Duration;

use throughline_segments::{DiskSettings, DiskStore};
use throughline_store::{InsertError, MemoryStore, Store as _};

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
