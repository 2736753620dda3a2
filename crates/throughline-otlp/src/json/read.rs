//! The shapes that are read. Every field may be absent or `null`; unknown ones are passed over.

use std::fmt;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};

/// `ExportTraceServiceRequest`.
#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RequestJson {
    resource_spans: Nullable<Vec<ResourceSpansJson>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ResourceSpansJson {
    resource: Nullable<ResourceJson>,
    scope_spans: Nullable<Vec<ScopeSpansJson>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct ResourceJson {
    attributes: Nullable<Vec<KeyValueJson>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct ScopeSpansJson {
    scope: Nullable<ScopeJson>,
    spans: Nullable<Vec<SpanJson>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct ScopeJson {
    name: Nullable<String>,
    version: Nullable<String>,
    attributes: Nullable<Vec<KeyValueJson>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SpanJson {
    trace_id: Nullable<Hex>,
    span_id: Nullable<Hex>,
    trace_state: Nullable<String>,
    parent_span_id: Nullable<Hex>,
    flags: Nullable<Number>,
    name: Nullable<String>,
    kind: Nullable<Enumeration>,
    start_time_unix_nano: Nullable<Number>,
    end_time_unix_nano: Nullable<Number>,
    attributes: Nullable<Vec<KeyValueJson>>,
    dropped_attributes_count: Nullable<Number>,
    events: Nullable<Vec<EventJson>>,
    dropped_events_count: Nullable<Number>,
    links: Nullable<Vec<LinkJson>>,
    dropped_links_count: Nullable<Number>,
    status: Nullable<StatusJson>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct EventJson {
    time_unix_nano: Nullable<Number>,
    name: Nullable<String>,
    attributes: Nullable<Vec<KeyValueJson>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LinkJson {
    trace_id: Nullable<Hex>,
    span_id: Nullable<Hex>,
    trace_state: Nullable<String>,
    attributes: Nullable<Vec<KeyValueJson>>,
    flags: Nullable<Number>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct StatusJson {
    message: Nullable<String>,
    code: Nullable<Enumeration>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct KeyValueJson {
    key: Nullable<String>,
    value: Nullable<AnyValueJson>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AnyValueJson {
    string_value: Option<String>,
    bool_value: Option<bool>,
    int_value: Option<Number>,
    double_value: Option<Fraction>,
    array_value: Option<ArrayJson>,
    kvlist_value: Option<KeyValuesJson>,
    bytes_value: Option<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct ArrayJson {
    values: Nullable<Vec<AnyValueJson>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct KeyValuesJson {
    values: Nullable<Vec<KeyValueJson>>,
}

/// What may be `null`, which means the default (proto3's JSON mapping).
#[derive(Default)]
struct Nullable<T>(T);

/// Bytes in hex of either case. What is not hex gives no bytes, so that the one span is rejected and not the request.
#[derive(Default)]
struct Hex(Vec<u8>);

/// A whole number, as a number or as text; wide enough for `u64` and `i64`.
#[derive(Default, Clone, Copy)]
struct Number(i128);

/// A number with a fraction, or `"NaN"`, `"Infinity"`, `"-Infinity"`, or any number as text.
struct Fraction(f64);

/// An enum's number or the name of a value. Names that are not known count as 0.
#[derive(Default)]
struct Enumeration(i32);

// === impl Nullable, Hex, Number, Fraction, Enumeration ===

impl<'de, T: Default + Deserialize<'de>> Deserialize<'de> for Nullable<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(
            Option::<T>::deserialize(deserializer)?.unwrap_or_default(),
        ))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self(hex(text.as_bytes()).unwrap_or_default()))
    }
}

/// The bytes of an even number of hex digits; `None` also when there are more than any id has.
fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    if digits.len() > 32 {
        return None;
    }
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let digit = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or one as text")
            }
            fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
                Ok(Number(number.into()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
                Ok(Number(number.into()))
            }
            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Number, E> {
                // proto3 takes 1.0 and 1e3 for whole numbers; what is not whole prints with a point.
                self.visit_str(&number.to_string())
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
                text.parse().map(Number).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Digits)
    }
}

impl Number {
    fn u64(self) -> u64 {
        u64::try_from(self.0).unwrap_or_default()
    }

    fn u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or_default()
    }

    fn i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Fraction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(f64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(Self(number)),
            // Rust reads NaN, Infinity and -Infinity as proto3 writes them.
            Form::Text(text) => text.parse().map(Self).map_err(D::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for Enumeration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(i32),
            Name(String),
        }
        Ok(Self(match Form::deserialize(deserializer)? {
            Form::Number(number) => number,
            Form::Name(name) => SpanKind::from_str_name(&name)
                .map(i32::from)
                .or_else(|| StatusCode::from_str_name(&name).map(i32::from))
                .unwrap_or_default(),
        }))
    }
}

// === into the messages ===

impl From<RequestJson> for ExportTraceServiceRequest {
    fn from(request: RequestJson) -> Self {
        Self {
            resource_spans: each(request.resource_spans),
        }
    }
}

impl From<ResourceSpansJson> for ResourceSpans {
    fn from(group: ResourceSpansJson) -> Self {
        let resource = Resource {
            attributes: each(group.resource.0.attributes),
            ..Resource::default()
        };
        Self {
            resource: Some(resource),
            scope_spans: each(group.scope_spans),
            schema_url: String::new(),
        }
    }
}

impl From<ScopeSpansJson> for ScopeSpans {
    fn from(group: ScopeSpansJson) -> Self {
        let scope = group.scope.0;
        let scope = InstrumentationScope {
            name: scope.name.0,
            version: scope.version.0,
            attributes: each(scope.attributes),
            dropped_attributes_count: 0,
        };
        Self {
            scope: Some(scope),
            spans: each(group.spans),
            schema_url: String::new(),
        }
    }
}

impl From<SpanJson> for Span {
    fn from(span: SpanJson) -> Self {
        Self {
            trace_id: span.trace_id.0.0,
            span_id: span.span_id.0.0,
            trace_state: span.trace_state.0,
            parent_span_id: span.parent_span_id.0.0,
            flags: span.flags.0.u32(),
            name: span.name.0,
            kind: span.kind.0.0,
            start_time_unix_nano: span.start_time_unix_nano.0.u64(),
            end_time_unix_nano: span.end_time_unix_nano.0.u64(),
            attributes: each(span.attributes),
            dropped_attributes_count: span.dropped_attributes_count.0.u32(),
            events: each(span.events),
            dropped_events_count: span.dropped_events_count.0.u32(),
            links: each(span.links),
            dropped_links_count: span.dropped_links_count.0.u32(),
            status: Some(Status {
                message: span.status.0.message.0,
                code: span.status.0.code.0.0,
            }),
        }
    }
}

impl From<EventJson> for Event {
    fn from(event: EventJson) -> Self {
        Self {
            time_unix_nano: event.time_unix_nano.0.u64(),
            name: event.name.0,
            attributes: each(event.attributes),
            dropped_attributes_count: 0,
        }
    }
}

impl From<LinkJson> for Link {
    fn from(link: LinkJson) -> Self {
        Self {
            trace_id: link.trace_id.0.0,
            span_id: link.span_id.0.0,
            trace_state: link.trace_state.0,
            attributes: each(link.attributes),
            dropped_attributes_count: 0,
            flags: link.flags.0.u32(),
        }
    }
}

impl From<KeyValueJson> for KeyValue {
    fn from(pair: KeyValueJson) -> Self {
        Self {
            key: pair.key.0,
            value: Some(pair.value.0.into()),
            key_strindex: 0,
        }
    }
}

impl From<AnyValueJson> for AnyValue {
    fn from(any: AnyValueJson) -> Self {
        let value = if let Some(text) = any.string_value {
            Some(Value::StringValue(text))
        } else if let Some(truth) = any.bool_value {
            Some(Value::BoolValue(truth))
        } else if let Some(number) = any.int_value {
            Some(Value::IntValue(number.i64()))
        } else if let Some(number) = any.double_value {
            Some(Value::DoubleValue(number.0))
        } else if let Some(array) = any.array_value {
            Some(Value::ArrayValue(ArrayValue {
                values: each(array.values),
            }))
        } else if let Some(list) = any.kvlist_value {
            Some(Value::KvlistValue(KeyValueList {
                values: each(list.values),
            }))
        } else {
            any.bytes_value
                .and_then(|text| BASE64.decode(text).ok())
                .map(Value::BytesValue)
        };
        Self { value }
    }
}

fn each<T, U: From<T>>(items: Nullable<Vec<T>>) -> Vec<U> {
    items.0.into_iter().map(U::from).collect()
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
