//! From the messages of OTLP to spans.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue as ProtoKeyValue,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1::span::{Event as ProtoEvent, Link as ProtoLink};
use opentelemetry_proto::tonic::trace::v1::{
    ScopeSpans, Span as ProtoSpan, Status as ProtoStatus, status::StatusCode,
};
use throughline_model::convention::SERVICE_NAME;
use throughline_model::{
    DroppedCounts, Event, KeyValue, Link, Resource, Scope, Span, SpanId, SpanKind, Status, TraceId,
    Value,
};

use crate::repair::RepairCounts;

/// The valid spans of a request, and the count of the others.
#[derive(Debug, Default, PartialEq)]
pub struct DecodedSpans {
    /// The valid spans in the order of the request. Spans of one export share resource and scope.
    pub spans: Vec<Span>,
    /// The invalid spans.
    pub rejected: RejectedSpans,
    /// The values that were replaced or left out.
    pub repairs: RepairCounts,
}

/// The number of rejected spans, by reason.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RejectedSpans(BTreeMap<RejectionReason, u64>);

/// The reason why a span is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RejectionReason {
    /// The trace id is not 16 bytes, or all zero.
    Trace,
    /// The span id is not 8 bytes, or all zero.
    Span,
    /// There is a parent span id, and it is not 8 bytes.
    ParentSpan,
    /// Start or end is not a time.
    Time,
    /// The span is not a message or object, or its fields are not of their types.
    Malformed,
    /// The sender may not send spans of this service.
    Service,
    /// The span is larger than the next collector or broker accepts.
    Size,
}

// === impl RejectedSpans ===

impl RejectedSpans {
    /// Counts a span.
    pub fn add(&mut self, reason: RejectionReason) {
        *self.0.entry(reason).or_default() += 1;
    }

    /// Returns the number of all rejected spans.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Returns the number of spans for each reason.
    pub fn iter(&self) -> impl Iterator<Item = (RejectionReason, u64)> + '_ {
        self.0.iter().map(|(reason, count)| (*reason, *count))
    }
}

impl fmt::Display for RejectedSpans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (reason, count)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let spans = if count == 1 { "span" } else { "spans" };
            write!(f, "{separator}{count} {spans} rejected: {reason}")?;
        }
        Ok(())
    }
}

// === impl RejectionReason ===

impl RejectionReason {
    /// Returns the label in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Trace => "trace_id",
            Self::Span => "span_id",
            Self::ParentSpan => "parent_span_id",
            Self::Time => "time",
            Self::Malformed => "malformed",
            Self::Service => "service",
            Self::Size => "size",
        }
    }
}

impl fmt::Display for RejectionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trace => "the trace id must be 16 bytes, not all zero",
            Self::Span => "the span id must be 8 bytes, not all zero",
            Self::ParentSpan => "the parent span id must be 8 bytes or absent",
            Self::Time => "start and end must be nanoseconds since 1970",
            Self::Malformed => "the span is malformed",
            Self::Service => "the token does not allow spans of this service",
            Self::Size => "the span is too large to be forwarded",
        })
    }
}

/// Converts a parsed request.
pub(crate) fn decode(
    request: ExportTraceServiceRequest,
    mut decoded: DecodedSpans,
) -> DecodedSpans {
    for group in request.resource_spans {
        let resource = Arc::new(resource(group.resource, group.schema_url));
        for spans in group.scope_spans {
            decode_scope(spans, &resource, &mut decoded);
        }
    }
    decoded
}

/// Converts a resource.
pub(crate) fn resource(resource: Option<ProtoResource>, schema_url: String) -> Resource {
    let mut attributes = resource.map_or_else(Vec::new, |it| key_values(it.attributes));
    name_service(&mut attributes);
    Resource {
        attributes,
        schema_url,
    }
}

/// Converts a scope.
pub(crate) fn scope(scope: InstrumentationScope, schema_url: String) -> Scope {
    Scope {
        name: scope.name,
        version: scope.version,
        attributes: key_values(scope.attributes),
        schema_url,
    }
}

fn decode_scope(group: ScopeSpans, resource: &Arc<Resource>, decoded: &mut DecodedSpans) {
    let scope = Arc::new(scope(group.scope.unwrap_or_default(), group.schema_url));
    // Bounded by the number of messages that were counted before decoding.
    decoded.spans.reserve(group.spans.len());
    for span in group.spans {
        match decode_span(span, resource, &scope) {
            Ok(span) => decoded.spans.push(span),
            // The others of the request are kept: the response becomes a partial success.
            Err(reason) => decoded.rejected.add(reason),
        }
    }
}

