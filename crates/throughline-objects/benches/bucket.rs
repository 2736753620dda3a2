//! Queries of a node that reads a bucket, and of one that reads a folder with the same segments.
//!
//! `cargo bench -p throughline-objects -- SEGMENTS` uploads as many segments of 65,536 spans to a
//! server of S3 in this process, on the loopback. Each case is asked of a node without copies, of
//! the same one again, and of a node of the folder. One line of JSON per case goes to stdout.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, which fails by panicking"
)]

#[path = "../../throughline-segments/benches/store/spans.rs"]
mod spans;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use throughline_objects::S3Bucket;
use throughline_segments::{DiskSettings, DiskStore, ObjectBucket};
use throughline_store::{
    AttributeScope, ObjectTotals, SpanField, SpanFilter, Store, TraceExpression, TraceQuery,
    ValuePredicate, WeavingView,
};
use throughline_testkit::s3::S3Server;

use self::spans::{BATCH_SPANS, SPACING, START, TRACE_SPANS, request, resources, trace_id};

/// Spans of a segment.
const SEGMENT_SPANS: u64 = 65_536;

/// Segments without an argument.
const DEFAULT_SEGMENTS: u64 = 8;

fn settings() -> DiskSettings {
    DiskSettings {
        min_free_bytes: 0,
        ..DiskSettings::default()
    }
}

fn bucket(server: &S3Server) -> Arc<dyn ObjectBucket> {
    let variables = server.variables();
    let variables = variables.into_iter();
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    Arc::new(S3Bucket::open("s3://traces/bench", variables).unwrap())
}

/// Stores segments and waits for their uploads.
fn fill(folder: &Path, server: &S3Server, segments: u64) {
    let store = DiskStore::open_objects(folder, bucket(server), settings()).unwrap();
    let resources = resources();
    for segment in 0..segments {
        let first = segment * SEGMENT_SPANS;
        let batches = (first..first + SEGMENT_SPANS).step_by(BATCH_SPANS.try_into().unwrap());
        for batch in batches {
            let inserted = store.insert_undecoded(&request(batch, &resources));
            inserted.unwrap().unwrap();
        }
        store.seal();
    }
    let begun = Instant::now();
    while totals(&store).waiting_bytes > 0 {
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let (count, bytes) = store.segments();
    println!(
        "{}",
        json!({
            "segments": count,
            "segment_bytes_per_span": bytes / (segments * SEGMENT_SPANS),
            "uploaded_bytes": totals(&store).uploaded_bytes,
            "upload_ms_after_sealing": begun.elapsed().as_millis(),
        })
    );
}

fn totals(store: &dyn Store) -> ObjectTotals {
    store.occupancy().objects.unwrap_or_default()
}

fn filtered(filter: SpanFilter) -> TraceQuery {
    TraceQuery {
        expression: Some(TraceExpression::Spans(filter)),
        limit: 20,
        ..TraceQuery::default()
    }
}

/// A query; returns the number of its results.
type QueryCase = Box<dyn Fn(&dyn Store) -> u64>;

fn cases(segments: u64) -> Vec<(&'static str, QueryCase)> {
    let search = |filter: SpanFilter| -> QueryCase {
        let query = filtered(filter);
        Box::new(move |store| store.search(&query).traces.len() as u64)
    };
    let user = SpanField::Attribute(AttributeScope::Span, "user.id".to_owned());
    let traces = segments * SEGMENT_SPANS / TRACE_SPANS;
    vec![
        (
            "trace by id",
            Box::new(move |store| {
                let trace = store.trace(trace_id(traces / 3), WeavingView::Woven);
                trace.unwrap().spans.len() as u64
            }),
        ),
        (
            "newest 20 of a service",
            search(SpanFilter::Is(
                SpanField::Service,
                ValuePredicate::equal("service-7"),
            )),
        ),
        (
            "20 traces with an attribute",
            search(SpanFilter::Is(user, ValuePredicate::equal("4711"))),
        ),
        (
            "map of all",
            Box::new(move |store| {
                let end = START + segments * SEGMENT_SPANS * SPACING;
                store.service_graph(START, end).spans
            }),
        ),
    ]
}

fn main() {
    let segments = std::env::args().find_map(|argument| argument.parse().ok());
    let segments = segments.unwrap_or(DEFAULT_SEGMENTS);
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let server = S3Server::start(&root.join("s3"), "traces").unwrap();
    fill(&root.join("members/one"), &server, segments);
    let of_folder = DiskStore::open_query_only(&root.join("members"), settings()).unwrap();
    let mut cold = 0;
    let mut open = || {
        cold += 1;
        let local = root.join(format!("node-{cold}"));
        let begun = Instant::now();
        let node = DiskStore::open_query_only_objects(&local, bucket(&server), settings());
        (node.unwrap(), begun.elapsed())
    };
    for (name, ask) in cases(segments) {
        let time = |store: &dyn Store| {
            let begun = Instant::now();
            let results = ask(store);
            (results, begun.elapsed())
        };
        // Each cold query has a node of its own.
        let (node, opened) = open();
        let before = totals(&*node);
        let (results, first) = time(&*node);
        let downloaded = totals(&*node);
        let (again, second) = time(&*node);
        time(&*of_folder);
        let (expected, of_folder) = time(&*of_folder);
        assert_eq!([results, again], [expected; 2], "{name}");
        let ms = |time: Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
        println!(
            "{}",
            json!({
                "case": name,
                "results": results,
                "open_ms": ms(opened),
                "index_bytes": before.downloaded_bytes,
                "cold_ms": ms(first),
                "downloads": downloaded.misses - before.misses,
                "downloaded_bytes": downloaded.downloaded_bytes - before.downloaded_bytes,
                "warm_ms": ms(second),
                "folder_ms": ms(of_folder),
            })
        );
    }
}
