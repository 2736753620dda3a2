//! A span in Zipkin v2 JSON, and its conversion.

use std::collections::HashMap;
use std::sync::Arc;

use throughline_model::{
    Event, KeyValue, Resource, Scope, Span, SpanId, SpanKind, Status, TraceId,
};
use throughline_otlp::RejectionReason;

use crate::clock;

/// A span as Zipkin's clients send it. Times are in microseconds.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ZipkinSpan {
    /// 16 or 32 hex digits; fewer from clients that omit leading zeros.
    trace_id: String,
    /// 16 hex digits.
    id: String,
    parent_id: Option<String>,
    kind: Option<String>,
    name: Option<String>,
    timestamp: Option<u64>,
    duration: Option<u64>,
    local_endpoint: Option<ZipkinEndpoint>,
    remote_endpoint: Option<ZipkinEndpoint>,
    annotations: Option<Vec<ZipkinAnnotation>>,
    tags: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct ZipkinEndpoint {
    service_name: Option<String>,
    ipv4: Option<String>,
    ipv6: Option<String>,
    port: Option<u16>,
}

#[derive(Debug, serde::Deserialize)]
struct ZipkinAnnotation {
    timestamp: Option<u64>,
    value: Option<String>,
}

/// The resources of one request, by service, so that its spans share them.
#[derive(Debug, Default)]
pub(super) struct ResourceCache {
    by_service: HashMap<String, Arc<Resource>>,
    scope: Arc<Scope>,
}

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
}

impl ZipkinSpan {
    /// Converts the span; its resource comes from the cache.
    pub(super) fn into_span(
        mut self,
        resources: &mut ResourceCache,
    ) -> Result<Span, RejectionReason> {
        let trace_id = TraceId::from_hex(&self.trace_id).ok_or(RejectionReason::Trace)?;
        let own_id = SpanId::from_hex(&self.id).ok_or(RejectionReason::Span)?;
        // Zipkin's own rule: an id of zeros, or that of the span itself, means no parent.
        let parent = self
            .parent_id
            .take()
            .filter(|id| id.bytes().any(|digit| digit != b'0'));
        let parent = parent
            .map(|id| SpanId::from_hex(&id).ok_or(RejectionReason::ParentSpan))
            .transpose()?;
        let parent = parent.filter(|parent| *parent != own_id);
        let kind = self
            .kind
            .as_deref()
            .and_then(SpanKind::from_name)
            .unwrap_or_default();
        let start = self.start();
        let service = self
            .local_endpoint
            .as_mut()
            .and_then(|endpoint| endpoint.service_name.take());
        let (attributes, status) = self.attributes();
        Ok(Span {
            trace_id,
            span_id: own_id,
            parent_span_id: parent,
            // Zipkin's clients send sampled spans only.
            flags: 1,
            trace_state: String::new(),
            name: self.name.take().unwrap_or_default(),
            kind,
            start,
            // A span without a duration ends where it starts.
            end: start.saturating_add(nanoseconds(self.duration.unwrap_or_default())),
            attributes,
            events: self.events(start),
            links: Vec::new(),
            status,
            dropped: 0,
            resource: resources.resource(service),
            scope: Arc::clone(&resources.scope),
        })
    }

    /// Returns the start. A span without a timestamp is taken to start now, rather than in 1970.
    fn start(&self) -> u64 {
        self.timestamp
            .filter(|timestamp| *timestamp > 0)
            .map_or_else(clock::now, nanoseconds)
    }

    /// Returns tags and endpoints as attributes, and the `error` tag as status.
    fn attributes(&mut self) -> (Vec<KeyValue>, Status) {
        let mut attributes = Vec::new();
        let mut status = Status::Unset;
        for (key, value) in self.tags.take().unwrap_or_default() {
            let text = match value {
                serde_json::Value::String(text) => text,
                serde_json::Value::Null => String::new(),
                // The specification allows strings only; some clients send other values.
                other @ (serde_json::Value::Bool(_)
                | serde_json::Value::Number(_)
                | serde_json::Value::Array(_)
                | serde_json::Value::Object(_)) => other.to_string(),
            };
            if key == "error" {
                // The value is a message, or a bare `true`.
                status = Status::Error(if text == "true" { String::new() } else { text });
            } else {
                attributes.push(KeyValue::new(key, text));
            }
        }
        if let Some(local) = self.local_endpoint.take() {
            local.attributes(
                "network.local.address",
                "network.local.port",
                &mut attributes,
            );
        }
        if let Some(mut remote) = self.remote_endpoint.take() {
            attributes.extend(
                remote
                    .service_name
                    .take()
                    .map(|name| KeyValue::new("peer.service", name)),
            );
            remote.attributes("network.peer.address", "network.peer.port", &mut attributes);
        }
        (attributes, status)
    }

    fn events(&mut self, start: u64) -> Vec<Event> {
        let annotations = self.annotations.take().unwrap_or_default().into_iter();
        let event = |annotation: ZipkinAnnotation| Event {
            time: annotation.timestamp.map_or(start, nanoseconds),
            name: annotation.value.unwrap_or_default(),
            attributes: Vec::new(),
        };
        annotations.map(event).collect()
    }
}

impl ZipkinEndpoint {
    fn attributes(self, address: &'static str, port: &'static str, attributes: &mut Vec<KeyValue>) {
        attributes.extend(self.ipv4.or(self.ipv6).map(|ip| KeyValue::new(address, ip)));
        attributes.extend(
            self.port
                .filter(|port| *port > 0)
                .map(|number| KeyValue::new(port, i64::from(number))),
        );
    }
}

const fn nanoseconds(microseconds: u64) -> u64 {
    microseconds.saturating_mul(1000)
}
