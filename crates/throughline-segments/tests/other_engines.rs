//! DuckDB, ClickHouse and Spark read the segments of two stores that are open: the examples of
//! docs/scaling.md.
//!
//! The packages are downloaded once from PyPI into `.tools/` at the root of the repository; this
//! requires `python3` with `venv`, and Java for Spark.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reports its failure by panicking"
)]

#[path = "../../throughline-collector/tests/it/python.rs"]
mod python;

use std::process::Command;
use std::sync::Arc;

use throughline_model::{
    DroppedCounts, Event, KeyValue, Link, Resource, Span, SpanId, SpanKind, Status, TraceId, Value,
};
use throughline_segments::{DiskSettings, DiskStore};
use throughline_store::Store as _;

/// Pinned, so that the test means the same next year.
const DUCKDB: [&str; 1] = ["duckdb==2.0.1"];
const CHDB: [&str; 1] = ["chdb==4.4.0"];
const SPARK: [&str; 1] = ["pyspark==4.3.0"];

const DUCKDB_SCRIPT: &str = r#"
import duckdb, sys
spans = f"read_parquet('{sys.argv[1]}/*/segments/*/*.parquet')"
for query in [
    "SELECT service_name, name, count(*), sum(duration_ns)::BIGINT FROM {0} GROUP BY ALL"
    " ORDER BY ALL",
    "SELECT count(*) FROM {0} WHERE attributes['user.id'] = '17'"
    " AND start_time > TIMESTAMP '2020-01-01'",
    "SELECT min(http_response_status_code), max(http_response_status_code) FROM {0}",
    "SELECT count(*) FROM {0} WHERE links[1].trace_id = trace_id",
    "SELECT sum(len(events)), max(events[1].attributes['at']) FROM {0}",
    "SELECT resource['service.name'], attribute_types, attributes['list'] FROM {0}"
    " ORDER BY start_time LIMIT 1",
    "SELECT count(DISTINCT trace_id), count(parent_span_id), count(original) FROM {0}",
]:
    print(duckdb.sql(query.replace("{0}", spans)).fetchall())
"#;

const CHDB_SCRIPT: &str = r#"
import chdb, sys
spans = f"file('{sys.argv[1]}/*/segments/*/*.parquet', Parquet)"
for query in [
    "SELECT service_name, name, count(), sum(duration_ns) FROM {0} GROUP BY ALL ORDER BY ALL",
    "SELECT count() FROM {0} WHERE attributes['user.id'] = '17'"
    " AND start_time > '2020-01-01 00:00:00'",
    "SELECT sum(length(events.name)), max(events.attributes[1]['at']) FROM {0}",
    "SELECT uniqExact(trace_id), count(parent_span_id) FROM {0}",
]:
    print(chdb.query(query.replace("{0}", spans), "JSONCompactEachRow"), end="")
"#;

const SPARK_SCRIPT: &str = r#"
import sys
from pyspark.sql import SparkSession
spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.sql.legacy.parquet.nanosAsLong", "true")
    .getOrCreate()
)
spark.read.parquet(f"{sys.argv[1]}/*/segments/*/*.parquet").createOrReplaceTempView("spans")
for query in [
    "SELECT service_name, name, count(*), sum(duration_ns) FROM spans GROUP BY ALL ORDER BY ALL",
    "SELECT count(*) FROM spans WHERE attributes['user.id'] = '17'"
    " AND timestamp_micros(start_time div 1000) > TIMESTAMP '2020-01-01'",
    "SELECT sum(size(events)), max(events[0].attributes['at']) FROM spans",
    "SELECT count(DISTINCT trace_id), count(parent_span_id) FROM spans",
]:
    print([tuple(row) for row in spark.sql(query).collect()])
"#;

fn span(number: u64) -> Span {
    let id = |number: u64| SpanId::from_bytes(number.to_be_bytes()).unwrap();
    let trace = u128::from(number / 4 + 1);
    let trace_id = TraceId::from_bytes(trace.to_be_bytes()).unwrap();
    let status_code = i64::try_from(200 + number % 4 * 100).unwrap();
    Span {
        trace_id,
        span_id: id(number + 1),
        parent_span_id: (!number.is_multiple_of(4)).then(|| id(number)),
        flags: 0x101,
        trace_state: String::new(),
        name: ["get", "put"][usize::from(number % 2 == 1)].to_owned(),
        kind: SpanKind::Server,
        start: 1_764_450_000_000_000_000 + number * 1000,
        end: 1_764_450_000_000_000_500 + number * 1000,
        attributes: vec![
            KeyValue::new("user.id", (number % 100).to_string()),
            KeyValue::new("http.response.status_code", status_code),
            KeyValue::new("list", Value::Array(vec![Value::Int(1), Value::from("a")])),
        ],
        events: vec![Event {
            time: 1_764_450_000_000_000_100,
            name: "event".to_owned(),
            attributes: vec![KeyValue::new("at", 0.5)],
        }],
        links: vec![Link {
            trace_id,
            span_id: id(1),
            trace_state: String::new(),
            flags: 0,
            attributes: Vec::new(),
        }],
        status: Status::Unset,
        status_message: Box::default(),
        dropped: DroppedCounts::default(),
        resource: Arc::new(Resource::of_service("shop")),
        scope: Arc::default(),
    }
}

/// Runs a script on two stores, and returns the lines that it prints.
fn run(name: &str, packages: &[&str], script: &str) -> Vec<String> {
    let python = python::interpreter(name, packages);
    let folder = tempfile::tempdir().unwrap();
    let stores = [("member-1", 0..10_000), ("member-2", 10_000..20_000)];
    // Both stay open.
    let _stores = stores.map(|(name, spans)| {
        let settings = DiskSettings {
            min_free_bytes: 0,
            ..DiskSettings::default()
        };
        let store = DiskStore::open(&folder.path().join(name), settings).unwrap();
        // A segment of several pages.
        store.insert(spans.map(span).collect()).unwrap();
        store.seal();
        store
    });
    let mut command = Command::new(python);
    command.args(["-c", script]).arg(folder.path());
    let output = python::run(&mut command);
    output.lines().map(str::to_owned).collect()
}

#[test]
fn duckdb_reads_what_was_stored() {
    assert_eq!(
        run("duckdb", &DUCKDB, DUCKDB_SCRIPT),
        [
            "[('shop', 'get', 10000, 5000000), ('shop', 'put', 10000, 5000000)]",
            "[(200,)]",
            "[(200, 500)]",
            "[(20000,)]",
            "[(20000, '0.5')]",
            "[('shop', 'sij', '[1,\"a\"]')]",
            "[(5000, 15000, 0)]",
        ]
    );
}

#[test]
fn clickhouse_reads_what_was_stored() {
    assert_eq!(
        run("chdb", &CHDB, CHDB_SCRIPT),
        [
            "[\"shop\", \"get\", 10000, 5000000]",
            "[\"shop\", \"put\", 10000, 5000000]",
            "[200]",
            "[20000, \"0.5\"]",
            "[5000, 15000]",
        ]
    );
}

#[test]
fn spark_reads_what_was_stored() {
    assert_eq!(
        run("spark", &SPARK, SPARK_SCRIPT),
        [
            "[('shop', 'get', 10000, 5000000), ('shop', 'put', 10000, 5000000)]",
            "[(200,)]",
            "[(20000, '0.5')]",
            "[(5000, 15000)]",
        ]
    );
}