pub(crate) fn decode_span(
    span: ProtoSpan,
    resource: &Arc<Resource>,
    scope: &Arc<Scope>,
) -> Result<Span, RejectionReason> {
    let trace_id = trace_id(&span.trace_id).ok_or(RejectionReason::Trace)?;
    let span_id = span_id(&span.span_id).ok_or(RejectionReason::Span)?;
    let parent_span_id = match span.parent_span_id.as_slice() {
        // Some senders write a missing parent as zeros.
        [] | [0, 0, 0, 0, 0, 0, 0, 0] => None,
        id => Some(self::span_id(id).ok_or(RejectionReason::ParentSpan)?),
    };
    let sent_links = span.links.len();
    // An invalid link does not invalidate its span; it counts as dropped.
    let mut links = Vec::with_capacity(sent_links);
    links.extend(span.links.into_iter().filter_map(decode_link));
    let invalid_links = u32::try_from(sent_links - links.len()).unwrap_or(u32::MAX);
    let dropped = DroppedCounts {
        attributes: span.dropped_attributes_count,
        events: span.dropped_events_count,
        links: span.dropped_links_count.saturating_add(invalid_links),
    };
    let (status, status_message) = decode_status(span.status.unwrap_or_default());
    Ok(Span {
        trace_id,
        span_id,
        parent_span_id,
        flags: span.flags,
        trace_state: span.trace_state,
        name: span.name,
        kind: kind(span.kind),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: key_values(span.attributes),
        events: span.events.into_iter().map(decode_event).collect(),
        links,
        status,
        status_message,
        dropped,
        resource: Arc::clone(resource),
        scope: Arc::clone(scope),
    })
}

/// Turns a service name of another type into text, as it is nothing but a name.
fn name_service(attributes: &mut [KeyValue]) {
    for pair in attributes
        .iter_mut()
        .filter(|pair| pair.key == SERVICE_NAME)
    {
        let name = match &pair.value {
            Value::Int(number) => number.to_string(),
            Value::Double(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            Value::Empty | Value::String(_) | Value::Bytes(_) | Value::Array(_) | Value::Map(_) => {
                continue;
            }
        };
        pair.value = Value::from(name);
    }
}

fn trace_id(bytes: &[u8]) -> Option<TraceId> {
    bytes.try_into().ok().and_then(TraceId::from_bytes)
}

fn span_id(bytes: &[u8]) -> Option<SpanId> {
    bytes.try_into().ok().and_then(SpanId::from_bytes)
}

/// Converts a kind. Unknown ones count as unspecified (proto3, open enums).
pub(crate) fn kind(number: i32) -> SpanKind {
    match number {
        1 => SpanKind::Internal,
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        _ => SpanKind::Unspecified,
    }
}

/// Converts a status; the text is the message of one other than a failure.
fn decode_status(status: ProtoStatus) -> (Status, Box<str>) {
    match StatusCode::try_from(status.code) {
        Ok(StatusCode::Ok) => (Status::Ok, status.message.into()),
        Ok(StatusCode::Error) => (Status::Error(status.message), Box::default()),
        // Unknown codes count as unset (proto3, open enums).
        Ok(StatusCode::Unset) | Err(_) => (Status::Unset, status.message.into()),
    }
}

fn decode_event(event: ProtoEvent) -> Event {
    Event {
        time: event.time_unix_nano,
        name: event.name,
        attributes: key_values(event.attributes),
    }
}

/// Converts a link; `None` when an id is invalid.
fn decode_link(link: ProtoLink) -> Option<Link> {
    Some(Link {
        trace_id: trace_id(&link.trace_id)?,
        span_id: span_id(&link.span_id)?,
        trace_state: link.trace_state,
        flags: link.flags,
        attributes: key_values(link.attributes),
    })
}

fn key_values(pairs: Vec<ProtoKeyValue>) -> Vec<KeyValue> {
    pairs.into_iter().map(key_value).collect()
}

/// Converts an attribute.
pub(crate) fn key_value(pair: ProtoKeyValue) -> KeyValue {
    KeyValue::new(pair.key, pair.value.map_or(Value::Empty, value))
}

/// Converts a value. The parsers bound its depth: prost at 100 messages, `serde_json` at 128
/// brackets.
fn value(any: AnyValue) -> Value {
    match any.value {
        Some(ProtoValue::StringValue(text)) => Value::String(text.into()),
        Some(ProtoValue::BoolValue(truth)) => Value::Bool(truth),
        Some(ProtoValue::IntValue(number)) => Value::Int(number),
        Some(ProtoValue::DoubleValue(number)) => Value::Double(number),
        Some(ProtoValue::BytesValue(bytes)) => Value::Bytes(bytes),
        Some(ProtoValue::ArrayValue(array)) => {
            Value::Array(array.values.into_iter().map(value).collect())
        }
        Some(ProtoValue::KvlistValue(list)) => Value::Map(key_values(list.values)),
        // An index into the string table of profiles, which traces do not have.
        Some(ProtoValue::StringValueStrindex(_)) | None => Value::Empty,
    }
}
