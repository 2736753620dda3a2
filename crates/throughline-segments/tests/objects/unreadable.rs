//! Objects that a node cannot read, beside others that it can.

use std::sync::Arc;
use std::time::Duration;

use throughline_segments::{DiskSettings, DiskStore, ObjectBucket};
use throughline_store::{
    AlternativeParent, MAX_ALTERNATIVES, MemoryStore, Store, TraceQuery, WovenEdge,
};

use crate::bucket::FaultyBucket;
use crate::compared_stores::{assert_same, edge};
use crate::{add, member, new_member, node, settings, wait_for_uploads, wait_until};

fn count(store: &dyn Store) -> usize {
    store.search(&TraceQuery::default()).traces.len()
}

fn wait_for_failure(node: &dyn Store) {
    wait_until("the node has failed", || {
        node.freshness().unwrap().is_failing
    });
}

fn wait_for_success(node: &dyn Store) {
    wait_until("the node has all", || !node.freshness().unwrap().is_failing);
}

/// Waits until a segment that is added now is shown by a node.
fn add_and_wait(store: &DiskStore, node: &dyn Store, expected: &MemoryStore, first: u64) {
    let before = count(node);
    add(store, expected, first..first + 10);
    wait_until("a node has what came", || count(node) == before + 10);
}

#[test]
fn merged_segments_are_shown_until_the_one_that_has_them_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Arc::new(FaultyBucket::default());
    let expected = MemoryStore::new(usize::MAX);
    let own = folder.path().join("own");
    let store = member(&own, &bucket);
    add(&store, &expected, 1..11);
    add(&store, &expected, 11..21);
    wait_for_uploads(&store);
    let queried = node(&folder.path().join("node"), &bucket, u64::MAX);
    assert_same(&*queried, &expected);
    bucket.set_unreadable("0000000000000000-0000000000000001.index");
    assert_eq!(store.compact(), 1);
    wait_for_failure(&*queried);
    assert_eq!(count(&*queried), 20);
    // A node that begins now has the parts as well.
    let late = node(&folder.path().join("late"), &bucket, u64::MAX);
    assert_same(&*late, &expected);
    // The parts are deleted, and the node has copies.
    wait_for_uploads(&store);
    drop(store);
    let hasty = DiskSettings {
        deletion_delay: Duration::ZERO,
        ..settings()
    };
    let dynamic: Arc<dyn ObjectBucket> = Arc::<FaultyBucket>::clone(&bucket);
    let store = DiskStore::open_objects(&own, dynamic, hasty).unwrap();
    wait_until("the parts are deleted", || {
        bucket.keys(".parquet").len() == 1
    });
    add_and_wait(&store, &*queried, &expected, 21);
    assert_same(&*queried, &expected);
    bucket.set_unreadable("");
    for node in [&queried, &late] {
        wait_for_success(&**node);
        assert_same(&**node, &expected);
    }
}

#[test]
fn an_object_that_cannot_be_read_leaves_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Arc::new(FaultyBucket::default());
    let expected = MemoryStore::new(usize::MAX);
    let stores = ["a", "b"].map(|name| member(&folder.path().join(name), &bucket));
    add(&stores[0], &expected, 1..11);
    add(&stores[1], &expected, 11..21);
    let decide = |store: &DiskStore, child| {
        let edge = edge(child, child + 1);
        assert_eq!(expected.weave(vec![edge.clone()]).joined, 1);
        assert_eq!(store.weave(vec![edge]).joined, 1);
    };
    decide(&stores[0], 2);
    wait_until("decisions are uploaded", || bucket.keys(".log").len() == 1);
    let decisions = bucket.keys(".log")[0].clone();
    decide(&stores[1], 12);
    wait_until("decisions are uploaded", || bucket.keys(".log").len() == 2);
    stores.iter().for_each(wait_for_uploads);
    let prefix = decisions.split_once('/').unwrap().0;
    let indexes = bucket.keys(".index");
    let index = indexes.iter().find(|key| key.starts_with(prefix)).unwrap();
    for (key, traces, joined) in [(&decisions, 19, 1), (index, 9, 1)] {
        bucket.set_unreadable(key);
        let folder = tempfile::tempdir().unwrap();
        let queried = node(folder.path(), &bucket, u64::MAX);
        assert_eq!(count(&*queried), traces, "{key}");
        wait_for_failure(&*queried);
        assert!(queried.occupancy().woven_spans >= joined, "{key}");
        bucket.set_unreadable("");
        wait_for_success(&*queried);
        assert_same(&*queried, &expected);
    }
    // Others are seen that come while it cannot be read.
    bucket.set_unreadable(index);
    let queried = node(&folder.path().join("node"), &bucket, u64::MAX);
    add_and_wait(&stores[1], &*queried, &expected, 21);
    bucket.set_unreadable("");
    assert_same(&*queried, &expected);
}

