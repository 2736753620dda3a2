//! Trace summaries in the JSON of Jaeger's API v3 (`TraceSummary`). Fields that are zero are
//! omitted.

use std::collections::{BTreeMap, HashSet};

use throughline_model::{Span, SpanId, destination};
use throughline_store::{StoredTrace, is_settlement};

/// The summary of a trace.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JaegerSummaryJson<'a> {
    trace_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_service_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_operation_name: Option<&'a str>,
    /// Where the call of the root went, if it is a client. Not part of Jaeger's message.
    #[serde(skip_serializing_if = "Option::is_none")]
    root_destination: Option<String>,
    min_start_time_unix_nano: String,
    /// End of the work; commits and acknowledgements of messages do not count.
    max_end_time_unix_nano: String,
    /// End of the last commit or acknowledgement, if it is later. Not part of Jaeger's message.
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_time_unix_nano: Option<String>,
    span_count: usize,
    #[serde(skip_serializing_if = "is_zero")]
    error_span_count: usize,
    /// Spans whose parent is not stored.
    #[serde(skip_serializing_if = "is_zero")]
    orphan_span_count: usize,
    services: Vec<ServiceSummaryJson<'a>>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceSummaryJson<'a> {
    name: &'a str,
    span_count: usize,
    #[serde(skip_serializing_if = "is_zero")]
    error_span_count: usize,
}

impl<'a> From<&'a StoredTrace> for JaegerSummaryJson<'a> {
    fn from(trace: &'a StoredTrace) -> Self {
        let ids: HashSet<SpanId> = trace.spans.iter().map(|span| span.span_id).collect();
        let is_orphan = |span: &&Span| {
            span.parent_span_id
                .is_some_and(|parent| !ids.contains(&parent))
        };
        let spans = || trace.spans.iter().map(|span| &**span);
        // Spans are ordered by start, so this is the earliest root.
        let root = spans().find(|span| span.parent_span_id.is_none());
        let settled = spans().map(|span| span.end).max().unwrap_or_default();
        let work = spans().filter(|span| !is_settlement(span));
        let end = work.map(|span| span.end).max().unwrap_or(settled);
        Self {
            trace_id: trace.id.to_string(),
            root_service_name: root.map(Span::service),
            root_operation_name: root.map(|span| span.name.as_str()),
            root_destination: root.and_then(destination::of_span),
            min_start_time_unix_nano: spans()
                .map(|span| span.start)
                .min()
                .unwrap_or_default()
                .to_string(),
            max_end_time_unix_nano: end.to_string(),
            settled_time_unix_nano: (settled > end).then(|| settled.to_string()),
            span_count: trace.spans.len(),
            error_span_count: spans().filter(|span| span.failed()).count(),
            orphan_span_count: spans().filter(is_orphan).count(),
            services: services(trace),
        }
    }
}

fn services(trace: &StoredTrace) -> Vec<ServiceSummaryJson<'_>> {
    let mut services: BTreeMap<&str, ServiceSummaryJson<'_>> = BTreeMap::new();
    for span in &trace.spans {
        let name = span.service();
        let service = services.entry(name).or_insert(ServiceSummaryJson {
            name,
            span_count: 0,
            error_span_count: 0,
        });
        service.span_count += 1;
        service.error_span_count += usize::from(span.failed());
    }
    services.into_values().collect()
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde requires"
)]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}
