//! Spans of one sidecar by their names, as the collector has them.

use std::time::Duration;

use e2e::{TraceSet, TraceSpan};
use serde_json::json;
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::wait;

const TIMEOUT: Duration = Duration::from_secs(60);

/// Returns the spans of an operation of a service, such as `send orders`, once there are `count`
/// or the time is over.
pub(crate) fn named_spans(
    collector: &CollectorInstance,
    service: &str,
    name: &str,
    count: usize,
) -> Vec<TraceSpan> {
    let find = || {
        let parameters = [("service", service), ("operation", name), ("limit", "500")];
        let traces = collector.search(&parameters).unwrap();
        let mut spans = TraceSet::from_json(&json!({ "data": traces })).spans;
        spans.retain(|span| span.name == name && span.service == service);
        spans
    };
    let complete = || Some(find()).filter(|spans| spans.len() >= count);
    wait::until(TIMEOUT, complete).unwrap_or_else(find)
}
