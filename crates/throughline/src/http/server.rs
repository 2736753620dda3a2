//! The server side: a tower layer whose span lasts from the request to the end of the response's body, or to the error,
//! reset or drop that comes before it.

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
use tower_layer::Layer;
use tower_service::Service;

use super::headers::Received;
use super::{known_method, protocol_version, span_name};
use crate::Telemetry;
use throughline_model::redact;

/// Gives every request a SERVER span, child of the context in its headers, active while it is answered.
///
/// On an axum `Router` use `Router::layer`: with the feature `axum` the matched route names the span.
#[derive(Debug, Clone, Default)]
pub struct ServerLayer {
    telemetry: Option<Telemetry>,
}

/// A service made by [`ServerLayer`].
#[derive(Debug, Clone)]
pub struct ServerService<S> {
    inner: S,
    telemetry: Telemetry,
}

/// The route that answered, of few values, such as `/orders/{id}`. Put into the extensions of a *response* it names the
/// span where no framework told the route before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route(pub Arc<str>);

pin_project! {
    /// The answer to come.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        exchange: Option<Exchange>,
    }
}

pin_project! {
    /// A response's body, whose end is the span's end.
    pub struct TracedBody<B> {
        #[pin]
        inner: B,
        exchange: Option<Exchange>,
        left: Option<u64>,
    }
}

/// A request that is being answered. Its span ends when it is dropped.
struct Exchange {
    context: Context,
    telemetry: Telemetry,
    started: Instant,
    method: Method,
    measured: Vec<KeyValue>,
    status: Option<StatusCode>,
    outcome: Outcome,
}

/// Ends the span while a panic passes. Whoever polls may catch the panic and drop the future only later.
struct OnUnwind<'a>(&'a mut Option<Exchange>);

