//! A tower layer for servers. Its span lasts from the request to the end of the response body, or
//! to an earlier error, reset or drop.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Instant;

use http::{Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use pin_project_lite::pin_project;
use throughline_model::convention::{
    ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_REQUEST_METHOD_ORIGINAL, HTTP_RESPONSE_STATUS_CODE,
    HTTP_ROUTE, NETWORK_PROTOCOL_VERSION, SERVER_ADDRESS, SERVER_PORT, URL_PATH, URL_QUERY,
    URL_SCHEME, USER_AGENT_ORIGINAL,
};
use throughline_model::redact;
use tower_layer::Layer;
use tower_service::Service;

use super::headers::RequestHeaders;
use super::{known_method, protocol_version, span_name};
use crate::Telemetry;

/// A layer that starts a SERVER span for every request, a child of the context in its headers,
/// which is active while the request is handled.
///
/// On an axum `Router` use `Router::layer`: with the feature `axum` the matched route names the
/// span.
#[derive(Debug, Clone, Default)]
pub struct ServerLayer {
    telemetry: Option<Telemetry>,
}

/// The service of [`ServerLayer`].
#[derive(Debug, Clone)]
pub struct ServerService<S> {
    inner: S,
    telemetry: Telemetry,
}

/// The matched route, of low cardinality, such as `/orders/{id}`. In the extensions of a *response*
/// it names the span, unless the framework provided a route before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchedRoute(pub Arc<str>);

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

/// The span of a request. It ends when it is dropped.
struct ServerSpan {
    context: Context,
    telemetry: Telemetry,
    started: Instant,
    method: Method,
    metric_attributes: Vec<KeyValue>,
    status: Option<StatusCode>,
    outcome: ResponseOutcome,
}

/// A guard that ends the span during a panic: the caller of `poll` may catch the panic, and drop
/// the future much later.
struct ServerSpanGuard<'a>(&'a mut Option<ServerSpan>);

/// The result of a request.
enum ResponseOutcome {
    Running,
    Complete,
    /// With error type and message.
    Failed(&'static str, String),
}

// === impl ServerLayer ===

impl ServerLayer {
    /// Returns a layer that uses [`Telemetry::global`] at the time when it is applied.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the telemetry, in place of [`Telemetry::global`].
    #[must_use]
    pub fn telemetry(self, telemetry: Telemetry) -> Self {
        Self {
            telemetry: Some(telemetry),
        }
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = ServerService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ServerService {
            inner,
            telemetry: self.telemetry.clone().unwrap_or_else(Telemetry::global),
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
        let span = ServerSpan::start(&self.telemetry, &request);
        // The service may do work in `call` already, before its future is polled.
        let _active = span.context.clone().attach();
        let inner = self.inner.call(request);
        ResponseFuture {
            inner,
            span: Some(span),
        }
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
        // Declared before the attached context, so that it is dropped after it.
        let guard = ServerSpanGuard(this.span);
        let _active = guard.0.as_ref().map(|span| span.context.clone().attach());
        let result = ready!(this.inner.poll(cx));
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
        let _active = guard.0.as_ref().map(|span| span.context.clone().attach());
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
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
        span.outcome = ResponseOutcome::Complete;
    }
}

// === impl ServerSpan ===

impl ServerSpan {
    fn start<A>(telemetry: &Telemetry, request: &Request<A>) -> Self {
        let parent = telemetry
            .propagation()
            .extract(&Context::current(), &RequestHeaders(request.headers()));
        let route = route_of(request);
        let metric_attributes = common_attributes(request, route);
        let builder =
            SpanBuilder::from_name(span_name(request.method(), route)).with_kind(SpanKind::Server);
        let attributes = || {
            let mut attributes = metric_attributes.clone();
            push_span_attributes(request, &mut attributes);
            attributes
        };
        Self {
            context: telemetry.start(builder, &parent, attributes),
            telemetry: telemetry.clone(),
            started: Instant::now(),
            method: request.method().clone(),
            metric_attributes,
            status: None,
            outcome: ResponseOutcome::Running,
        }
    }

