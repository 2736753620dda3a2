//! Spans in the JSON of Jaeger's first query API.

use serde_json::Value;

/// Returns the start of the first span of a trace, in microseconds since the epoch.
pub(crate) fn begin(trace: &Value) -> Option<u64> {
    list(trace, "spans")
        .iter()
        .filter_map(|span| span.get("startTime")?.as_u64())
        .min()
}

/// The fields of a span in Jaeger's JSON that the checks use.
pub(crate) struct LegacySpan<'a> {
    /// Trace id and span id.
    pub(crate) id: (&'a str, &'a str),
    pub(crate) service: &'a str,
    pub(crate) operation: &'a str,
    /// Trace id and span id of each reference.
    pub(crate) parents: Vec<(&'a str, &'a str)>,
    /// Start in microseconds since the epoch.
    pub(crate) start: u64,
    /// Duration in microseconds.
    pub(crate) duration: u64,
    tags: &'a [Value],
}

// === impl LegacySpan ===

impl<'a> LegacySpan<'a> {
    /// Returns the text of a tag.
    pub(crate) fn tag(&self, key: &str) -> Option<&'a str> {
        self.tags
            .iter()
            .find(|tag| text(tag, "key") == key)
            .and_then(|tag| tag.get("value")?.as_str())
    }

    /// Returns a tag of any type as text, or an empty string.
    pub(crate) fn tag_text(&self, key: &str) -> String {
        let tag = self.tags.iter().find(|tag| text(tag, "key") == key);
        match tag.and_then(|tag| tag.get("value")) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }
}

/// Returns the spans of a trace.
pub(crate) fn spans(trace: &Value) -> impl Iterator<Item = LegacySpan<'_>> {
    list(trace, "spans").iter().map(|span| {
        // Jaeger's JSON keeps services in a table of processes per trace.
        let process = format!("/processes/{}/serviceName", text(span, "processID"));
        LegacySpan {
            id: (text(span, "traceID"), text(span, "spanID")),
            service: trace
                .pointer(&process)
                .and_then(Value::as_str)
                .unwrap_or_default(),
            operation: text(span, "operationName"),
            parents: list(span, "references")
                .iter()
                .map(|r| (text(r, "traceID"), text(r, "spanID")))
                .collect(),
            start: number(span, "startTime"),
            duration: number(span, "duration"),
            tags: list(span, "tags"),
        }
    })
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}
