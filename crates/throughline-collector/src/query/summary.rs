//! What a list of traces shows of each (Jaeger's `TraceSummary`); fields that are zero are left out.

use std::collections::{BTreeMap, HashSet};

use throughline_model::{Span, SpanId};
use throughline_store::Trace;

/// A trace in short.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SummaryJson<'a> {
    trace_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_service_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_operation_name: Option<&'a str>,
    min_start_time_unix_nano: String,
    max_end_time_unix_nano: String,
    span_count: usize,
    #[serde(skip_serializing_if = "is_zero")]
    error_span_count: usize,
    /// Spans whose parent is not there.
    #[serde(skip_serializing_if = "is_zero")]
    orphan_span_count: usize,
    services: Vec<ServiceJson<'a>>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceJson<'a> {
    name: &'a str,
    span_count: usize,
    #[serde(skip_serializing_if = "is_zero")]
    error_span_count: usize,
}

impl<'a> From<&'a Trace> for SummaryJson<'a> {
    fn from(trace: &'a Trace) -> Self {
        let ids: HashSet<SpanId> = trace.spans.iter().map(|span| span.span_id).collect();
        let is_orphan = |span: &&Span| {
            span.parent_span_id
                .is_some_and(|parent| !ids.contains(&parent))
        };
        let spans = || trace.spans.iter().map(|span| &**span);
        // Spans are ordered by start: the first root is the one that began it all.
        let root = spans().find(|span| span.parent_span_id.is_none());
        Self {
            trace_id: trace.id.to_string(),
            root_service_name: root.map(Span::service),
            root_operation_name: root.map(|span| span.name.as_str()),
            min_start_time_unix_nano: spans()
                .map(|span| span.start)
                .min()
                .unwrap_or_default()
                .to_string(),
            max_end_time_unix_nano: spans()
                .map(|span| span.end)
                .max()
                .unwrap_or_default()
                .to_string(),
            span_count: trace.spans.len(),
            error_span_count: spans().filter(|span| span.failed()).count(),
            orphan_span_count: spans().filter(is_orphan).count(),
            services: services(trace),
        }
    }
}

fn services(trace: &Trace) -> Vec<ServiceJson<'_>> {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for span in &trace.spans {
        let (spans, errors) = counts.entry(span.service()).or_default();
        *spans += 1;
        *errors += usize::from(span.failed());
    }
    counts
        .into_iter()
        .map(|(name, (span_count, error_span_count))| ServiceJson {
            name,
            span_count,
            error_span_count,
        })
        .collect()
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}
