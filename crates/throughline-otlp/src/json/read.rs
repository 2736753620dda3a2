//! The types that are parsed. Every field may be absent or `null`; unknown ones are skipped.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use super::scalar::{EnumNumber, FloatNumber, HexBytes, NullableField, WholeNumber};

/// Padding is optional: proto3 accepts base64 with and without it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `ExportTraceServiceRequest`.
#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RequestInput {
    resource_spans: NullableField<Vec<ResourceSpansInput>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ResourceSpansInput {
    resource: NullableField<ResourceInput>,
    scope_spans: NullableField<Vec<ScopeSpansInput>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct ResourceInput {
    attributes: NullableField<Vec<KeyValueInput>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct ScopeSpansInput {
    scope: NullableField<ScopeInput>,
    spans: NullableField<Vec<SpanInput>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct ScopeInput {
    name: NullableField<String>,
    version: NullableField<String>,
    attributes: NullableField<Vec<KeyValueInput>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SpanInput {
    trace_id: NullableField<HexBytes>,
    span_id: NullableField<HexBytes>,
    trace_state: NullableField<String>,
    parent_span_id: NullableField<HexBytes>,
    flags: NullableField<WholeNumber>,
    name: NullableField<String>,
    kind: NullableField<EnumNumber>,
    start_time_unix_nano: NullableField<WholeNumber>,
    end_time_unix_nano: NullableField<WholeNumber>,
    attributes: NullableField<Vec<KeyValueInput>>,
    dropped_attributes_count: NullableField<WholeNumber>,
    events: NullableField<Vec<EventInput>>,
    dropped_events_count: NullableField<WholeNumber>,
    links: NullableField<Vec<LinkInput>>,
    dropped_links_count: NullableField<WholeNumber>,
    status: NullableField<StatusInput>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct EventInput {
    time_unix_nano: NullableField<WholeNumber>,
    name: NullableField<String>,
    attributes: NullableField<Vec<KeyValueInput>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LinkInput {
    trace_id: NullableField<HexBytes>,
    span_id: NullableField<HexBytes>,
    trace_state: NullableField<String>,
    attributes: NullableField<Vec<KeyValueInput>>,
    flags: NullableField<WholeNumber>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct StatusInput {
    message: NullableField<String>,
    code: NullableField<EnumNumber>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct KeyValueInput {
    key: NullableField<String>,
    value: NullableField<AnyValueInput>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AnyValueInput {
    string_value: Option<String>,
    bool_value: Option<bool>,
    int_value: Option<WholeNumber>,
    double_value: Option<FloatNumber>,
    array_value: Option<ArrayInput>,
    kvlist_value: Option<KeyValueListInput>,
    bytes_value: Option<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct ArrayInput {
    values: NullableField<Vec<AnyValueInput>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct KeyValueListInput {
    values: NullableField<Vec<KeyValueInput>>,
}

// === conversion into messages ===

impl From<RequestInput> for ExportTraceServiceRequest {
    fn from(request: RequestInput) -> Self {
        Self {
            resource_spans: convert_all(request.resource_spans),
        }
    }
}

impl From<ResourceSpansInput> for ResourceSpans {
    fn from(group: ResourceSpansInput) -> Self {
        let resource = Resource {
            attributes: convert_all(group.resource.0.attributes),
            ..Resource::default()
        };
        Self {
            resource: Some(resource),
            scope_spans: convert_all(group.scope_spans),
            schema_url: String::new(),
        }
    }
}

impl From<ScopeSpansInput> for ScopeSpans {
    fn from(group: ScopeSpansInput) -> Self {
        let scope = group.scope.0;
        let scope = InstrumentationScope {
            name: scope.name.0,
            version: scope.version.0,
            attributes: convert_all(scope.attributes),
            dropped_attributes_count: 0,
        };
        Self {
            scope: Some(scope),
            spans: convert_all(group.spans),
            schema_url: String::new(),
        }
    }
}

impl From<SpanInput> for Span {
    fn from(span: SpanInput) -> Self {
        Self {
            trace_id: span.trace_id.0.0,
            span_id: span.span_id.0.0,
            trace_state: span.trace_state.0,
            parent_span_id: span.parent_span_id.0.0,
            flags: span.flags.0.to_u32(),
            name: span.name.0,
            kind: span.kind.0.0,
            start_time_unix_nano: span.start_time_unix_nano.0.to_u64(),
            end_time_unix_nano: span.end_time_unix_nano.0.to_u64(),
            attributes: convert_all(span.attributes),
            dropped_attributes_count: span.dropped_attributes_count.0.to_u32(),
            events: convert_all(span.events),
            dropped_events_count: span.dropped_events_count.0.to_u32(),
            links: convert_all(span.links),
            dropped_links_count: span.dropped_links_count.0.to_u32(),
            // A missing status decodes as code 0, which is unset.
            status: Some(Status {
                message: span.status.0.message.0,
                code: span.status.0.code.0.0,
            }),
        }
    }
}

impl From<EventInput> for Event {
    fn from(event: EventInput) -> Self {
        Self {
            time_unix_nano: event.time_unix_nano.0.to_u64(),
            name: event.name.0,
            attributes: convert_all(event.attributes),
            dropped_attributes_count: 0,
        }
    }
}

impl From<LinkInput> for Link {
    fn from(link: LinkInput) -> Self {
        Self {
            trace_id: link.trace_id.0.0,
            span_id: link.span_id.0.0,
            trace_state: link.trace_state.0,
            attributes: convert_all(link.attributes),
            dropped_attributes_count: 0,
            flags: link.flags.0.to_u32(),
        }
    }
}

impl From<KeyValueInput> for KeyValue {
    fn from(pair: KeyValueInput) -> Self {
        Self {
            key: pair.key.0,
            value: Some(pair.value.0.into()),
            key_strindex: 0,
        }
    }
}

impl From<AnyValueInput> for AnyValue {
    fn from(any: AnyValueInput) -> Self {
        // A oneof: when a sender sets several fields, the first one counts.
        let value = if let Some(text) = any.string_value {
            Some(Value::StringValue(text))
        } else if let Some(truth) = any.bool_value {
            Some(Value::BoolValue(truth))
        } else if let Some(number) = any.int_value {
            Some(Value::IntValue(number.to_i64()))
        } else if let Some(number) = any.double_value {
            Some(Value::DoubleValue(number.0))
        } else if let Some(array) = any.array_value {
            Some(Value::ArrayValue(ArrayValue {
                values: convert_all(array.values),
            }))
        } else if let Some(list) = any.kvlist_value {
            Some(Value::KvlistValue(KeyValueList {
                values: convert_all(list.values),
            }))
        } else {
            any.bytes_value
                // Malformed base64 yields no value rather than rejecting the request.
                .and_then(|text| BASE64.decode(text).ok())
                .map(Value::BytesValue)
        };
        Self { value }
    }
}

/// Converts a list.
fn convert_all<T, U: From<T>>(items: NullableField<Vec<T>>) -> Vec<U> {
    items.0.into_iter().map(U::from).collect()
}