enum Outcome {
    Running,
    Complete,
    Failed(&'static str, String),
}

// === impl ServerLayer ===

impl ServerLayer {
    /// Traces by [`Telemetry::global`] as it is when the layer is applied.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where spans and metrics go, in place of [`Telemetry::global`].
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
        let exchange = Exchange::start(&self.telemetry, &request);
        let _active = exchange.context.clone().attach();
        let inner = self.inner.call(request);
        ResponseFuture {
            inner,
            exchange: Some(exchange),
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
        let unwind = OnUnwind(this.exchange);
        let _active = unwind
            .0
            .as_ref()
            .map(|exchange| exchange.context.clone().attach());
        let result = ready!(this.inner.poll(cx));
        let exchange = unwind.0.take();
        Poll::Ready(match result {
            Ok(response) => Ok(TracedBody::wrap(response, exchange)),
            Err(error) => {
                if let Some(mut exchange) = exchange {
                    exchange.fail(std::any::type_name::<E>(), String::new());
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
    fn wrap(response: Response<B>, mut exchange: Option<Exchange>) -> Response<Self> {
        if let Some(exchange) = &mut exchange {
            exchange.answer(&response);
        }
        let length = response.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let left = length.or_else(|| response.body().size_hint().exact());
        response.map(|inner| {
            if inner.is_end_stream() || left == Some(0) {
                finish(&mut exchange);
            }
            Self {
                inner,
                exchange,
                left,
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
        let unwind = OnUnwind(this.exchange);
        let _active = unwind
            .0
            .as_ref()
            .map(|exchange| exchange.context.clone().attach());
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        match &frame {
            None => finish(unwind.0),
            Some(Err(_)) => {
                if let Some(mut exchange) = unwind.0.take() {
                    exchange.fail(
                        std::any::type_name::<B::Error>(),
                        "the body failed".to_owned(),
                    );
                }
            }
            Some(Ok(frame)) => {
                // A server that knows the length stops polling when it has sent that much.
                let sent = frame.data_ref().map_or(0, bytes_in);
                *this.left = this.left.map(|left| left.saturating_sub(sent));
                if *this.left == Some(0) || this.inner.is_end_stream() {
                    finish(unwind.0);
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
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl<B: Default> Default for TracedBody<B> {
    fn default() -> Self {
        Self {
            inner: B::default(),
            exchange: None,
            left: None,
        }
    }
}

fn bytes_in(data: &impl bytes::Buf) -> u64 {
    u64::try_from(data.remaining()).unwrap_or(u64::MAX)
}

fn finish(exchange: &mut Option<Exchange>) {
    if let Some(mut exchange) = exchange.take() {
        exchange.outcome = Outcome::Complete;
    }
}

// === impl Exchange ===

impl Exchange {
    fn start<A>(telemetry: &Telemetry, request: &Request<A>) -> Self {
        let parent = telemetry
            .propagation()
            .extract(&Context::current(), &Received(request.headers()));
        let route = route_of(request);
        let measured = measured(request, route);
        let builder =
            SpanBuilder::from_name(span_name(request.method(), route)).with_kind(SpanKind::Server);
        let attributes = || {
            let mut attributes = measured.clone();
            described(request, &mut attributes);
            attributes
        };
        Self {
            context: telemetry.start(builder, &parent, attributes),
            telemetry: telemetry.clone(),
            started: Instant::now(),
            method: request.method().clone(),
            measured,
            status: None,
            outcome: Outcome::Running,
        }
    }

    fn answer<B>(&mut self, response: &Response<B>) {
        let status = response.status();
        self.status = Some(status);
        let span = self.context.span();
        let code = KeyValue::new(HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16()));
        span.set_attribute(code.clone());
        self.measured.push(code);
        if let Some(Route(route)) = response.extensions().get()
            && !self
                .measured
                .iter()
                .any(|attribute| attribute.key.as_str() == HTTP_ROUTE)
        {
            span.update_name(span_name(&self.method, Some(route)));
            let route = KeyValue::new(HTTP_ROUTE, Arc::clone(route));
            span.set_attribute(route.clone());
            self.measured.push(route);
        }
        if self.method == Method::HEAD {
            self.outcome = Outcome::Complete;
        }
    }

    fn fail(&mut self, kind: &'static str, message: String) {
        self.outcome = Outcome::Failed(kind, message);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let span = self.context.span();
        if std::thread::panicking() {
            self.outcome = Outcome::Failed("panic", "the handler panicked".to_owned());
        }
        let kind = match (&self.outcome, self.status) {
            (Outcome::Failed(kind, message), _) => {
                span.set_status(Status::error(message.clone()));
                Some((*kind).to_owned())
            }
            // Conventions, "Status": only 5xx is the server's fault.
            (Outcome::Complete | Outcome::Running, Some(status)) if status.is_server_error() => {
                span.set_status(Status::error(""));
                Some(status.as_str().to_owned())
            }
            // Whoever asked went away: worth a mark, not an error of this server.
            (Outcome::Running, _) => Some("cancelled".to_owned()),
            (Outcome::Complete, _) => None,
        };
        if let Some(kind) = kind {
            let kind = KeyValue::new(ERROR_TYPE, kind);
            span.set_attribute(kind.clone());
            self.measured.push(kind);
        }
        span.end();
        if let Some(instruments) = self.telemetry.instruments() {
            instruments
                .server
                .record(self.started.elapsed().as_secs_f64(), &self.measured);
        }
    }
}

// === impl OnUnwind ===

impl Drop for OnUnwind<'_> {
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

/// The attributes that the duration metric has too: few, and of few values.
fn measured<A>(request: &Request<A>, route: Option<&str>) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(14);
    attributes.push(KeyValue::new(
        HTTP_REQUEST_METHOD,
        known_method(request.method()).unwrap_or("_OTHER"),
    ));
    attributes.push(KeyValue::new(
        URL_SCHEME,
        request.uri().scheme_str().unwrap_or("http").to_owned(),
    ));
    attributes.extend(route.map(|route| KeyValue::new(HTTP_ROUTE, route.to_owned())));
    attributes.extend(
        protocol_version(request.version())
            .map(|version| KeyValue::new(NETWORK_PROTOCOL_VERSION, version)),
    );
    attributes
}

fn described<A>(request: &Request<A>, attributes: &mut Vec<KeyValue>) {
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
    let named = request
        .uri()
        .authority()
        .cloned()
        .or_else(|| text(header::HOST)?.parse().ok());
    if let Some(authority) = named {
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
