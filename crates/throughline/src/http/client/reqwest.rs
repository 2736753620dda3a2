//! reqwest: a middleware, and a function for clients without middleware. The span lasts from the
//! request to the head of the response.

use std::borrow::Cow;

use http::Extensions;
use opentelemetry::KeyValue;
use opentelemetry::trace::FutureExt as _;
use reqwest::{Request, RequestBuilder, Response, Url};
use reqwest_middleware::{Error, Middleware, Next, Result};
use throughline_model::convention::URL_FULL;
use throughline_model::redact;

use super::{ClientSpan, OutgoingRequest, UrlTemplate};
use crate::Telemetry;
use crate::http::headers::RequestHeadersMut;

/// The CLIENT spans of a reqwest client: starts one for every request and injects its context.
///
/// [`ClientTracing::send`] traces single requests of a plain client. As a middleware it traces all
/// requests; *behind* a retrying middleware it starts a span for every attempt, as the conventions
/// require. A [`UrlTemplate`] among the middleware's extensions names the span.
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use throughline::http::ClientTracing;
///
/// let client = reqwest::Client::new();
/// let response = ClientTracing::new().send(client.get("http://inventory/orders")).await?;
///
/// let traced = reqwest_middleware::ClientBuilder::new(client).with(ClientTracing::new()).build();
/// let response = traced.get("http://inventory/orders").send().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ClientTracing {
    telemetry: Telemetry,
}

/// The number of earlier attempts, in the extensions that all attempts share.
#[derive(Debug, Clone, Copy)]
struct ResendCount(i64);

// === impl ClientTracing ===

impl Default for ClientTracing {
    fn default() -> Self {
        Self {
            telemetry: Telemetry::global(),
        }
    }
}

impl ClientTracing {
    /// Returns tracing that uses [`Telemetry::global`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the telemetry, in place of [`Telemetry::global`].
    #[must_use]
    pub fn telemetry(self, telemetry: Telemetry) -> Self {
        Self { telemetry }
    }

    /// Sends a request of a plain reqwest client with a span. The future holds a copy of the
    /// tracing.
    ///
    /// # Errors
    /// The error of [`RequestBuilder::send`], which is recorded on the span too.
    pub fn send(
        &self,
        request: RequestBuilder,
    ) -> impl Future<Output = reqwest::Result<Response>> + Send + use<> {
        let tracing = self.clone();
        async move {
            let (client, request) = request.build_split();
            let mut request = request?;
            let mut span = tracing.start(&mut request, 0, None);
            let context = span.context.clone();
            let result = client.execute(request).with_context(context).await;
            match &result {
                Ok(response) => span.record_response(response.status(), response.version()),
                Err(error) => record_error(&mut span, error_kind(error)),
            }
            result
        }
    }

    /// Starts the span of a request, and injects its context.
    fn start(
        &self,
        request: &mut Request,
        resend_count: i64,
        template: Option<&UrlTemplate>,
    ) -> ClientSpan {
        let outgoing = OutgoingRequest {
            method: request.method(),
            host: request.url().host_str(),
            // The conventions require the port, also where the URL leaves it out.
            port: request.url().port_or_known_default(),
            template,
            resend_count,
            name: None,
        };
        let span = ClientSpan::start(&self.telemetry, outgoing, |attributes| {
            attributes.push(KeyValue::new(URL_FULL, redacted_url(request.url())));
        });
        let mut headers = RequestHeadersMut(request.headers_mut());
        span.telemetry
            .propagation()
            .inject(&span.context, &mut headers);
        span
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
        let template = extensions.get::<UrlTemplate>();
        let mut span = self.start(&mut request, resend_count, template);
        let result = next
            .run(request, extensions)
            .with_context(span.context.clone())
            .await;
        match &result {
            Ok(response) => span.record_response(response.status(), response.version()),
            Err(Error::Middleware(_)) => record_error(&mut span, "middleware"),
            Err(Error::Reqwest(error)) => record_error(&mut span, error_kind(error)),
        }
        result
    }
}

fn record_error(span: &mut ClientSpan, kind: &'static str) {
    span.record_error(Cow::Borrowed(kind), kind);
}

/// Returns the error type of a failed request.
fn error_kind(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "connect"
    } else if error.is_redirect() {
        "redirect"
    } else {
        "request"
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
