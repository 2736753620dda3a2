//! The client side: a middleware of reqwest whose span lasts from one attempt's request to its response's head.

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

use super::headers::Outgoing;
use super::{known_method, protocol_version, span_name};
use crate::Telemetry;
use throughline_model::redact;

/// Gives every request a CLIENT span and its context in the headers. Put it *behind* a retrying middleware and every
/// attempt has a span of its own, as the conventions ask.
///
/// ```
/// # fn example() -> reqwest_middleware::ClientWithMiddleware {
/// use throughline::http::ClientTracing;
///
/// reqwest_middleware::ClientBuilder::new(reqwest::Client::new()).with(ClientTracing::new()).build()
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ClientTracing {
    telemetry: Telemetry,
}

/// How often this request was sent before; kept where all attempts see it.
#[derive(Debug, Clone, Copy)]
struct Attempts(i64);

/// A request on its way. Its span ends when it is dropped: a caller that gave up is no error.
struct Attempt {
    context: Context,
    telemetry: Telemetry,
    started: Instant,
    measured: Vec<KeyValue>,
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
    /// Traces by [`Telemetry::global`] as it is now: create it after [`crate::init`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where spans and metrics go, in place of [`Telemetry::global`].
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
        let before = extensions
            .get::<Attempts>()
            .map_or(0, |attempts| attempts.0);
        extensions.insert(Attempts(before.saturating_add(1)));
        let mut attempt = Attempt::start(&self.telemetry, &request, before);
        self.telemetry
            .propagation()
            .inject(&attempt.context, &mut Outgoing(request.headers_mut()));
        let result = next
            .run(request, extensions)
            .with_context(attempt.context.clone())
            .await;
        match &result {
            Ok(response) => attempt.answered(response),
            Err(error) => attempt.failed(error),
        }
        result
    }
}

// === impl Attempt ===

impl Attempt {
    fn start(telemetry: &Telemetry, request: &Request, before: i64) -> Self {
        let mut measured = Vec::with_capacity(9);
        measured.push(KeyValue::new(
            HTTP_REQUEST_METHOD,
            known_method(request.method()).unwrap_or("_OTHER"),
        ));
        measured.extend(
            request
                .url()
                .host_str()
                .map(|host| KeyValue::new(SERVER_ADDRESS, host.to_owned())),
        );
        let port = request.url().port_or_known_default();
        measured.extend(port.map(|port| KeyValue::new(SERVER_PORT, i64::from(port))));
        let attributes = || {
            let mut attributes = measured.clone();
            attributes.push(KeyValue::new(URL_FULL, without_secrets(request.url())));
            if known_method(request.method()).is_none() {
                let original = request.method().as_str().to_owned();
                attributes.push(KeyValue::new(HTTP_REQUEST_METHOD_ORIGINAL, original));
            }
            if before > 0 {
                attributes.push(KeyValue::new(HTTP_REQUEST_RESEND_COUNT, before));
            }
            attributes
        };
        let builder =
            SpanBuilder::from_name(span_name(request.method(), None)).with_kind(SpanKind::Client);
        let context = telemetry.start(builder, &Context::current(), attributes);
        Self {
            context,
            telemetry: telemetry.clone(),
            started: Instant::now(),
            measured,
        }
    }

    fn answered(&mut self, response: &Response) {
        let status = response.status();
        self.note(KeyValue::new(
            HTTP_RESPONSE_STATUS_CODE,
            i64::from(status.as_u16()),
        ));
        if let Some(version) = protocol_version(response.version()) {
            self.note(KeyValue::new(NETWORK_PROTOCOL_VERSION, version));
        }
        if status.is_client_error() || status.is_server_error() {
            self.context.span().set_status(Status::error(""));
            self.note(KeyValue::new(ERROR_TYPE, status.as_str().to_owned()));
        }
    }

    fn failed(&mut self, error: &Error) {
        let kind = match error {
            Error::Middleware(_) => "middleware",
            Error::Reqwest(error) if error.is_timeout() => "timeout",
            Error::Reqwest(error) if error.is_connect() => "connect",
            Error::Reqwest(error) if error.is_redirect() => "redirect",
            Error::Reqwest(_) => "request",
        };
        // The error's own words hold the URL, secrets and all.
        self.context.span().set_status(Status::error(kind));
        self.note(KeyValue::new(ERROR_TYPE, kind));
    }

    fn note(&mut self, attribute: KeyValue) {
        self.context.span().set_attribute(attribute.clone());
        self.measured.push(attribute);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.context.span().end();
        if let Some(instruments) = self.telemetry.instruments() {
            instruments
                .client
                .record(self.started.elapsed().as_secs_f64(), &self.measured);
        }
    }
}

/// The URL without credentials and without the values that sign it.
fn without_secrets(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs that cannot have credentials.
    if !url.username().is_empty() {
        url.set_username(redact::REDACTED).ok();
    }
    if url.password().is_some() {
        url.set_password(Some(redact::REDACTED)).ok();
    }
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
            without_secrets(&url),
            "https://REDACTED:REDACTED@host/p?sig=REDACTED&q=1"
        );
    }
}
