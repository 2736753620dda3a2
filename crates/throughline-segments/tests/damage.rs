//! Files that are damaged: reading ends, and says so.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test reports its failure by panicking"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use throughline_model::{
    DroppedCounts, Event, KeyValue, Link, Resource, Span, SpanId, SpanKind, Status, TraceId,
};
use throughline_segments::{DiskSettings, DiskStore, LogRecords, SegmentReader};
use throughline_store::{SpanKey, Store as _, TraceQuery, WeavingView};

fn settings() -> DiskSettings {
    DiskSettings {
        min_free_bytes: 0,
        ..DiskSettings::default()
    }
}

fn spans() -> Vec<Span> {
    let resource = Arc::new(Resource::of_service("shop"));
    let span = |number: u8| Span {
        trace_id: TraceId::from_bytes([number / 4 + 1; 16]).unwrap(),
        span_id: SpanId::from_bytes([number + 1; 8]).unwrap(),
        parent_span_id: (!number.is_multiple_of(4))
            .then(|| SpanId::from_bytes([number; 8]).unwrap()),
        flags: 0x101,
        trace_state: String::new(),
        name: format!("GET /{}", number % 3),
        kind: SpanKind::Server,
        start: 1_764_450_000_000_000_000 + u64::from(number),
        end: 1_764_450_000_000_000_900,
        attributes: vec![
            KeyValue::new("user.id", format!("user {}", number % 5)),
            KeyValue::new("http.response.status_code", 200i64),
        ],
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Unset,
        status_message: Box::default(),
        dropped: DroppedCounts::default(),
        resource: Arc::clone(&resource),
        scope: Arc::default(),
    };
    let mut spans: Vec<Span> = (0..20).map(span).collect();
    spans[7].events.push(Event {
        time: 7,
        name: "event".to_owned(),
        attributes: vec![KeyValue::new("e", 0.5)],
    });
    let (trace_id, span_id) = (spans[0].trace_id, spans[0].span_id);
    spans[9].links.push(Link {
        trace_id,
        span_id,
        trace_state: String::new(),
        flags: 0,
        attributes: Vec::new(),
    });
    spans
}

/// Returns the files of a folder and below with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    found
}

/// Reads bytes as a log and as a segment, as the fuzz target does.
fn read(bytes: &[u8]) {
    let records = LogRecords::read(bytes);
    let intact = &bytes[..records.intact_bytes];
    assert_eq!(LogRecords::read(intact).records, records.records);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    if let Ok(reader) = SegmentReader::open(file.path()) {
        reader.read_all(|_| {}).unwrap_or_default();
        let id = SpanId::from_bytes([1; 8]).unwrap();
        reader.rows_of_span(id).unwrap_or_default();
    }
}

/// The inputs that fuzzing starts from, and every one that once went wrong.
#[test]
fn fuzz_seeds_pass() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/segments");
    let seeds: Vec<_> = std::fs::read_dir(seeds).unwrap().collect();
    assert!(seeds.len() >= 2, "fuzz seeds are missing");
    for seed in seeds {
        read(&std::fs::read(seed.unwrap().path()).unwrap());
    }
}

/// The seeds are files of version 1, which every later version reads.
#[test]
fn seeds_of_a_checkout_are_read_whole() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/segments");
    let seed = |name: &str| Path::new(seeds).join(name);
    let mut names = Vec::new();
    let reader = SegmentReader::open(&seed("segment")).unwrap();
    reader
        .read_all(|span| names.push(span.span.name.clone()))
        .unwrap();
    names.sort();
    let expected = [
        "BankTransaction.transfer",
        "From_eshop-topic",
        "GET",
        "GET /checkout",
        "GET /payment",
        "GET /sendEmail",
        "To_eshop-topic",
    ];
    assert_eq!(names, expected);
    let log = std::fs::read(seed("log-request")).unwrap();
    let read = LogRecords::read(&log);
    assert_eq!((read.records.len(), read.intact_bytes), (1, log.len()));
}

#[test]
fn a_damaged_segment_or_log_is_read_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path(), settings()).unwrap();
    store.insert(spans()).unwrap();
    let log = std::fs::read(&files(folder.path(), "log")[0]).unwrap();
    store.seal();
    let segment = std::fs::read(&files(folder.path(), "parquet")[0]).unwrap();
    for whole in [log, segment] {
        read(&whole);
        for at in (0..whole.len()).step_by(7) {
            read(&whole[..at]);
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            read(&damaged);
        }
    }
}

#[test]
fn a_damaged_index_is_built_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path(), settings()).unwrap();
    store.insert(spans()).unwrap();
    store.seal();
    let query = TraceQuery::default();
    let expected = store.search(&query).traces;
    assert_eq!(expected.len(), 5);
    drop(store);
    let path = files(folder.path(), "index")[0].clone();
    let index = std::fs::read(&path).unwrap();
    for at in (0..index.len()).step_by(11) {
        let mut damaged = index.clone();
        damaged[at] ^= 4;
        std::fs::write(&path, damaged).unwrap();
        let store = DiskStore::open(folder.path(), settings()).unwrap();
        assert_eq!(store.search(&query).traces, expected, "{at}");
        let id = expected[0].id;
        assert!(store.trace(id, WeavingView::Woven).is_some());
        assert!(store.service_graph(0, u64::MAX).spans == 20, "{at}");
    }
}

#[test]
fn a_span_that_was_removed_is_certainly_gone_and_one_that_cannot_be_read_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let spans = spans();
    let store = DiskStore::open(folder.path(), settings()).unwrap();
    // The parts of the second trace are in two segments, and the last one is not sealed.
    for part in [&spans[..6], &spans[6..16]] {
        store.insert(part.to_vec()).unwrap();
        store.seal();
    }
    store.insert(spans[16..].to_vec()).unwrap();
    let key = |at: usize| SpanKey::of(&spans[at]);
    assert!((0..20).all(|at| store.may_have(key(at))));
    let absent = SpanId::from_bytes([99; 8]).unwrap();
    for at in [0, 8, 16] {
        let absent = SpanKey {
            span_id: absent,
            ..key(at)
        };
        assert!(!store.may_have(absent));
    }
    drop(store);
    // One segment is left, and with it the rest of the second trace.
    let kinds = ["parquet", "index", "log"];
    let all = kinds.iter().flat_map(|kind| files(folder.path(), kind));
    let all: u64 = all.map(|it| it.metadata().unwrap().len()).sum();
    let limited = DiskSettings {
        max_bytes: all - 1,
        ..settings()
    };
    let store = DiskStore::open(folder.path(), limited).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while store.segments().0 > 1 && Instant::now() < deadline {
        std::thread::park_timeout(Duration::from_millis(10));
    }
    assert_eq!(store.segments().0, 1);
    let has: Vec<usize> = (0..20).filter(|at| store.may_have(key(*at))).collect();
    assert_eq!(has, (6..20).collect::<Vec<_>>());
    // Nothing is certain about a segment that is damaged.
    let segment = files(folder.path(), "parquet").remove(0);
    std::fs::write(segment, "damaged").unwrap();
    assert!(store.may_have(key(4)) && store.may_have(key(8)));
    assert!(!store.may_have(key(0)));
}
