//! Reads OTLP's JSON. Every field may be absent or `null`; unknown ones are skipped. A value that
//! is not of its type costs its attribute or field, a bad id or time its span.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind as ProtoSpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use serde_json::{Map, Value};
use throughline_model::SpanKind;

use super::scalar;
use super::write::kind_number;
use crate::decode::{RejectedSpans, RejectionReason};
use crate::error::Error;
use crate::repair::{RepairCounts, RepairKind};

/// Padding is optional: proto3 accepts base64 with and without it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The fields of a JSON object.
type Fields = Map<String, Value>;

/// Reads requests, and counts what it had to leave out.
#[derive(Debug, Default)]
pub(crate) struct JsonReader {
    pub(crate) rejected: RejectedSpans,
    pub(crate) repairs: RepairCounts,
}

// === impl JsonReader ===

impl JsonReader {
    /// Converts a document: a request, or a list of requests.
    pub(crate) fn request(
        &mut self,
        mut document: Value,
    ) -> Result<ExportTraceServiceRequest, Error> {
        let documents = match document {
            Value::Array(ref mut documents) if !documents.is_empty() => std::mem::take(documents),
            Value::Null
            | Value::Array(_)
            | Value::Object(_)
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_) => vec![document],
        };
        let mut resource_spans = Vec::new();
        for document in documents {
            let Value::Object(mut fields) = document else {
                return Err(malformed("expected an object"));
            };
            match take(&mut fields, "resourceSpans", "resource_spans") {
                Value::Null => {}
                Value::Array(groups) => {
                    let groups = groups.into_iter().filter_map(|group| self.group(group));
                    resource_spans.extend(groups);
                }
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                    return Err(malformed("resourceSpans must be a list"));
                }
            }
        }
        Ok(ExportTraceServiceRequest { resource_spans })
    }

    fn group(&mut self, group: Value) -> Option<ResourceSpans> {
        let mut group = self.object(group)?;
        let resource = take(&mut group, "resource", "resource");
        let mut resource = self.object(resource).unwrap_or_default();
        let mut dropped = 0;
        let attributes = take(&mut resource, "attributes", "attributes");
        let resource = Resource {
            attributes: self.attributes(attributes, &mut dropped),
            ..Resource::default()
        };
        let scopes = take(&mut group, "scopeSpans", "scope_spans");
        // The name before version 1.0 of the protocol.
        let old = "instrumentationLibrarySpans";
        let old_scopes = take(&mut group, old, "instrumentation_library_spans");
        let mut scope_spans = Vec::new();
        for scopes in [scopes, old_scopes] {
            for scope in self.list(scopes) {
                scope_spans.extend(self.scope(scope));
            }
        }
        Some(ResourceSpans {
            resource: Some(resource),
            scope_spans,
            schema_url: self.text(take(&mut group, "schemaUrl", "schema_url")),
        })
    }

    fn scope(&mut self, group: Value) -> Option<ScopeSpans> {
        let mut group = self.object(group)?;
        let scope = match take(&mut group, "scope", "scope") {
            // The name before version 1.0 of the protocol.
            Value::Null => take(
                &mut group,
                "instrumentationLibrary",
                "instrumentation_library",
            ),
            scope @ (Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_)) => scope,
        };
        let mut scope = self.object(scope).unwrap_or_default();
        let mut dropped = 0;
        let attributes = take(&mut scope, "attributes", "attributes");
        let scope = InstrumentationScope {
            name: self.text(take(&mut scope, "name", "name")),
            version: self.text(take(&mut scope, "version", "version")),
            attributes: self.attributes(attributes, &mut dropped),
            dropped_attributes_count: dropped,
        };
        let mut spans = Vec::new();
        let sent = take(&mut group, "spans", "spans");
        for span in self.list(sent) {
            match self.span(span) {
                Ok(span) => spans.push(span),
                Err(reason) => self.rejected.add(reason),
            }
        }
        Some(ScopeSpans {
            scope: Some(scope),
            spans,
            schema_url: self.text(take(&mut group, "schemaUrl", "schema_url")),
        })
    }

    fn span(&mut self, span: Value) -> Result<Span, RejectionReason> {
        let Value::Object(mut span) = span else {
            return Err(RejectionReason::Malformed);
        };
        let time = |value: &Value| scalar::nanoseconds(value).ok_or(RejectionReason::Time);
        let mut dropped = 0;
        let attributes = take(&mut span, "attributes", "attributes");
        let attributes = self.attributes(attributes, &mut dropped);
        let events = take(&mut span, "events", "events");
        let links = take(&mut span, "links", "links");
        let kind = take(&mut span, "kind", "kind");
        let counts = [
            take(
                &mut span,
                "droppedAttributesCount",
                "dropped_attributes_count",
            ),
            take(&mut span, "droppedEventsCount", "dropped_events_count"),
            take(&mut span, "droppedLinksCount", "dropped_links_count"),
        ];
        let [dropped_attributes, dropped_events, dropped_links] = counts.map(|count| small(&count));
        let start = take(&mut span, "startTimeUnixNano", "start_time_unix_nano");
        let end = take(&mut span, "endTimeUnixNano", "end_time_unix_nano");
        let status = take(&mut span, "status", "status");
        Ok(Span {
            trace_id: scalar::id(take(&mut span, "traceId", "trace_id")),
            span_id: scalar::id(take(&mut span, "spanId", "span_id")),
            trace_state: self.text(take(&mut span, "traceState", "trace_state")),
            parent_span_id: scalar::id(take(&mut span, "parentSpanId", "parent_span_id")),
            flags: small(&take(&mut span, "flags", "flags")),
            name: self.text(take(&mut span, "name", "name")),
            kind: scalar::enum_number(&kind, kind_by_name),
            start_time_unix_nano: time(&start)?,
            end_time_unix_nano: time(&end)?,
            attributes,
            dropped_attributes_count: dropped_attributes.saturating_add(dropped),
            events: self
                .list(events)
                .into_iter()
                .filter_map(|event| self.event(event))
                .collect(),
            dropped_events_count: dropped_events,
            links: self
                .list(links)
                .into_iter()
                .filter_map(|link| self.link(link))
                .collect(),
            dropped_links_count: dropped_links,
            status: Some(self.status(status)),
        })
    }

    fn status(&mut self, status: Value) -> Status {
        // Some senders write the code in place of the message that holds it.
        let mut fields = match status {
            Value::String(_) | Value::Number(_) => Map::from_iter([("code".to_owned(), status)]),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                self.object(status).unwrap_or_default()
            }
        };
        let code = take(&mut fields, "code", "code");
        Status {
            message: self.text(take(&mut fields, "message", "message")),
            code: scalar::enum_number(&code, code_by_name),
        }
    }

    fn event(&mut self, event: Value) -> Option<Event> {
        let mut event = self.object(event)?;
        let mut dropped = 0;
        let attributes = take(&mut event, "attributes", "attributes");
        let attributes = self.attributes(attributes, &mut dropped);
        let time = take(&mut event, "timeUnixNano", "time_unix_nano");
        let Some(time_unix_nano) = scalar::nanoseconds(&time) else {
            self.repairs.add(RepairKind::Field, 1);
            return None;
        };
        Some(Event {
            time_unix_nano,
            name: self.text(take(&mut event, "name", "name")),
            attributes,
            dropped_attributes_count: dropped,
        })
    }

    fn link(&mut self, link: Value) -> Option<Link> {
        let mut link = self.object(link)?;
        let mut dropped = 0;
        let attributes = take(&mut link, "attributes", "attributes");
        Some(Link {
            trace_id: scalar::id(take(&mut link, "traceId", "trace_id")),
            span_id: scalar::id(take(&mut link, "spanId", "span_id")),
            trace_state: self.text(take(&mut link, "traceState", "trace_state")),
            attributes: self.attributes(attributes, &mut dropped),
            dropped_attributes_count: dropped,
            flags: small(&take(&mut link, "flags", "flags")),
        })
    }

    /// Reads a list of attributes; those without a readable value are counted as dropped.
    fn attributes(&mut self, list: Value, dropped: &mut u32) -> Vec<KeyValue> {
        let items = match list {
            Value::Null => return Vec::new(),
            Value::Array(items) => items,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                vec![Value::Null]
            }
        };
        let mut attributes = Vec::with_capacity(items.len());
        for item in items {
            if let Some(attribute) = self.attribute(item) {
                attributes.push(attribute);
            } else {
                self.repairs.add(RepairKind::Attribute, 1);
                *dropped = dropped.saturating_add(1);
            }
        }
        attributes
    }

    fn attribute(&mut self, attribute: Value) -> Option<KeyValue> {
        let Value::Object(mut attribute) = attribute else {
            return None;
        };
        let value = take(&mut attribute, "value", "value");
        Some(KeyValue {
            key: scalar::text(take(&mut attribute, "key", "key"))?,
            value: Some(AnyValue {
                value: self.value(value)?,
            }),
            key_strindex: 0,
        })
    }

    /// Reads an `AnyValue`: `None` when its value is not of the type it names, and within that
    /// `None` for the empty value.
    #[expect(clippy::option_option, reason = "a bad value is not an empty one")]
    fn value(&mut self, value: Value) -> Option<Option<ProtoValue>> {
        let mut fields = match value {
            Value::Object(fields) => fields,
            Value::Null => return Some(None),
            // Some senders write the value itself.
            Value::String(text) => return Some(Some(ProtoValue::StringValue(text))),
            Value::Bool(truth) => return Some(Some(ProtoValue::BoolValue(truth))),
            number @ Value::Number(_) => {
                let int = scalar::whole(&number).and_then(|number| i64::try_from(number).ok());
                return Some(
                    int.map(ProtoValue::IntValue)
                        .or_else(|| Some(ProtoValue::DoubleValue(scalar::float(&number)?))),
                );
            }
            Value::Array(_) => return None,
        };
        let mut field = |camel, snake| {
            let value = take(&mut fields, camel, snake);
            (!value.is_null()).then_some(value)
        };
        // A oneof: when a sender sets several fields, the first one counts.
        let value = if let Some(text) = field("stringValue", "string_value") {
            ProtoValue::StringValue(scalar::text(text)?)
        } else if let Some(truth) = field("boolValue", "bool_value") {
            ProtoValue::BoolValue(scalar::truth(&truth)?)
        } else if let Some(number) = field("intValue", "int_value") {
            ProtoValue::IntValue(i64::try_from(scalar::whole(&number)?).ok()?)
        } else if let Some(number) = field("doubleValue", "double_value") {
            ProtoValue::DoubleValue(scalar::float(&number)?)
        } else if let Some(array) = field("arrayValue", "array_value") {
            let items = self.values_of(array)?;
            let values = items.into_iter().map(|item| AnyValue {
                value: self.nested(item),
            });
            ProtoValue::ArrayValue(ArrayValue {
                values: values.collect(),
            })
        } else if let Some(list) = field("kvlistValue", "kvlist_value") {
            let items = Value::Array(self.values_of(list)?);
            ProtoValue::KvlistValue(KeyValueList {
                values: self.attributes(items, &mut 0),
            })
        } else if let Some(bytes) = field("bytesValue", "bytes_value") {
            ProtoValue::BytesValue(BASE64.decode(bytes.as_str()?).ok()?)
        } else {
            return Some(None);
        };
        Some(Some(value))
    }

    /// Reads an item of an array; a bad one is empty, so that the others keep their places.
    fn nested(&mut self, item: Value) -> Option<ProtoValue> {
        let value = self.value(item);
        if value.is_none() {
            self.repairs.add(RepairKind::Field, 1);
        }
        value.flatten()
    }

    /// Returns the `values` of an array or a list of pairs.
    fn values_of(&mut self, list: Value) -> Option<Vec<Value>> {
        let Value::Object(mut list) = list else {
            return None;
        };
        let values = take(&mut list, "values", "values");
        Some(self.list(values))
    }

    fn text(&mut self, value: Value) -> String {
        scalar::text(value).unwrap_or_else(|| {
            self.repairs.add(RepairKind::Field, 1);
            String::new()
        })
    }

    fn list(&mut self, value: Value) -> Vec<Value> {
        match value {
            Value::Null => Vec::new(),
            Value::Array(items) => items,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                self.repairs.add(RepairKind::Field, 1);
                Vec::new()
            }
        }
    }

    fn object(&mut self, value: Value) -> Option<Fields> {
        match value {
            Value::Null => Some(Fields::new()),
            Value::Object(fields) => Some(fields),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                self.repairs.add(RepairKind::Field, 1);
                None
            }
        }
    }
}

/// Removes a field, by its name in proto3's JSON or in the protocol file; `null` when it is absent.
fn take(fields: &mut Fields, camel_name: &str, snake_name: &str) -> Value {
    fields
        .swap_remove(camel_name)
        .or_else(|| fields.swap_remove(snake_name))
        .unwrap_or_default()
}

/// Reads a number of 32 bits; one that does not fit counts as absent.
fn small(value: &Value) -> u32 {
    scalar::whole(value)
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or_default()
}

fn kind_by_name(name: &str) -> Option<i32> {
    let proto = ProtoSpanKind::from_str_name(name).map(i32::from);
    // Some senders leave out the prefix.
    proto.or_else(|| i32::try_from(kind_number(SpanKind::from_name(name)?)).ok())
}

fn code_by_name(name: &str) -> Option<i32> {
    let proto = StatusCode::from_str_name(name);
    let short = || StatusCode::from_str_name(&format!("STATUS_CODE_{}", name.to_uppercase()));
    proto.or_else(short).map(i32::from)
}

fn malformed(message: &str) -> Error {
    Error::Json(serde::de::Error::custom(message))
}
