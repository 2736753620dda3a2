//! How recent the spans are that a query node shows.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use throughline_segments::{DiskSettings, DiskStore};
use throughline_store::Store;

use crate::running::{RunningCollector, TRACE};

fn settings() -> DiskSettings {
    DiskSettings {
        min_free_bytes: 0,
        refresh_interval: Duration::from_millis(20),
        ..DiskSettings::default()
    }
}

fn query_node(root: &Path) -> RunningCollector {
    let store = DiskStore::open_query_only(root, settings()).unwrap();
    RunningCollector::with_store(store, |config| config.is_query_only = true)
}

/// Waits until the collector states such a freshness.
fn wait_for(collector: &RunningCollector, is: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let freshness = collector.query("/api/throughline/freshness")["query_node"].take();
        if is(&freshness) {
            return freshness;
        }
        assert!(Instant::now() < deadline, "{freshness}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_query_node_states_how_recent_its_spans_are() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("stores");
    std::fs::create_dir(&root).unwrap();
    let node = query_node(&root);
    let empty = wait_for(&node, |_| true);
    assert_eq!(
        (&empty["latest_start"], &empty["failing"]),
        (&Value::Null, &json!(false))
    );
    let store = Arc::new(DiskStore::open(&root.join("member"), settings()).unwrap());
    let member = RunningCollector::with_store(Arc::clone(&store) as Arc<dyn Store>, |_| {});
    // One that keeps what it receives shows it at once.
    let own = member.query("/api/throughline/freshness");
    assert_eq!(own, json!({ "query_node": null }));
    member.send(&json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [{
        "traceId": TRACE, "spanId": "0000000000000001", "name": "work", "kind": 1,
        "startTimeUnixNano": "1700000000123456789", "endTimeUnixNano": "1700000009000000000",
    }] }] }] }));
    store.seal();
    let sealed = wait_for(&node, |it| it["latest_start"].is_u64());
    assert_eq!(sealed["latest_start"], 1_700_000_000_123_456u64);
    assert!(sealed["refreshed"].as_u64() > empty["refreshed"].as_u64());
    member.stop();
    drop(store);
    let away = folder.path().join("away");
    std::fs::rename(&root, &away).unwrap();
    let failing = wait_for(&node, |it| it["failing"] == true);
    assert_eq!(failing["latest_start"], sealed["latest_start"]);
    std::fs::rename(&away, &root).unwrap();
    let back = wait_for(&node, |it| it["failing"] == false);
    assert!(back["refreshed"].as_u64() > failing["refreshed"].as_u64());
}
