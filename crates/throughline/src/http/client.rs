//! The span of a request to another service, for reqwest and for tower clients.

#[cfg(feature = "tower")]
mod call;
#[cfg(feature = "reqwest")]
mod reqwest;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode, Version};
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use throughline_model::convention::{
    ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_REQUEST_METHOD_ORIGINAL, HTTP_REQUEST_RESEND_COUNT,
    HTTP_RESPONSE_STATUS_CODE, NETWORK_PROTOCOL_VERSION, SERVER_ADDRESS, SERVER_PORT, URL_TEMPLATE,
};

use super::{known_method, protocol_version, span_name};
use crate::Telemetry;
use crate::telemetry::ResolvedTelemetry;

#[cfg(feature = "tower")]
pub(super) use self::call::ClientCall;
#[cfg(feature = "reqwest")]
pub use self::reqwest::ClientTracing;

/// The template of a request's URL, such as `/orders/{id}`, for the name of its client span. Put it
/// into the extensions of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlTemplate(pub Cow<'static, str>);

/// A request that is about to be sent.
struct OutgoingRequest<'a> {
    method: &'a Method,
    host: Option<&'a str>,
    port: Option<u16>,
    template: Option<&'a UrlTemplate>,
    resend_count: i64,
    /// The name of the span, where it is not that of HTTP.
    name: Option<String>,
}

/// The span of an attempt. It ends when it is dropped; without an outcome, as cancelled.
struct ClientSpan {
    context: Context,
    telemetry: Arc<ResolvedTelemetry>,
    started: Instant,
    metric_attributes: Vec<KeyValue>,
    has_outcome: bool,
}

// === impl ClientSpan ===

impl ClientSpan {
    /// Starts the span. `more` adds attributes that the span alone has.
    fn start(
        telemetry: &Telemetry,
        request: OutgoingRequest<'_>,
        more: impl FnOnce(&mut Vec<KeyValue>),
    ) -> Self {
        let telemetry = telemetry.resolve().into_owned();
        let known = known_method(request.method);
        let mut metric_attributes = Vec::with_capacity(11);
        metric_attributes.push(KeyValue::new(
            HTTP_REQUEST_METHOD,
            known.unwrap_or("_OTHER"),
        ));
        let host = request.host.map(str::to_owned);
        metric_attributes.extend(host.map(|host| KeyValue::new(SERVER_ADDRESS, host)));
        let port = request.port.map(i64::from);
        metric_attributes.extend(port.map(|port| KeyValue::new(SERVER_PORT, port)));
        let template = request
            .template
            .map(|UrlTemplate(template)| template.clone());
        metric_attributes.extend(template.map(|template| KeyValue::new(URL_TEMPLATE, template)));
        let attributes = || {
            let mut attributes = metric_attributes.clone();
            if known.is_none() {
                let original = request.method.as_str().to_owned();
                attributes.push(KeyValue::new(HTTP_REQUEST_METHOD_ORIGINAL, original));
            }
            if request.resend_count > 0 {
                let count = request.resend_count;
                attributes.push(KeyValue::new(HTTP_REQUEST_RESEND_COUNT, count));
            }
            more(&mut attributes);
            attributes
        };
        // A client knows no route, and a path has too many values for a name (HTTP spans, "Name").
        let target = request
            .template
            .map(|UrlTemplate(template)| template.as_ref());
        let name = request
            .name
            .map_or_else(|| span_name(request.method, target), Cow::Owned);
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Client);
        let context = telemetry.start(builder, &Context::current(), attributes);
        Self {
            context,
            telemetry,
            started: Instant::now(),
            metric_attributes,
            has_outcome: false,
        }
    }

    fn record_response(&mut self, status: StatusCode, version: Version) {
        self.has_outcome = true;
        self.add_attribute(KeyValue::new(
            HTTP_RESPONSE_STATUS_CODE,
            i64::from(status.as_u16()),
        ));
        if let Some(version) = protocol_version(version) {
            self.add_attribute(KeyValue::new(NETWORK_PROTOCOL_VERSION, version));
        }
        // For a client, 4xx is an error too (HTTP spans, "Status").
        if status.is_client_error() || status.is_server_error() {
            self.record_error(Cow::Owned(status.as_str().to_owned()), "");
        }
    }

    /// Records a failure. The message of an error is left out: it may hold the URL with its
    /// secrets.
    fn record_error(&mut self, kind: Cow<'static, str>, description: &'static str) {
        self.has_outcome = true;
        self.context.span().set_status(Status::error(description));
        self.add_attribute(KeyValue::new(ERROR_TYPE, kind));
    }

    /// Adds an attribute to the span and to the metric.
    fn add_attribute(&mut self, attribute: KeyValue) {
        self.context.span().set_attribute(attribute.clone());
        self.metric_attributes.push(attribute);
    }
}

impl Drop for ClientSpan {
    fn drop(&mut self) {
        if !self.has_outcome {
            // The caller dropped the call, which is recorded, but is not a failure.
            self.add_attribute(KeyValue::new(ERROR_TYPE, "cancelled"));
        }
        self.context.span().end();
        if let Some(instruments) = self.telemetry.instruments() {
            instruments.client_duration.record(
                self.started.elapsed().as_secs_f64(),
                &self.metric_attributes,
            );
        }
    }
}
