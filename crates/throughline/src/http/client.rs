//! A middleware of reqwest. Its span lasts from the request to the head of the response.

use std::time::Instant;

use http::Extensions;
use opentelemetry::trace::{FutureExt as _, SpanBuilder, SpanKind, Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use reqwest::{Request, Response, Url};
use reqwest_middleware::{Error, Middleware, Next, Result};
use throughline_model::convention::{
    ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_REQUEST_METHOD_ORIGINAL, HTTP_REQUEST_RESEND_COUNT,
    HTTP_RESPONSE_STATUS_CODE, NETWORK_PROTOCOL_VERSION, SERVER_ADDRESS, SERVER_PORT, URL_FULL,
};
use throughline_model::redact;

use super::headers::RequestHeadersMut;
use super::{known_method, protocol_version, span_name};
use crate::Telemetry;

/// A middleware that starts a CLIENT span for every request and injects its context. *Behind* a
/// retrying middleware it starts one for every attempt, as the conventions require.
///
/// ```
/// # fn example() -> reqwest_middleware::ClientWithMiddleware {
/// use throughline::http::ClientTracing;
///
/// let client = reqwest::Client::new();
/// reqwest_middleware::ClientBuilder::new(client).with(ClientTracing::new()).build()
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ClientTracing {
    telemetry: Telemetry,
}

/// The number of earlier attempts, in the extensions that all attempts share.
#[derive(Debug, Clone, Copy)]
struct ResendCount(i64);

/// The span of an attempt. It ends when it is dropped; without an outcome, as cancelled.
struct ClientSpan {
    context: Context,
    telemetry: Telemetry,
    started: Instant,
    metric_attributes: Vec<KeyValue>,
    has_outcome: bool,
}

// === impl ClientTracing ===

impl Default for ClientTracing {
    fn default() -> Self {
        Self {
            telemetry: Telemetry::global(),
        }
    }
}

impl ClientTracing {
    /// Returns a middleware that uses the current [`Telemetry::global`]: create it after
    /// [`crate::init`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the telemetry, in place of [`Telemetry::global`].
    #[must_use]
    pub fn telemetry(self, telemetry: Telemetry) -> Self {
        Self { telemetry }
    }
}

#[async_trait::async_trait]
impl Middleware for ClientTracing {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let resend_count = extensions.get::<ResendCount>().map_or(0, |count| count.0);
        // A retrying middleware passes the same extensions to every attempt.
        extensions.insert(ResendCount(resend_count.saturating_add(1)));
        let mut span = ClientSpan::start(&self.telemetry, &request, resend_count);
        self.telemetry
            .propagation()
            .inject(&span.context, &mut RequestHeadersMut(request.headers_mut()));
        let result = next
            .run(request, extensions)
            .with_context(span.context.clone())
            .await;
        match &result {
            Ok(response) => span.record_response(response),
            Err(error) => span.record_error(error),
        }
        result
    }
}

// === impl ClientSpan ===

impl ClientSpan {
    fn start(telemetry: &Telemetry, request: &Request, resend_count: i64) -> Self {
        let mut metric_attributes = Vec::with_capacity(9);
        metric_attributes.push(KeyValue::new(
            HTTP_REQUEST_METHOD,
            known_method(request.method()).unwrap_or("_OTHER"),
        ));
        metric_attributes.extend(
            request
                .url()
                .host_str()
                .map(|host| KeyValue::new(SERVER_ADDRESS, host.to_owned())),
        );
        // The conventions require the port, also where the URL leaves it out.
        let port = request.url().port_or_known_default();
        metric_attributes.extend(port.map(|port| KeyValue::new(SERVER_PORT, i64::from(port))));
        let attributes = || {
            let mut attributes = metric_attributes.clone();
            attributes.push(KeyValue::new(URL_FULL, redacted_url(request.url())));
            if known_method(request.method()).is_none() {
                let original = request.method().as_str().to_owned();
                attributes.push(KeyValue::new(HTTP_REQUEST_METHOD_ORIGINAL, original));
            }
            if resend_count > 0 {
                attributes.push(KeyValue::new(HTTP_REQUEST_RESEND_COUNT, resend_count));
            }
            attributes
        };
        // A client knows no route, and a path has too many values for a name (HTTP spans, "Name").
        let builder =
            SpanBuilder::from_name(span_name(request.method(), None)).with_kind(SpanKind::Client);
        let context = telemetry.start(builder, &Context::current(), attributes);
        Self {
            context,
            telemetry: telemetry.clone(),
            started: Instant::now(),
            metric_attributes,
            has_outcome: false,
        }
    }

    fn record_response(&mut self, response: &Response) {
        self.has_outcome = true;
        let status = response.status();
        self.add_attribute(KeyValue::new(
            HTTP_RESPONSE_STATUS_CODE,
            i64::from(status.as_u16()),
        ));
        if let Some(version) = protocol_version(response.version()) {
            self.add_attribute(KeyValue::new(NETWORK_PROTOCOL_VERSION, version));
        }
        // For a client, 4xx is an error too (HTTP spans, "Status").
        if status.is_client_error() || status.is_server_error() {
            self.context.span().set_status(Status::error(""));
            self.add_attribute(KeyValue::new(ERROR_TYPE, status.as_str().to_owned()));
        }
    }

    fn record_error(&mut self, error: &Error) {
        self.has_outcome = true;
        let kind = match error {
            Error::Middleware(_) => "middleware",
            Error::Reqwest(error) if error.is_timeout() => "timeout",
            Error::Reqwest(error) if error.is_connect() => "connect",
            Error::Reqwest(error) if error.is_redirect() => "redirect",
            Error::Reqwest(_) => "request",
        };
        // The error message is left out, because it holds the URL with its secrets.
        self.context.span().set_status(Status::error(kind));
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

/// Returns the URL without credentials and without signatures (HTTP spans, `url.full`).
fn redacted_url(url: &Url) -> String {
    let mut url = url.clone();
    // These calls fail only for URLs that cannot have credentials.
    if !url.username().is_empty() {
        url.set_username(redact::REDACTED).ok();
    }
    if url.password().is_some() {
        url.set_password(Some(redact::REDACTED)).ok();
    }
    // Only the values are replaced, so that the keys remain searchable.
    let query = url.query().map(|query| redact::query(query).into_owned());
    url.set_query(query.as_deref());
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_signatures_do_not_reach_the_span() {
        let url = Url::parse("https://ann:pw@host/p?sig=abc&q=1").unwrap();
        assert_eq!(
            redacted_url(&url),
            "https://REDACTED:REDACTED@host/p?sig=REDACTED&q=1"
        );
    }
}
