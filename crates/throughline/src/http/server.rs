//! A tower layer for servers. Its span lasts from the request to the end of the response body, or
//! to an earlier error, reset or drop.

mod extensions;
mod forwarded;
mod options;
mod span;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use http::{HeaderName, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use opentelemetry::KeyValue;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use self::options::ServerOptions;
use self::span::{ServerSpan, ServerSpanGuard};
use crate::Telemetry;
use crate::http::RequestMetadata;

pub use self::extensions::{ClientAddress, MatchedRoute};

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
///     .request_metadataers(["x-tenant"])
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

pin_project! {
    /// The response future of [`ServerService`].
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        span: Option<ServerSpan>,
    }
}

pin_project! {
    /// A response body whose end ends the span.
    pub struct TracedBody<B> {
        #[pin]
        inner: B,
        span: Option<ServerSpan>,
        remaining_bytes: Option<u64>,
    }
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
    pub fn request_metadataers<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        let names = names
            .into_iter()
            .filter_map(|name| HeaderName::try_from(name).ok());
        self.options.request_metadataers.extend(names);
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
            .then(|| ServerSpan::start(&self.telemetry, &self.options, &head));
        // The service may do work in `call` already, before its future is polled.
        let active = span.as_ref().map(ServerSpan::enter);
        let inner = self.inner.call(request);
        drop(active);
        ResponseFuture { inner, span }
    }
}

// === impl ResponseFuture ===

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<TracedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // Declared before the active span, so that it is dropped after it.
        let guard = ServerSpanGuard(this.span);
        let active = guard.enter();
        let result = ready!(this.inner.poll(cx));
        drop(active);
        let span = guard.0.take();
        Poll::Ready(match result {
            Ok(response) => Ok(TracedBody::wrap(response, span)),
            Err(error) => {
                if let Some(mut span) = span {
                    span.fail(std::any::type_name::<E>(), String::new());
                }
                Err(error)
            }
        })
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

// === impl TracedBody ===

impl<B: Body> TracedBody<B> {
    fn wrap(response: Response<B>, mut span: Option<ServerSpan>) -> Response<Self> {
        if let Some(span) = &mut span {
            span.record_response(&response);
        }
        let length = response.headers().get(header::CONTENT_LENGTH);
        // A malformed length is treated as unknown: the end of the body ends the span then.
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let remaining_bytes = length.or_else(|| response.body().size_hint().exact());
        response.map(|inner| {
            // A server does not poll an empty body, so the span ends here.
            if inner.is_end_stream() || remaining_bytes == Some(0) {
                finish(&mut span);
            }
            Self {
                inner,
                span,
                remaining_bytes,
            }
        })
    }
}

impl<B: Body> Body for TracedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let guard = ServerSpanGuard(this.span);
        let active = guard.enter();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        drop(active);
        match &frame {
            None => finish(guard.0),
            Some(Err(_)) => {
                if let Some(mut span) = guard.0.take() {
                    span.fail(
                        std::any::type_name::<B::Error>(),
                        "the body failed".to_owned(),
                    );
                }
            }
            Some(Ok(frame)) => {
                if let (Some(span), Some(trailers)) = (guard.0.as_mut(), frame.trailers_ref()) {
                    span.record_grpc_status(trailers);
                }
                // A server that knows the length may stop polling after the last byte.
                let sent = frame.data_ref().map_or(0, data_bytes);
                *this.remaining_bytes =
                    this.remaining_bytes.map(|bytes| bytes.saturating_sub(sent));
                if *this.remaining_bytes == Some(0) || this.inner.is_end_stream() {
                    finish(guard.0);
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> fmt::Debug for TracedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracedBody")
            .field("remaining_bytes", &self.remaining_bytes)
            .finish_non_exhaustive()
    }
}

impl<B: Default> Default for TracedBody<B> {
    fn default() -> Self {
        Self {
            inner: B::default(),
            span: None,
            remaining_bytes: None,
        }
    }
}

fn data_bytes(data: &impl bytes::Buf) -> u64 {
    u64::try_from(data.remaining()).unwrap_or(u64::MAX)
}

fn finish(span: &mut Option<ServerSpan>) {
    if let Some(mut span) = span.take() {
        span.complete();
    }
}
