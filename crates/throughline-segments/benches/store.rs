//! The store on disk under load: spans in, and queries over them.
//!
//! `ingest` inserts requests as receivers do, decoded from OTLP, until all is sealed. `query` does
//! the same once and measures queries, after the store was opened again (cold) and repeated (warm).
//! `mixed` searches while spans are inserted, and while nobody searches. One line of JSON per case
//! goes to stdout.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, which fails by panicking"
)]

#[path = "store/spans.rs"]
mod spans;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use throughline_otlp::decode_protobuf;
use throughline_segments::{DiskSettings, DiskStore, Durability};
use throughline_store::{
    AttributeScope, ComparisonOperator, SpanField, SpanFilter, Store as _, TraceExpression,
    TraceQuery, ValuePredicate, WeavingView,
};

use self::spans::{BATCH_SPANS, SPACING, START, TRACE_SPANS, request, resources, trace_id};

/// Time between two searches.
const SEARCH_INTERVAL: Duration = Duration::from_millis(20);

/// Returns the CPU time of this process, in seconds (proc(5), `stat`, in ticks of 10 ms).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    let ticks: Vec<u32> = fields
        .skip(11)
        .take(2)
        .map(|it| it.parse().unwrap())
        .collect();
    ticks.into_iter().map(f64::from).sum::<f64>() / 100.0
}

fn open(folder: &Path, durability: Durability) -> DiskStore {
    let settings = DiskSettings {
        durability,
        min_free_bytes: 0,
        ..DiskSettings::default()
    };
    DiskStore::open(folder, settings).unwrap()
}

/// Inserts spans and seals them; prints what it took.
fn ingest(folder: &Path, spans: u64, durability: Durability, name: &str) {
    let store = open(folder, durability);
    let resources = resources();
    // Made before the clock starts.
    let batches = (0..spans).step_by(usize::try_from(BATCH_SPANS).unwrap());
    let requests: Vec<Vec<u8>> = batches.map(|first| request(first, &resources)).collect();
    let bytes = requests.iter().map(|it| it.len() as u64).sum::<u64>();
    let (started, before) = (Instant::now(), cpu_seconds());
    for request in &requests {
        // As the collector does: only what cannot be read in place is decoded.
        if let Some(inserted) = store.insert_undecoded(request) {
            inserted.unwrap();
            continue;
        }
        let decoded = decode_protobuf(request).unwrap();
        store.insert_request(decoded.spans, request).unwrap();
    }
    store.seal();
    let (seconds, cpu) = (started.elapsed(), cpu_seconds() - before);
    let (segments, stored) = store.segments();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let line = json!({
        "case": name,
        "spans": spans,
        "spans_per_second": (spans as f64 / seconds.as_secs_f64()).round(),
        "spans_per_cpu_second": (spans as f64 / cpu).round(),
        "otlp_bytes_per_span": bytes / spans,
        "parquet_bytes_per_span": stored / spans,
        "index_bytes_per_span": index_bytes(folder) / spans,
        "segments": segments,
    });
    println!("{line}");
}

fn index_bytes(folder: &Path) -> u64 {
    let hours = std::fs::read_dir(folder.join("segments")).unwrap();
    let files = hours.flat_map(|hour| std::fs::read_dir(hour.unwrap().path()).unwrap());
    let files = files.map(|file| file.unwrap());
    let indexes = files.filter(|file| file.path().extension().is_some_and(|it| it == "index"));
    indexes.map(|file| file.metadata().unwrap().len()).sum()
}

fn filtered(filters: Vec<SpanFilter>) -> TraceQuery {
    TraceQuery {
        expression: Some(TraceExpression::Spans(SpanFilter::All(filters))),
        limit: 20,
        ..TraceQuery::default()
    }
}

/// A query of the store; returns the number of its results.
type QueryCase = Box<dyn Fn(&DiskStore) -> u64>;