    fn record_response<B>(&mut self, response: &Response<B>) {
        let status = response.status();
        self.status = Some(status);
        let span = self.context.span();
        let code = KeyValue::new(HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16()));
        span.set_attribute(code.clone());
        self.metric_attributes.push(code);
        // The route of a framework takes precedence, because it named the span from the start.
        if let Some(MatchedRoute(route)) = response.extensions().get()
            && !self
                .metric_attributes
                .iter()
                .any(|attribute| attribute.key.as_str() == HTTP_ROUTE)
        {
            span.update_name(span_name(&self.method, Some(route)));
            let route = KeyValue::new(HTTP_ROUTE, Arc::clone(route));
            span.set_attribute(route.clone());
            self.metric_attributes.push(route);
        }
        // A response to HEAD has no body that could end later.
        if self.method == Method::HEAD {
            self.outcome = ResponseOutcome::Complete;
        }
    }

    fn fail(&mut self, kind: &'static str, message: String) {
        self.outcome = ResponseOutcome::Failed(kind, message);
    }
}

impl Drop for ServerSpan {
    fn drop(&mut self) {
        let span = self.context.span();
        // Dropped during unwinding: the handler or the body panicked.
        if std::thread::panicking() {
            self.outcome = ResponseOutcome::Failed("panic", "the handler panicked".to_owned());
        }
        let kind = match (&self.outcome, self.status) {
            (ResponseOutcome::Failed(kind, message), _) => {
                span.set_status(Status::error(message.clone()));
                Some((*kind).to_owned())
            }
            // HTTP spans, "Status": for a server only 5xx is an error.
            (ResponseOutcome::Complete | ResponseOutcome::Running, Some(status))
                if status.is_server_error() =>
            {
                span.set_status(Status::error(""));
                Some(status.as_str().to_owned())
            }
            // The client disconnected, which is recorded, but is not an error of this server.
            (ResponseOutcome::Running, _) => Some("cancelled".to_owned()),
            (ResponseOutcome::Complete, _) => None,
        };
        if let Some(kind) = kind {
            let kind = KeyValue::new(ERROR_TYPE, kind);
            span.set_attribute(kind.clone());
            self.metric_attributes.push(kind);
        }
        span.end();
        if let Some(instruments) = self.telemetry.instruments() {
            instruments.server_duration.record(
                self.started.elapsed().as_secs_f64(),
                &self.metric_attributes,
            );
        }
    }
}

// === impl ServerSpanGuard ===

impl Drop for ServerSpanGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(self.0.take());
        }
    }
}

#[cfg(feature = "axum")]
fn route_of<A>(request: &Request<A>) -> Option<&str> {
    request
        .extensions()
        .get()
        .map(axum::extract::MatchedPath::as_str)
}

#[cfg(not(feature = "axum"))]
const fn route_of<A>(_request: &Request<A>) -> Option<&str> {
    None
}

/// Returns the attributes that the metric has too, all of low cardinality.
fn common_attributes<A>(request: &Request<A>, route: Option<&str>) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(14);
    attributes.push(KeyValue::new(
        HTTP_REQUEST_METHOD,
        known_method(request.method()).unwrap_or("_OTHER"),
    ));
    attributes.push(KeyValue::new(
        URL_SCHEME,
        // A request in origin form has no scheme, and TLS ends before this layer.
        request.uri().scheme_str().unwrap_or("http").to_owned(),
    ));
    attributes.extend(route.map(|route| KeyValue::new(HTTP_ROUTE, route.to_owned())));
    attributes.extend(
        protocol_version(request.version())
            .map(|version| KeyValue::new(NETWORK_PROTOCOL_VERSION, version)),
    );
    attributes
}

/// Adds the attributes that only the span has.
fn push_span_attributes<A>(request: &Request<A>, attributes: &mut Vec<KeyValue>) {
    let text = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    if known_method(request.method()).is_none() {
        attributes.push(KeyValue::new(
            HTTP_REQUEST_METHOD_ORIGINAL,
            request.method().as_str().to_owned(),
        ));
    }
    attributes.push(KeyValue::new(URL_PATH, request.uri().path().to_owned()));
    let query = request.uri().query().map(redact::query);
    attributes.extend(query.map(|query| KeyValue::new(URL_QUERY, query.into_owned())));
    let authority = request
        .uri()
        .authority()
        .cloned()
        // HTTP/2 has the authority in the URI, HTTP/1.1 in the Host header.
        .or_else(|| text(header::HOST)?.parse().ok());
    if let Some(authority) = authority {
        attributes.push(KeyValue::new(SERVER_ADDRESS, authority.host().to_owned()));
        attributes.extend(
            authority
                .port_u16()
                .map(|port| KeyValue::new(SERVER_PORT, i64::from(port))),
        );
    }
    attributes.extend(
        text(header::USER_AGENT).map(|agent| KeyValue::new(USER_AGENT_ORIGINAL, agent.to_owned())),
    );
}
