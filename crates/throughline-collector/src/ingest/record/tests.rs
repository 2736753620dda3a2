use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use throughline_store::MemoryStore;

use super::*;
use crate::config::{CollectorLimits, WeavingSettings};
use crate::metrics::Metrics;
use crate::weaving::{DecisionLog, WeavingLinks, WeavingTask};

/// A log with room for some entries.
#[derive(Debug, Default)]
struct BoundedLog {
    room: AtomicUsize,
    keys: Mutex<Vec<String>>,
}

impl DecisionLog for BoundedLog {
    fn append(&self, key: &str, _value: &[u8]) -> bool {
        let mut keys = self.keys.lock().unwrap();
        let has_room = keys.len() < self.room.load(Ordering::Relaxed);
        if has_room {
            keys.push(key.to_owned());
        }
        has_room
    }

    fn flush(&self) -> Result<(), InsertError> {
        Ok(())
    }

    fn written(&self) -> u64 {
        0
    }

    fn read(&self, _take: &dyn Fn(Option<&[u8]>) -> Option<String>, _stop: &CancellationToken) {}
}

/// A record with the span of a producer.
fn record(offset: u64) -> Vec<u8> {
    record_of("c1", offset)
}

fn record_of(cluster: &str, offset: u64) -> Vec<u8> {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let request = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [{
        "traceId": format!("{:032x}", offset + 1), "spanId": format!("{:016x}", offset + 1),
        "name": "send orders", "kind": 4, "startTimeUnixNano": "1000", "endTimeUnixNano": "2000",
        "attributes": [
            text("messaging.kafka.cluster.id", cluster),
            text("messaging.destination.name", "orders"),
            text("messaging.destination.partition.id", "3"),
            { "key": "messaging.kafka.offset", "value": { "intValue": offset.to_string() } },
        ],
    }] }] }] });
    request.to_string().into_bytes()
}

fn ingest(log: &Arc<BoundedLog>, metrics: &Arc<Metrics>) -> (RecordIngest, WeavingTask) {
    let store = Arc::new(MemoryStore::new(1 << 20));
    let links = WeavingLinks {
        decisions: Some(Arc::clone(log) as _),
        ..WeavingLinks::default()
    };
    let (feed, task) = WeavingTask::new(
        Arc::clone(&store) as _,
        Arc::clone(metrics),
        WeavingSettings::default(),
        links,
    );
    let pipeline = IngestPipeline::new(
        SpanDestination::Store(store),
        Arc::clone(metrics),
        CollectorLimits::default(),
        feed,
    );
    (RecordIngest::new(Arc::new(pipeline)), task)
}

#[test]
fn records_are_refused_and_not_durable_until_the_ends_of_earlier_ones_are_shared() {
    let (log, metrics) = (Arc::new(BoundedLog::default()), Arc::default());
    let (ingest, _task) = ingest(&log, &metrics);
    ingest.store(&record(0), false).unwrap();
    // Its entry has no room, so its offset must not be committed, and nothing more is read.
    assert!(ingest.sync().is_err());
    let refused = ingest.store(&record(1), false);
    assert!(
        matches!(refused, Err(RecordError::Refused(_))),
        "{refused:?}"
    );
    log.room.store(10, Ordering::Relaxed);
    ingest.store(&record(1), false).unwrap();
    ingest.sync().unwrap();
    let keys = log.keys.lock().unwrap();
    assert_eq!(*keys, ["record/c1/orders/3/0", "record/c1/orders/3/1"]);
    assert_eq!(
        metrics.sum(|key| key == CounterKey::Decisions("dropped")),
        0
    );
}

#[test]
fn entry_that_no_log_can_take_does_not_stop_the_reading() {
    let (log, metrics) = (Arc::new(BoundedLog::default()), Arc::default());
    log.room.store(10, Ordering::Relaxed);
    let (ingest, _task) = ingest(&log, &metrics);
    let cluster = "c".repeat(1 << 20);
    ingest.store(&record_of(&cluster, 0), false).unwrap();
    ingest.store(&record(1), false).unwrap();
    ingest.sync().unwrap();
    assert_eq!(*log.keys.lock().unwrap(), ["record/c1/orders/3/1"]);
    assert_eq!(
        metrics.sum(|key| key == CounterKey::Decisions("dropped")),
        1
    );
}