/// Measures queries over a store.
fn query(folder: &Path, spans: u64) {
    let attribute = |key: &str, value: &str| {
        let field = SpanField::Attribute(AttributeScope::Span, key.to_owned());
        SpanFilter::Is(field, ValuePredicate::equal(value))
    };
    let service = || SpanFilter::Is(SpanField::Service, ValuePredicate::equal("service-7"));
    let slow = ValuePredicate::Time(ComparisonOperator::More, 99_990_000);
    let cases: Vec<(&str, QueryCase)> = vec![
        (
            "trace by id",
            Box::new(move |store| {
                let id = trace_id(spans / TRACE_SPANS / 3);
                store.trace(id, WeavingView::Woven).unwrap().spans.len() as u64
            }),
        ),
        (
            "attribute",
            search(filtered(vec![attribute("user.id", "4711")])),
        ),
        (
            "attribute that is absent",
            search(filtered(vec![attribute("user.id", "none")])),
        ),
        (
            "service and duration",
            search(filtered(vec![
                service(),
                SpanFilter::Is(SpanField::Duration, slow),
            ])),
        ),
        ("newest 20 of a service", search(filtered(vec![service()]))),
        (
            "map of the last hour",
            Box::new(move |store| {
                let end = START + spans * SPACING;
                store.service_graph(end - 3_600_000_000_000, end).spans
            }),
        ),
    ];
    for (name, run) in cases {
        let opened = Instant::now();
        let store = open(folder, DiskSettings::default().durability);
        let opened = opened.elapsed();
        let mut times: Vec<Duration> = Vec::new();
        let mut found = 0;
        for _ in 0..6 {
            let started = Instant::now();
            found = run(&store);
            times.push(started.elapsed());
        }
        let cold = times.remove(0);
        times.sort_unstable();
        let line = json!({
            "case": name,
            "spans": spans,
            "open_ms": opened.as_secs_f64() * 1e3,
            "cold_ms": cold.as_secs_f64() * 1e3,
            "warm_ms": times.get(2).unwrap().as_secs_f64() * 1e3,
            "found": found,
        });
        println!("{line}");
    }
}

fn search(query: TraceQuery) -> Box<dyn Fn(&DiskStore) -> u64> {
    Box::new(move |store| store.search(&query).traces.len() as u64)
}

/// Inserts spans, with a search or a list of operations by turns every few milliseconds or without,
/// and prints what either waits for the other.
fn mixed(spans: u64, is_searched: bool) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), DiskSettings::default().durability);
    let resources = resources();
    let batches = (0..spans).step_by(usize::try_from(BATCH_SPANS).unwrap());
    let requests: Vec<Vec<u8>> = batches.map(|first| request(first, &resources)).collect();
    let service = SpanFilter::Is(SpanField::Service, ValuePredicate::equal("service-7"));
    let query = filtered(vec![service]);
    let is_done = AtomicBool::new(false);
    let (mut insertions, mut searches, mut lists) = (Vec::new(), Vec::new(), Vec::new());
    let started = Instant::now();
    std::thread::scope(|scope| {
        if is_searched {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    std::thread::park_timeout(SEARCH_INTERVAL);
                    searches.push(time(|| assert!(store.search(&query).traces.len() <= 20)));
                    std::thread::park_timeout(SEARCH_INTERVAL);
                    let kind = None;
                    lists.push(time(|| assert!(!store.operations(None, kind).is_empty())));
                }
            });
        }
        for request in &requests {
            insertions.push(time(|| {
                store.insert_undecoded(request).unwrap().unwrap();
            }));
        }
        is_done.store(true, Ordering::Relaxed);
    });
    let seconds = started.elapsed().as_secs_f64();
    let milliseconds = |times: &mut Vec<Duration>, quantile: usize| {
        times.sort_unstable();
        let at = times.len().saturating_sub(1) * quantile / 100;
        times.get(at).map(|time| time.as_secs_f64() * 1e3)
    };
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let line = json!({
        "case": if is_searched { "ingest with searches" } else { "ingest alone" },
        "spans": spans,
        "spans_per_second": (spans as f64 / seconds).round(),
        "insertion_p99_ms": milliseconds(&mut insertions, 99),
        "insertion_max_ms": milliseconds(&mut insertions, 100),
        "searches": searches.len(),
        "search_p50_ms": milliseconds(&mut searches, 50),
        "search_max_ms": milliseconds(&mut searches, 100),
        "list_p50_ms": milliseconds(&mut lists, 50),
        "list_max_ms": milliseconds(&mut lists, 100),
    });
    println!("{line}");
}

fn time(run: impl FnOnce()) -> Duration {
    let started = Instant::now();
    run();
    started.elapsed()
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|it| it != "--bench");
    let subject = arguments.next().unwrap_or_else(|| "ingest".to_owned());
    let spans = arguments.next().map_or(1 << 20, |it| it.parse().unwrap());
    let interval = DiskSettings::default().durability;
    let folder = tempfile::tempdir().unwrap();
    if subject == "query" {
        ingest(folder.path(), spans, interval, "ingest, interval");
        query(folder.path(), spans);
        return;
    }
    if subject == "mixed" {
        mixed(spans, false);
        mixed(spans, true);
        return;
    }
    ingest(folder.path(), spans, interval, "ingest, interval");
    let folder = tempfile::tempdir().unwrap();
    ingest(
        folder.path(),
        spans,
        Durability::Fsync,
        "ingest, fsync, one sender",
    );
}
