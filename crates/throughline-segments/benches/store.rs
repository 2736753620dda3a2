//! The store on disk under load: spans in, and queries over them.
//!
//! `ingest` inserts requests as receivers do, decoded from OTLP, until all is sealed. `query` does
//! the same once and measures queries, after the store was opened again (cold) and repeated (warm).
//! One line of JSON per case goes to stdout. A span has 11 attributes and 6 of its resource, about
//! 390 bytes of OTLP; traces have 8 spans.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, which fails by panicking"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use throughline_model::{
    DroppedCounts, KeyValue, Resource, Span, SpanId, SpanKind, Status, TraceId,
};
use throughline_otlp::{decode_protobuf, encode_protobuf};
use throughline_segments::{DiskSettings, DiskStore, Durability};
use throughline_store::{
    AttributeScope, ComparisonOperator, SpanField, SpanFilter, Store as _, TraceExpression,
    TraceQuery, ValuePredicate, WeavingView,
};

const BATCH_SPANS: u64 = 512;
const TRACE_SPANS: u64 = 8;
const SERVICES: u64 = 20;
/// Time between two spans: a million is an hour.
const SPACING: u64 = 3_600_000;
const START: u64 = 1_764_450_000_000_000_000;

/// A number that looks random and depends on the number of a span.
const fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 31)
}

fn trace_id(trace: u64) -> TraceId {
    let id = (u128::from(mix(trace)) << 64) | u128::from(trace + 1);
    TraceId::from_bytes(id.to_be_bytes()).unwrap()
}

fn span(number: u64, resources: &[Arc<Resource>]) -> Span {
    let (trace, position) = (number / TRACE_SPANS, number % TRACE_SPANS);
    let random = mix(number);
    let id = |number: u64| SpanId::from_bytes((mix(number) | 1).to_be_bytes()).unwrap();
    let start = START + number * SPACING;
    let status = if random.is_multiple_of(50) {
        500i64
    } else {
        200
    };
    let path = format!("/api/v1/items/{}", random % 1000);
    let service = usize::try_from((trace + position) % SERVICES).unwrap();
    Span {
        trace_id: trace_id(trace),
        span_id: id(number),
        parent_span_id: (position > 0).then(|| id(number - 1)),
        flags: 0x101,
        trace_state: String::new(),
        name: format!("GET /api/v1/items/{{id}}/{position}"),
        kind: SpanKind::Server,
        start,
        end: start + random % 100_000_000,
        attributes: vec![
            KeyValue::new("http.request.method", "GET"),
            KeyValue::new("http.route", "/api/v1/items/{id}"),
            KeyValue::new("http.response.status_code", status),
            KeyValue::new("url.path", path),
            KeyValue::new("url.scheme", "http"),
            KeyValue::new("server.address", "items.shop.internal"),
            KeyValue::new("server.port", 8080i64),
            KeyValue::new("network.protocol.version", "1.1"),
            KeyValue::new(
                "client.address",
                format!("10.0.{}.{}", random % 16, random % 251),
            ),
            KeyValue::new("user.id", (random % 100_000).to_string()),
            KeyValue::new("thread.id", i64::try_from(random % 16).unwrap()),
        ],
        events: Vec::new(),
        links: Vec::new(),
        status: if status == 500 {
            Status::Error(String::new())
        } else {
            Status::Unset
        },
        status_message: Box::default(),
        dropped: DroppedCounts::default(),
        resource: Arc::clone(resources.get(service).unwrap()),
        scope: Arc::default(),
    }
}

fn resources() -> Vec<Arc<Resource>> {
    let resource = |service: u64| {
        let mut resource = Resource::of_service(&format!("service-{service}"));
        for (key, value) in [
            ("service.namespace", "shop"),
            ("service.version", "1.2.3"),
            ("host.name", "node-1"),
            ("telemetry.sdk.language", "rust"),
            ("deployment.environment.name", "production"),
        ] {
            resource.attributes.push(KeyValue::new(key, value));
        }
        Arc::new(resource)
    };
    (0..SERVICES).map(resource).collect()
}

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
    let requests = batches.map(|first| {
        let batch = (first..first + BATCH_SPANS).map(|it| span(it, &resources));
        encode_protobuf(&batch.collect::<Vec<Span>>())
    });
    let requests: Vec<Vec<u8>> = requests.collect();
    let bytes = requests.iter().map(|it| it.len() as u64).sum::<u64>();
    let (started, before) = (Instant::now(), cpu_seconds());
    for request in &requests {
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
    ingest(folder.path(), spans, interval, "ingest, interval");
    let folder = tempfile::tempdir().unwrap();
    ingest(
        folder.path(),
        spans,
        Durability::Fsync,
        "ingest, fsync, one sender",
    );
}
