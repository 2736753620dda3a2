//! The collector's counters, in Prometheus text format 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use http::HeaderMap;
use throughline_store::{ObjectTotals, StoreOccupancy};

use crate::config::CollectorEndpoint;

/// The counters. All labels come from fixed sets, so their number is bounded.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<BTreeMap<CounterKey, u64>>);

/// The identity of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CounterKey {
    /// Spans received and stored.
    Received(IngestSource),
    /// Spans rejected, by reason.
    Rejected(IngestSource, &'static str),
    /// Values that were replaced or left out, by kind.
    Repaired(IngestSource, &'static str),
    /// Requests answered, by HTTP status; for the gRPC endpoints by gRPC status.
    Requests(CollectorEndpoint, u16),
    /// Requests of signals that are accepted and not stored.
    Dropped(CollectorEndpoint, &'static str),
    /// Connections closed to make room, or because the head of a request took too long.
    Closed(CollectorEndpoint, &'static str),
    /// Spans that were joined with a parent, by evidence.
    Woven(&'static str),
    /// Spans that stay without a parent, by reason.
    WeaveAbandoned(&'static str),
    /// Decisions that a later proof has confirmed or refuted, by result.
    WeaveChecks(&'static str),
    /// Spans that wait for a decision.
    WeaveOpen,
    /// Spans that wait until their trace is settled and is sent on.
    ForwardPending,
    /// Spans that are being sent on.
    ForwardQueued,
    /// Spans that were sent on.
    ForwardSent,
    /// Spans that were not sent on, by reason.
    ForwardDropped(&'static str),
    /// Requests with spans that were repeated.
    ForwardRetries,
    /// Traces that were sent on before they were settled.
    ForwardUnsettled,
    /// Joins that were found after their span was sent on.
    ForwardLateJoins,
    /// Entries that collectors share, by outcome.
    Decisions(&'static str),
    /// Records of a topic that were read, by outcome.
    Records(&'static str),
    /// Records of the assigned partitions that are not committed yet.
    RecordLag,
    /// Partitions that are assigned to this member of the group.
    AssignedPartitions,
    /// Commits of offsets, by outcome.
    OffsetCommits(&'static str),
}

/// Where spans come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum IngestSource {
    /// A port.
    Endpoint(CollectorEndpoint),
    /// A topic of Kafka.
    Topic {
        /// The spans may be parts of spans.
        are_fragments: bool,
    },
}

impl IngestSource {
    /// Returns the name in metrics and logs.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Endpoint(endpoint) => endpoint.label(),
            Self::Topic { .. } => "kafka",
        }
    }

    /// Returns whether a span may come in parts: only Zipkin's clients send them so.
    pub(crate) fn sends_fragments(self) -> bool {
        match self {
            Self::Endpoint(endpoint) => endpoint == CollectorEndpoint::Zipkin,
            Self::Topic { are_fragments } => are_fragments,
        }
    }
}

impl Metrics {
    /// Adds to a counter. Returns true for the first addition, so that the caller can log the
    /// first event of a kind and only count the others.
    pub(crate) fn add(&self, key: CounterKey, count: u64) -> bool {
        if count == 0 {
            return false;
        }
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total = counters.entry(key).or_default();
        *total += count;
        // Under the same lock as the addition: only one caller sees the first.
        *total == count
    }

    /// Sets the value of a gauge.
    pub(crate) fn set(&self, key: CounterKey, value: u64) {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counters.insert(key, value);
    }

    /// Returns the sum of some counters.
    pub(crate) fn sum(&self, is_counted: impl Fn(CounterKey) -> bool) -> u64 {
        let counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = counters.iter().filter(|(key, _)| is_counted(**key));
        counted.map(|(_, count)| count).sum()
    }

    /// Renders all counters and the occupancy of the store.
    pub(crate) fn render(&self, store: StoreOccupancy) -> String {
        // A copy, so that writing the text does not hold the lock that requests take.
        let counters = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut out = String::new();
        let received = "throughline_spans_received_total";
        write_family(&mut out, received, "counter", "Spans received and stored.");
        for (key, count) in &counters {
            if let CounterKey::Received(endpoint) = key {
                // The label is older than the term endpoint; dashboards use it.
                let labels = format_args!("{{door=\"{}\"}}", endpoint.label());
                write_line(&mut out, format_args!("{received}{labels} {count}"));
            }
        }
        let rejected = "throughline_spans_rejected_total";
        write_family(&mut out, rejected, "counter", "Spans rejected, by reason.");
        for (key, count) in &counters {
            if let CounterKey::Rejected(endpoint, reason) = key {
                let endpoint = endpoint.label();
                let labels = format_args!("{{door=\"{endpoint}\",reason=\"{reason}\"}}");
                write_line(&mut out, format_args!("{rejected}{labels} {count}"));
            }
        }
        let repaired = "throughline_values_repaired_total";
        let help = "Values of accepted spans that were replaced or left out, by kind.";
        write_family(&mut out, repaired, "counter", help);
        for (key, count) in &counters {
            if let CounterKey::Repaired(endpoint, kind) = key {
                let endpoint = endpoint.label();
                let labels = format_args!("{{door=\"{endpoint}\",kind=\"{kind}\"}}");
                write_line(&mut out, format_args!("{repaired}{labels} {count}"));
            }
        }
        let requests = "throughline_requests_total";
        let help = "Requests answered, by HTTP or gRPC status.";
        write_family(&mut out, requests, "counter", help);
        for (key, count) in &counters {
            if let CounterKey::Requests(endpoint, code) = key {
                let labels = format_args!("{{door=\"{}\",code=\"{code}\"}}", endpoint.label());
                write_line(&mut out, format_args!("{requests}{labels} {count}"));
            }
        }
        render_labelled(&mut out, &counters);
        render_records(&mut out, &counters);
        render_weaving(&mut out, &counters);
        render_forwarding(&mut out, &counters);
        render_decisions(&mut out, &counters);
        render_store(&mut out, store);
        if let Some(objects) = store.objects {
            render_objects(&mut out, objects);
        }
        out
    }
}

fn render_labelled(out: &mut String, counters: &BTreeMap<CounterKey, u64>) {
    let dropped = "throughline_signals_dropped_total";
    let help = "Requests with metrics or logs, which are accepted and not stored.";
    write_family(out, dropped, "counter", help);
    for (key, count) in counters {
        if let CounterKey::Dropped(endpoint, signal) = key {
            let endpoint = endpoint.label();
            let labels = format_args!("{{door=\"{endpoint}\",signal=\"{signal}\"}}");
            write_line(out, format_args!("{dropped}{labels} {count}"));
        }
    }
    let closed = "throughline_connections_closed_total";
    let help = "Connections closed before their request was complete, by reason.";
    write_family(out, closed, "counter", help);
    for (key, count) in counters {
        if let CounterKey::Closed(endpoint, reason) = key {
            let endpoint = endpoint.label();
            let labels = format_args!("{{door=\"{endpoint}\",reason=\"{reason}\"}}");
            write_line(out, format_args!("{closed}{labels} {count}"));
        }
    }
}

/// Renders the counters of a reader of records; nothing without one.
fn render_records(out: &mut String, counters: &BTreeMap<CounterKey, u64>) {
    for (name, key, help) in [
        (
            "throughline_kafka_assigned_partitions",
            CounterKey::AssignedPartitions,
            "Partitions that are assigned to this member of the consumer group.",
        ),
        (
            "throughline_kafka_consumer_lag",
            CounterKey::RecordLag,
            "Records of the assigned partitions whose offsets are not committed.",
        ),
    ] {
        if let Some(value) = counters.get(&key) {
            write_family(out, name, "gauge", help);
            write_line(out, format_args!("{name} {value}"));
        }
    }
    if !counters.contains_key(&CounterKey::AssignedPartitions) {
        return;
    }
    let records = "throughline_kafka_records_total";
    let help = "Records read: stored, poisoned (skipped) or refused by the store (kept).";
    write_family(out, records, "counter", help);
    for (key, count) in counters {
        if let CounterKey::Records(outcome) = key {
            let labels = format_args!("{{outcome=\"{outcome}\"}}");
            write_line(out, format_args!("{records}{labels} {count}"));
        }
    }
    let commits = "throughline_kafka_commits_total";
    write_family(out, commits, "counter", "Commits of offsets, by outcome.");
    for (key, count) in counters {
        if let CounterKey::OffsetCommits(outcome) = key {
            let labels = format_args!("{{outcome=\"{outcome}\"}}");
            write_line(out, format_args!("{commits}{labels} {count}"));
        }
    }
}

fn render_weaving(out: &mut String, counters: &BTreeMap<CounterKey, u64>) {
    let woven = "throughline_woven_total";
    let help = "Spans joined with a parent after the fact, by evidence.";
    write_family(out, woven, "counter", help);
    for (key, count) in counters {
        if let CounterKey::Woven(evidence) = key {
            let labels = format_args!("{{evidence=\"{evidence}\"}}");
            write_line(out, format_args!("{woven}{labels} {count}"));
        }
    }
    let open = "throughline_weave_open";
    let help = "Spans that wait for a decision about their parent.";
    write_family(out, open, "gauge", help);
    let count = counters.get(&CounterKey::WeaveOpen).unwrap_or(&0);
    write_line(out, format_args!("{open} {count}"));
    let checks = "throughline_weave_checks_total";
    let help = "Parents inferred with 0.99 or more that a later event has proven right or wrong.";
    write_family(out, checks, "counter", help);
    for (key, count) in counters {
        if let CounterKey::WeaveChecks(result) = key {
            let labels = format_args!("{{result=\"{result}\"}}");
            write_line(out, format_args!("{checks}{labels} {count}"));
        }
    }
    let abandoned = "throughline_weave_abandoned_total";
    let help = "Spans that could not be joined with a parent, by reason.";
    write_family(out, abandoned, "counter", help);
    for (key, count) in counters {
        if let CounterKey::WeaveAbandoned(reason) = key {
            let labels = format_args!("{{reason=\"{reason}\"}}");
            write_line(out, format_args!("{abandoned}{labels} {count}"));
        }
    }
}

/// Renders the counters of woven traces that are sent on; nothing where none are.
fn render_forwarding(out: &mut String, counters: &BTreeMap<CounterKey, u64>) {
    for (name, kind, key, help) in [
        (
            "throughline_forward_pending_spans",
            "gauge",
            CounterKey::ForwardPending,
            "Spans that wait until their woven trace is settled.",
        ),
        (
            "throughline_forward_queued_spans",
            "gauge",
            CounterKey::ForwardQueued,
            "Spans of woven traces that are being sent.",
        ),
        (
            "throughline_forward_sent_spans_total",
            "counter",
            CounterKey::ForwardSent,
            "Spans of woven traces that the back end has accepted.",
        ),
        (
            "throughline_forward_retries_total",
            "counter",
            CounterKey::ForwardRetries,
            "Requests with spans of woven traces that were sent again.",
        ),
        (
            "throughline_forward_unsettled_total",
            "counter",
            CounterKey::ForwardUnsettled,
            "Woven traces that were sent before they were settled.",
        ),
        (
            "throughline_forward_late_joins_total",
            "counter",
            CounterKey::ForwardLateJoins,
            "Joins that were found after their span was sent without them.",
        ),
    ] {
        if let Some(value) = counters.get(&key) {
            write_family(out, name, kind, help);
            write_line(out, format_args!("{name} {value}"));
        }
    }
    if !counters.contains_key(&CounterKey::ForwardSent) {
        return;
    }
    let dropped = "throughline_forward_dropped_spans_total";
    let help = "Spans of woven traces that were not sent, by reason.";
    write_family(out, dropped, "counter", help);
    for (key, count) in counters {
        if let CounterKey::ForwardDropped(reason) = key {
            let labels = format_args!("{{reason=\"{reason}\"}}");
            write_line(out, format_args!("{dropped}{labels} {count}"));
        }
    }
}

/// Renders the counters of what collectors share; nothing where they share nothing.
fn render_decisions(out: &mut String, counters: &BTreeMap<CounterKey, u64>) {
    let mut is_first = true;
    let name = "throughline_decisions_total";
    for (key, count) in counters {
        if let CounterKey::Decisions(outcome) = key {
            if is_first {
                let help = "Entries of the log of decisions, by outcome.";
                write_family(out, name, "counter", help);
                is_first = false;
            }
            let labels = format_args!("{{outcome=\"{outcome}\"}}");
            write_line(out, format_args!("{name}{labels} {count}"));
        }
    }
}

fn render_store(out: &mut String, store: StoreOccupancy) {
    for (name, kind, help, value) in [
        (
            "throughline_store_traces",
            "gauge",
            "Stored traces.",
            store.traces as u64,
        ),
        (
            "throughline_store_spans",
            "gauge",
            "Stored spans.",
            store.spans as u64,
        ),
        (
            "throughline_store_bytes",
            "gauge",
            "Estimated memory of the stored spans, in bytes.",
            store.bytes as u64,
        ),
        (
            "throughline_traces_evicted_total",
            "counter",
            "Traces evicted to make room for newer ones.",
            store.evicted_traces,
        ),
        (
            "throughline_spans_evicted_total",
            "counter",
            "Spans of evicted traces.",
            store.evicted_spans,
        ),
        (
            "throughline_store_woven_traces",
            "gauge",
            "Stored traces that consist of several reported ones.",
            store.woven_traces as u64,
        ),
        (
            "throughline_store_woven_spans",
            "gauge",
            "Stored spans that are joined with a parent after the fact.",
            store.woven_spans as u64,
        ),
        (
            "throughline_joins_evicted_total",
            "counter",
            "Joins of evicted traces, and those beyond the memory for joins.",
            store.evicted_joins,
        ),
    ] {
        write_family(out, name, kind, help);
        write_line(out, format_args!("{name} {value}"));
    }
}

fn render_objects(out: &mut String, objects: ObjectTotals) {
    for (name, kind, help, value) in [
        (
            "throughline_objects_local_bytes",
            "gauge",
            "Size of copies of objects and of segments that are not uploaded yet.",
            objects.bytes,
        ),
        (
            "throughline_objects_waiting_bytes",
            "gauge",
            "Size of segments that are not uploaded yet.",
            objects.waiting_bytes,
        ),
        (
            "throughline_objects_hits_total",
            "counter",
            "Files that were read and in the local folder.",
            objects.hits,
        ),
        (
            "throughline_objects_misses_total",
            "counter",
            "Files that were read and had to be downloaded.",
            objects.misses,
        ),
        (
            "throughline_objects_evictions_total",
            "counter",
            "Copies that were removed from the local folder to make room.",
            objects.evictions,
        ),
        (
            "throughline_objects_downloaded_bytes_total",
            "counter",
            "Downloaded bytes.",
            objects.downloaded_bytes,
        ),
        (
            "throughline_objects_download_failures_total",
            "counter",
            "Downloads that failed.",
            objects.download_failures,
        ),
        (
            "throughline_objects_uploaded_bytes_total",
            "counter",
            "Uploaded bytes.",
            objects.uploaded_bytes,
        ),
        (
            "throughline_objects_upload_failures_total",
            "counter",
            "Uploads that failed and are repeated.",
            objects.upload_failures,
        ),
        (
            "throughline_objects_delete_failures_total",
            "counter",
            "Deletions that failed and are repeated.",
            objects.delete_failures,
        ),
    ] {
        write_family(out, name, kind, help);
        write_line(out, format_args!("{name} {value}"));
    }
}

fn write_family(out: &mut String, name: &str, kind: &str, help: &str) {
    write_line(
        out,
        format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"),
    );
}

fn write_line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    writeln!(out, "{text}").unwrap_or_default();
}

/// Returns the router with its responses counted.
pub(crate) fn count_requests(
    router: Router,
    endpoint: CollectorEndpoint,
    metrics: Arc<Metrics>,
) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let metrics = Arc::clone(&metrics);
        async move {
            let response = next.run(request).await;
            let code = if endpoint.is_grpc() {
                grpc_status(response.headers())
            } else {
                response.status().as_u16()
            };
            // One log line for each status and endpoint, not one for each request.
            let is_first = metrics.add(CounterKey::Requests(endpoint, code), 1);
            // A failed query is reported to the person who sent it; a sender of spans may ignore
            // the response, so the operator has to see it.
            let is_rejected = match endpoint {
                CollectorEndpoint::OtlpGrpc => code != 0,
                CollectorEndpoint::OtlpHttp
                | CollectorEndpoint::Zipkin
                | CollectorEndpoint::JaegerHttp
                | CollectorEndpoint::JaegerCompact
                | CollectorEndpoint::JaegerBinary
                | CollectorEndpoint::JaegerSampling => code >= 400,
                CollectorEndpoint::Query | CollectorEndpoint::QueryGrpc => false,
            };
            if is_first && is_rejected {
                tracing::warn!(
                    endpoint = endpoint.label(),
                    code,
                    "request rejected; further ones are only counted, see /metrics"
                );
            }
            response
        }
    }))
}

/// Reads the gRPC status. A response without a message has it among its headers; a response with a
/// message succeeded.
fn grpc_status(headers: &HeaderMap) -> u16 {
    headers
        .get("grpc-status")
        .and_then(|status| status.to_str().ok()?.parse().ok())
        .unwrap_or_default()
}