#[test]
fn an_index_that_is_gone_is_built_from_its_segment() {
    let (folder, bucket, expected, store) = new_member();
    add(&store, &expected, 1..11);
    add(&store, &expected, 5..21);
    wait_for_uploads(&store);
    let index = bucket.keys(".index")[0].clone();
    bucket.state().objects.remove(&index);
    // The second one has room for about a segment.
    for (name, max_bytes) in [("node", u64::MAX), ("small", 20_000)] {
        let queried = node(&folder.path().join(name), &bucket, max_bytes);
        assert_same(&*queried, &expected);
    }
}

#[test]
fn no_more_is_downloaded_than_was_listed() {
    let (folder, bucket, expected, store) = new_member();
    add(&store, &expected, 1..11);
    wait_for_uploads(&store);
    let index = bucket.keys(".index")[0].clone();
    let content = bucket.state().objects[&index].clone();
    let mut longer = content.clone();
    longer.extend([0; 1000]);
    let listed = bucket.list("").unwrap();
    bucket.state().stale = Some(listed);
    bucket.state().objects.insert(index.clone(), longer);
    let queried = node(&folder.path().join("node"), &bucket, u64::MAX);
    wait_for_failure(&*queried);
    assert_eq!(count(&*queried), 0);
    bucket.state().objects.insert(index, content);
    assert_same(&*queried, &expected);
}

#[test]
fn decisions_take_as_much_room_as_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Arc::new(FaultyBucket::default());
    let expected = MemoryStore::new(usize::MAX);
    let own = folder.path().join("own");
    let store = member(&own, &bucket);
    add(&store, &expected, 1..11);
    let queried = node(&folder.path().join("node"), &bucket, u64::MAX);
    // Long ones, so that ten thousand are more than a megabyte.
    let decision = |at: u64| {
        let former = edge(7, 5 + at % 2);
        let other = AlternativeParent {
            parent: former.parent,
            confidence: 0.25,
        };
        WovenEdge {
            alternatives: vec![other; MAX_ALTERNATIVES],
            ..former
        }
    };
    let decisions: Vec<_> = (0..10_000).map(decision).collect();
    expected.weave(decisions.iter().rev().take(1).cloned().collect());
    store.weave(decisions);
    let bytes = || -> usize {
        let state = bucket.state();
        let logs = state
            .objects
            .iter()
            .filter(|(key, _)| key.ends_with(".log"));
        logs.map(|(_, content)| content.len()).sum()
    };
    let local = || own.join("woven.log").metadata().unwrap().len();
    wait_until("the log is short", || local() < 1000);
    wait_until("decisions are uploaded", || bytes() > 0);
    assert!(bytes() < 1000, "{}", bytes());
    assert_same(&*queried, &expected);
    // Later ones follow.
    expected.weave(vec![edge(9, 8)]);
    store.weave(vec![edge(9, 8)]);
    assert_same(&*queried, &expected);
}

#[test]
fn decisions_are_read_in_their_order() {
    let (folder, bucket, expected, store) = new_member();
    add(&store, &expected, 1..11);
    let mut objects = 0;
    let mut decide = |edges: Vec<WovenEdge>| {
        expected.weave(edges.clone());
        store.weave(edges);
        objects += 1;
        wait_until("decisions are uploaded", || {
            bucket.keys(".log").len() == objects
        });
        bucket.keys(".log").last().unwrap().clone()
    };
    // Each object is smaller than the one before, so that it stays one of its own.
    let revisions = |at: u64| edge(7, 5 + at % 2);
    decide((0..16).map(revisions).collect());
    let middle = decide((0..5).map(revisions).collect());
    let queried = {
        bucket.set_unreadable(&middle);
        decide(vec![edge(7, 4)]);
        node(&folder.path().join("node"), &bucket, u64::MAX)
    };
    wait_for_failure(&*queried);
    // The one behind it waits.
    assert_eq!(queried.occupancy().woven_spans, 1);
    bucket.set_unreadable("");
    wait_for_success(&*queried);
    assert_same(&*queried, &expected);
}
