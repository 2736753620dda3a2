//! A span of Zipkin, read from v2 JSON, and its conversion.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use throughline_model::convention::{
    NETWORK_LOCAL_ADDRESS, NETWORK_LOCAL_PORT, NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT,
    START_ASSUMED,
};
use throughline_model::{
    DroppedCounts, Event, KeyValue, Resource, Scope, Span, SpanId, SpanKind, Status, TraceId,
};
use throughline_otlp::RejectionReason;

use super::reader::{FieldReader, SpanFields};
use crate::clock;

/// A span as Zipkin's clients send it, in version 2. Times are in nanoseconds.
#[derive(Debug, Default, Clone)]
pub(super) struct ZipkinSpan {
    /// 16 or 32 hex digits; fewer from clients that omit leading zeros.
    pub(super) trace_id: Option<String>,
    /// 16 hex digits.
    pub(super) id: Option<String>,
    pub(super) parent_id: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) name: Option<String>,
    pub(super) start: Option<u64>,
    pub(super) duration: Option<u64>,
    pub(super) local_endpoint: ZipkinEndpoint,
    pub(super) remote_endpoint: ZipkinEndpoint,
    pub(super) annotations: Vec<ZipkinAnnotation>,
    pub(super) tags: Vec<(String, String)>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct ZipkinEndpoint {
    pub(super) service_name: Option<String>,
    ip: Option<String>,
    port: Option<u16>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct ZipkinAnnotation {
    pub(super) time: Option<u64>,
    pub(super) value: String,
}

/// The resources and scopes of one request, so that its spans share them.
#[derive(Debug, Default)]
pub(super) struct ResourceCache {
    by_service: HashMap<String, Arc<Resource>>,
    scopes: HashMap<(String, String), Arc<Scope>>,
}

/// The tags of OpenTelemetry's Zipkin exporter that are fields of a span (OpenTelemetry
/// specification, "OpenTelemetry to Zipkin transformation").
#[derive(Debug, Default)]
struct ExporterTags {
    status_code: Option<String>,
    status_description: Option<String>,
    error: Option<String>,
    scope_name: String,
    scope_version: String,
    trace_state: String,
    kind: Option<String>,
    dropped: DroppedCounts,
}

// === impl ResourceCache ===

impl ResourceCache {
    fn resource(&mut self, service: Option<String>) -> Arc<Resource> {
        let service = service.unwrap_or_default();
        let resource = self
            .by_service
            .entry(service)
            .or_insert_with_key(|service| {
                Arc::new(if service.is_empty() {
                    Resource::default()
                } else {
                    Resource::of_service(service)
                })
            });
        Arc::clone(resource)
    }

    fn scope(&mut self, name: String, version: String) -> Arc<Scope> {
        let scope = self
            .scopes
            .entry((name, version))
            .or_insert_with_key(|(name, version)| {
                Arc::new(Scope {
                    name: name.clone(),
                    version: version.clone(),
                    ..Scope::default()
                })
            });
        Arc::clone(scope)
    }
}

// === impl ZipkinSpan ===

impl ZipkinSpan {
    /// Reads the fields of version 2.
    pub(super) fn read(mut fields: SpanFields, reader: &mut FieldReader) -> Self {
        let annotations = reader.objects(&mut fields, "annotations").into_iter();
        let annotations = annotations
            .map(|fields| ZipkinAnnotation::read(fields, reader))
            .collect();
        let tags = reader.object(&mut fields, "tags").unwrap_or_default();
        Self {
            trace_id: FieldReader::id(&mut fields, "traceId"),
            id: FieldReader::id(&mut fields, "id"),
            parent_id: FieldReader::id(&mut fields, "parentId"),
            kind: reader.text(&mut fields, "kind"),
            name: reader.text(&mut fields, "name"),
            start: reader.microseconds(&mut fields, "timestamp"),
            duration: reader.microseconds(&mut fields, "duration"),
            local_endpoint: ZipkinEndpoint::read(&mut fields, "localEndpoint", reader),
            remote_endpoint: ZipkinEndpoint::read(&mut fields, "remoteEndpoint", reader),
            annotations,
            tags: tags
                .into_iter()
                .map(|(key, value)| (key, tag_text(value)))
                .collect(),
        }
    }

    /// Converts the span; its resource and scope come from the cache.
    pub(super) fn into_span(self, resources: &mut ResourceCache) -> Result<Span, RejectionReason> {
        let hex = |id: Option<String>| id.unwrap_or_default();
        let trace_id = TraceId::from_hex(&hex(self.trace_id)).ok_or(RejectionReason::Trace)?;
        let span_id = SpanId::from_hex(&hex(self.id)).ok_or(RejectionReason::Span)?;
        // Zipkin's own rule: an id of zeros, or that of the span itself, means no parent.
        let parent = self
            .parent_id
            .filter(|id| id.bytes().any(|digit| digit != b'0'))
            .map(|id| SpanId::from_hex(&id).ok_or(RejectionReason::ParentSpan))
            .transpose()?
            .filter(|parent| *parent != span_id);
        let mut attributes = Vec::new();
        let special = ExporterTags::split_off(self.tags, &mut attributes);
        let kind = [self.kind.as_deref(), special.kind.as_deref()]
            .into_iter()
            .flatten()
            .find_map(SpanKind::from_name)
            .unwrap_or_default();
        // A span without a timestamp is taken to start now, rather than in 1970, until a fragment
        // arrives that has one.
        let start = self.start.unwrap_or_else(clock::now);
        let mut local = self.local_endpoint;
        let service = local.service_name.take();
        local.attributes(NETWORK_LOCAL_ADDRESS, NETWORK_LOCAL_PORT, &mut attributes);
        let mut remote = self.remote_endpoint;
        let peer = remote.service_name.take();
        attributes.extend(peer.map(|name| KeyValue::new("peer.service", name)));
        remote.attributes(NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT, &mut attributes);
        if self.start.is_none() {
            attributes.push(KeyValue::new(START_ASSUMED, true));
        }
        let events = self.annotations.into_iter().map(|annotation| Event {
            time: annotation.time.unwrap_or(start),
            name: annotation.value,
            attributes: Vec::new(),
        });
        Ok(Span {
            trace_id,
            span_id,
            parent_span_id: parent,
            // Zipkin's clients send sampled spans only.
            flags: 1,
            name: self.name.unwrap_or_default(),
            kind,
            start,
            // A span without a duration ends where it starts.
            end: start.saturating_add(self.duration.unwrap_or_default()),
            attributes,
            events: events.collect(),
            links: Vec::new(),
            status: special.status(),
            status_message: special.status_message(),
            dropped: special.dropped,
            resource: resources.resource(service),
            scope: resources.scope(special.scope_name, special.scope_version),
            trace_state: special.trace_state,
        })
    }
}

// === impl ExporterTags ===

impl ExporterTags {
    /// Takes the tags that are fields out of a list; the others become attributes.
    fn split_off(tags: Vec<(String, String)>, attributes: &mut Vec<KeyValue>) -> Self {
        let mut special = Self::default();
        let count = |text: &str| text.parse().unwrap_or_default();
        for (key, text) in tags {
            match key.as_str() {
                "otel.status_code" => special.status_code = Some(text),
                "otel.status_description" => special.status_description = Some(text),
                // In Zipkin the tag means a failure whatever its value; "false" is what people
                // write who know it from elsewhere.
                "error" if text != "false" => special.error = Some(text),
                // The scope's names before they were renamed repeat those of today.
                "otel.scope.name" | "otel.library.name" => special.scope_name = text,
                "otel.scope.version" | "otel.library.version" => special.scope_version = text,
                "w3c.tracestate" => special.trace_state = text,
                // The span has a kind of its own, which every view shows by this name.
                "span.kind" => special.kind = Some(text),
                "otel.dropped_attributes_count" => special.dropped.attributes = count(&text),
                "otel.dropped_events_count" => special.dropped.events = count(&text),
                "otel.dropped_links_count" => special.dropped.links = count(&text),
                _ => attributes.push(KeyValue::new(key, text)),
            }
        }
        special
    }

    fn status(&self) -> Status {
        let code = self.status_code.as_deref().unwrap_or_default();
        if self.error.is_none() && code.eq_ignore_ascii_case("OK") {
            return Status::Ok;
        }
        if self.error.is_none() && !code.eq_ignore_ascii_case("ERROR") {
            return Status::Unset;
        }
        // The value is a message, or a bare `true`.
        let error = self.error.as_deref().filter(|text| *text != "true");
        let reason = error
            .filter(|text| !text.is_empty())
            .or(self.status_description.as_deref());
        Status::Error(reason.unwrap_or_default().to_owned())
    }

    /// Returns the message of a status other than a failure.
    fn status_message(&self) -> Box<str> {
        match self.status() {
            Status::Error(_) => Box::default(),
            Status::Unset | Status::Ok => self
                .status_description
                .as_deref()
                .unwrap_or_default()
                .into(),
        }
    }
}

// === impl ZipkinEndpoint ===

impl ZipkinEndpoint {
    pub(super) fn read(fields: &mut SpanFields, name: &str, reader: &mut FieldReader) -> Self {
        let mut fields = reader.object(fields, name).unwrap_or_default();
        let ipv4 = reader.text(&mut fields, "ipv4");
        let ipv6 = reader.text(&mut fields, "ipv6");
        let is_given = |text: &String| !text.is_empty();
        Self {
            service_name: reader.text(&mut fields, "serviceName").filter(is_given),
            ip: ipv4.filter(is_given).or(ipv6).filter(is_given),
            port: reader.port(&mut fields),
        }
    }

    fn attributes(self, address: &'static str, port: &'static str, attributes: &mut Vec<KeyValue>) {
        attributes.extend(self.ip.map(|ip| KeyValue::new(address, ip)));
        let number = self
            .port
            .map(|number| KeyValue::new(port, i64::from(number)));
        attributes.extend(number);
    }
}

// === impl ZipkinAnnotation ===

impl ZipkinAnnotation {
    pub(super) fn read(mut fields: SpanFields, reader: &mut FieldReader) -> Self {
        Self {
            time: reader.microseconds(&mut fields, "timestamp"),
            value: reader.text(&mut fields, "value").unwrap_or_default(),
        }
    }
}

/// Returns the text of a tag. The specification allows strings only; some clients send other
/// values.
pub(super) fn tag_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    }
}
