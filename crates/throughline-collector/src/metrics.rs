//! What the collector counts, and how it tells (Prometheus text format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use http::HeaderMap;
use throughline_store::Occupancy;

use crate::config::Door;

/// Counters, by what they count. All labels come from a fixed set, so there are never many.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<BTreeMap<Counter, u64>>);

/// Something counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Counter {
    /// Spans that came in by a door and were kept.
    Received(Door),
    /// Spans that were not kept, by reason.
    Rejected(Door, &'static str),
    /// Requests answered, by HTTP status, or by gRPC status at the door where that is the answer.
    Requests(Door, u16),
}

impl Metrics {
    /// Adds to a counter; `true` when it was nothing before, so that what then only counts on can be logged once.
    pub(crate) fn add(&self, counter: Counter, count: u64) -> bool {
        if count == 0 {
            return false;
        }
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total = counters.entry(counter).or_default();
        *total += count;
        *total == count
    }

    /// All counters, and what the store says of itself.
    pub(crate) fn render(&self, store: Occupancy) -> String {
        let counters = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut out = String::new();
        family(
            &mut out,
            "throughline_spans_received_total",
            "counter",
            "Spans kept, by the door they came in.",
        );
        for (counter, count) in &counters {
            if let Counter::Received(door) = counter {
                line(
                    &mut out,
                    format_args!(
                        "throughline_spans_received_total{{door=\"{}\"}} {count}",
                        door.label()
                    ),
                );
            }
        }
        family(
            &mut out,
            "throughline_spans_rejected_total",
            "counter",
            "Spans not kept, by reason.",
        );
        for (counter, count) in &counters {
            if let Counter::Rejected(door, reason) = counter {
                let door = door.label();
                let labels = format_args!("{{door=\"{door}\",reason=\"{reason}\"}}");
                line(
                    &mut out,
                    format_args!("throughline_spans_rejected_total{labels} {count}"),
                );
            }
        }
        family(
            &mut out,
            "throughline_requests_total",
            "counter",
            "Requests answered, by HTTP or gRPC status.",
        );
        for (counter, count) in &counters {
            if let Counter::Requests(door, code) = counter {
                let labels = format_args!("{{door=\"{}\",code=\"{code}\"}}", door.label());
                line(
                    &mut out,
                    format_args!("throughline_requests_total{labels} {count}"),
                );
            }
        }
        render_store(&mut out, store);
        out
    }
}

fn render_store(out: &mut String, store: Occupancy) {
    let evicted = "to make room for newer ones.";
    for (name, kind, help, value) in [
        (
            "throughline_store_traces",
            "gauge",
            "Traces kept.".to_owned(),
            store.traces as u64,
        ),
        (
            "throughline_store_spans",
            "gauge",
            "Spans kept.".to_owned(),
            store.spans as u64,
        ),
        (
            "throughline_store_bytes",
            "gauge",
            "Bytes that spans take, about.".to_owned(),
            store.bytes as u64,
        ),
        (
            "throughline_traces_evicted_total",
            "counter",
            format!("Traces let go {evicted}"),
            store.evicted_traces,
        ),
        (
            "throughline_spans_evicted_total",
            "counter",
            format!("Spans let go {evicted}"),
            store.evicted_spans,
        ),
    ] {
        family(out, name, kind, &help);
        line(out, format_args!("{name} {value}"));
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    line(
        out,
        format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"),
    );
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    writeln!(out, "{text}").unwrap_or_default();
}

/// The router with its answers counted.
pub(crate) fn counted(router: Router, door: Door, metrics: Arc<Metrics>) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let metrics = Arc::clone(&metrics);
        async move {
            let response = next.run(request).await;
            let code = match door {
                Door::OtlpGrpc => grpc_status(response.headers()),
                Door::OtlpHttp | Door::Zipkin | Door::Query => response.status().as_u16(),
            };
            let first = metrics.add(Counter::Requests(door, code), 1);
            let refused = match door {
                Door::OtlpGrpc => code != 0,
                Door::OtlpHttp | Door::Zipkin => code >= 400,
                Door::Query => false,
            };
            if first && refused {
                tracing::warn!(
                    door = door.label(),
                    code,
                    "refused a request; more like it are only counted, in /metrics"
                );
            }
            response
        }
    }))
}

/// The status of an answer without a body is among its headers; one with a body went well, or there would be none.
fn grpc_status(headers: &HeaderMap) -> u16 {
    headers
        .get("grpc-status")
        .and_then(|status| status.to_str().ok()?.parse().ok())
        .unwrap_or_default()
}
