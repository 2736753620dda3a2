//! A tower layer for servers. Its span lasts from the request to the end of the response body, or
//! to an earlier error, reset or drop.

use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use http::{HeaderName, Request, Response};
use http_body::Body;
use opentelemetry::KeyValue;
use tower_layer::Layer;
use tower_service::Service;

use super::layer_response::{LayerSpan, ResponseFuture, TracedBody};
use super::server_span::{ServerOptions, ServerSpan};
use crate::Telemetry;
use crate::http::RequestMetadata;

/// A layer that starts a SERVER span for every request, a child of the context in its headers,
/// which is active while the request is handled. Calls of gRPC are named by their method, and have
/// the status of their trailers.
///
/// On an axum `Router` use `Router::layer`: with the feature `axum` the matched route names the
/// span. The settings are optional:
///
/// ```
/// use opentelemetry::KeyValue;
/// use throughline::http::ServerLayer;
///
/// let layer = ServerLayer::new()
///     .untraced_paths(["/healthz", "/assets/*"])
///     .request_headers(["x-tenant"])
///     .trust_forwarded_headers()
///     .attributes(|head, attributes| {
///         let host = head.header("host").unwrap_or("none");
///         attributes.push(KeyValue::new("shop.host", host.to_owned()));
///     });
/// ```
#[derive(Debug, Clone, Default)]
pub struct ServerLayer {
    telemetry: Option<Telemetry>,
    options: ServerOptions,
}

/// The service of [`ServerLayer`].
#[derive(Debug, Clone)]
pub struct ServerService<S> {
    inner: S,
    telemetry: Telemetry,
    options: Arc<ServerOptions>,
}

// === impl ServerLayer ===

impl ServerLayer {
    /// Returns a layer that uses [`Telemetry::global`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the telemetry, in place of [`Telemetry::global`].
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = Some(telemetry);
        self
    }

    /// Leaves out requests with these paths, such as health probes: their handlers run without a
    /// context. A trailing `*` stands for any rest.
    #[must_use]
    pub fn untraced_paths<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.options
            .untraced_paths
            .extend(paths.into_iter().map(Into::into));
        self
    }

    /// Traces only requests for which `filter` returns true.
    #[must_use]
    pub fn filter(
        mut self,
        filter: impl Fn(&RequestMetadata<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.options.filter = Some(Arc::new(filter));
        self
    }

    /// Names spans by a function; where it returns `None`, they have the name of the conventions.
    /// Keep the number of names low.
    #[must_use]
    pub fn span_name(
        mut self,
        name: impl Fn(&RequestMetadata<'_>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.options.name = Some(Arc::new(name));
        self
    }

    /// Adds attributes to the span of each recorded request.
    #[must_use]
    pub fn attributes(
        mut self,
        attributes: impl Fn(&RequestMetadata<'_>, &mut Vec<KeyValue>) + Send + Sync + 'static,
    ) -> Self {
        self.options.attributes = Some(Arc::new(attributes));
        self
    }

    /// Records these request headers, as `http.request.header.<name>`. Names that HTTP does not
    /// allow are ignored.
    #[must_use]
    pub fn request_headers<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        let names = names
            .into_iter()
            .filter_map(|name| HeaderName::try_from(name).ok());
        self.options.request_headers.extend(names);
        self
    }

    /// Records these response headers, as `http.response.header.<name>`.
    #[must_use]
    pub fn response_headers<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        let names = names
            .into_iter()
            .filter_map(|name| HeaderName::try_from(name).ok());
        self.options.response_headers.extend(names);
        self
    }

    /// Takes client, scheme and host from `Forwarded` or `X-Forwarded-*`. Only behind a proxy that
    /// sets them: any client can send them.
    #[must_use]
    pub fn trust_forwarded_headers(mut self) -> Self {
        self.options.trusts_forwarded = true;
        self
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = ServerService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ServerService {
            inner,
            telemetry: self.telemetry.clone().unwrap_or_else(Telemetry::global),
            options: Arc::new(self.options.clone()),
        }
    }
}

// === impl ServerService ===

impl<S, A, B> Service<Request<A>> for ServerService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body,
{
    type Response = Response<TracedBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let head = RequestMetadata::of(&request);
        let span = self
            .options
            .is_traced(&head)
            .then(|| LayerSpan::Server(ServerSpan::start(&self.telemetry, &self.options, &head)));
        // The service may do work in `call` already, before its future is polled.
        let active = span.as_ref().map(LayerSpan::enter);
        let inner = self.inner.call(request);
        drop(active);
        ResponseFuture::new(inner, span)
    }
}
