//! A tower layer for clients: tonic's channels, hyper-util's clients, any service that takes HTTP
//! requests. The span lasts to the head of the response; of a call of gRPC, to its trailers.

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use opentelemetry::{Context, KeyValue};
use pin_project_lite::pin_project;
use throughline_model::convention::{RPC_GRPC_STATUS_CODE, URL_FULL};
use throughline_model::redact;
use tower_layer::Layer;
use tower_service::Service;

use super::{ClientSpan, OutgoingRequest};
use crate::Telemetry;
use crate::http::RequestMetadata;
use crate::http::grpc::{GrpcMethod, GrpcStatus};
use crate::http::headers::RequestHeadersMut;

/// A layer that starts a CLIENT span for every request and injects its context. Calls of gRPC are
/// named by their method, and have the status of their trailers.
///
/// ```
/// use std::convert::Infallible;
/// use http::{Request, Response};
/// use throughline::http::ClientLayer;
/// use tower::{Layer as _, service_fn};
///
/// // In place of this service: a `tonic::transport::Channel`, or a client of hyper-util.
/// let channel = service_fn(async |_: Request<String>| {
///     Ok::<_, Infallible>(Response::new(String::new()))
/// });
/// let traced = ClientLayer::new().server("inventory", 50051).layer(channel);
/// ```
#[derive(Debug, Clone)]
pub struct ClientLayer {
    telemetry: Telemetry,
    server: Option<(String, u16)>,
}

/// The service of [`ClientLayer`].
#[derive(Debug, Clone)]
pub struct ClientService<S> {
    inner: S,
    settings: ClientLayer,
}

/// A call in progress: its span, and whether it is one of gRPC.
struct ClientCall {
    span: ClientSpan,
    is_grpc: bool,
}

pin_project! {
    /// The response future of [`ClientService`].
    pub struct ClientResponseFuture<F> {
        #[pin]
        inner: F,
        call: Option<ClientCall>,
    }
}

pin_project! {
    /// A response body whose trailers end the span of a call of gRPC.
    pub struct ClientBody<B> {
        #[pin]
        inner: B,
        call: Option<ClientCall>,
    }
}

// === impl ClientLayer ===

impl Default for ClientLayer {
    fn default() -> Self {
        Self {
            telemetry: Telemetry::global(),
            server: None,
        }
    }
}

impl ClientLayer {
    /// Returns a layer that uses [`Telemetry::global`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the telemetry, in place of [`Telemetry::global`].
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = telemetry;
        self
    }

    /// Sets the server's name and port, for clients whose requests have a path alone, as tonic's.
    #[must_use]
    pub fn server(mut self, host: impl Into<String>, port: u16) -> Self {
        self.server = Some((host.into(), port));
        self
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = ClientService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ClientService {
            inner,
            settings: self.clone(),
        }
    }
}

// === impl ClientService ===

impl<S, A, B> Service<Request<A>> for ClientService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body,
{
    type Response = Response<ClientBody<B>>;
    type Error = S::Error;
    type Future = ClientResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let call = ClientCall::start(&self.settings, &RequestMetadata::of(&request));
        let mut headers = RequestHeadersMut(request.headers_mut());
        let propagation = call.span.telemetry.propagation();
        propagation.inject(&call.span.context, &mut headers);
        // The service may do work in `call` already, before its future is polled.
        let attached = call.span.context.clone().attach();
        let inner = self.inner.call(request);
        drop(attached);
        ClientResponseFuture {
            inner,
            call: Some(call),
        }
    }
}

// === impl ClientCall ===

impl ClientCall {
    fn start(settings: &ClientLayer, head: &RequestMetadata<'_>) -> Self {
        let grpc = GrpcMethod::of(head.headers, head.uri.path());
        let server = settings.server.as_ref();
        let host = server.map(|(host, _)| host.as_str());
        let port = server.map(|(_, port)| *port);
        let outgoing = OutgoingRequest {
            method: head.method,
            host: host.or_else(|| head.uri.host()),
            port: port.or_else(|| port_of(head)),
            template: head.extensions.get(),
            resend_count: 0,
            name: grpc.map(GrpcMethod::span_name),
        };
        let span = ClientSpan::start(&settings.telemetry, outgoing, |attributes| {
            if let Some(url) = full_url(head) {
                attributes.push(KeyValue::new(URL_FULL, url));
            }
            if let Some(grpc) = grpc {
                grpc.push_attributes(attributes);
            }
        });
        Self {
            span,
            is_grpc: grpc.is_some(),
        }
    }

    /// Records the head of a response. Returns the call when only its trailers end it.
    fn answer<B: Body>(mut self, response: &Response<B>) -> Option<Self> {
        let status = response.status();
        self.span.record_response(status, response.version());
        if !self.is_grpc || !status.is_success() || self.read_status(response.headers()) {
            return None;
        }
        // Not before the trailers: a stream of messages may be dropped, or fail, until then.
        self.span.has_outcome = false;
        (!response.body().is_end_stream()).then_some(self)
    }

    /// Reads the status of a call from trailers, or from the headers of a response without body.
    /// Returns whether they have one.
    fn read_status(&mut self, headers: &HeaderMap) -> bool {
        let Some(status) = GrpcStatus::read(headers) else {
            return false;
        };
        self.span.has_outcome = true;
        let code = KeyValue::new(RPC_GRPC_STATUS_CODE, i64::from(status.0));
        self.span.add_attribute(code);
        // For a client every status but OK is an error (gRPC conventions, "Span status").
        if !status.is_ok() {
            self.span.record_error(Cow::Borrowed(status.name()), "");
        }
        true
    }

    fn fail<E>(mut self) {
        let kind = std::any::type_name::<E>();
        self.span.record_error(Cow::Borrowed(kind), "");
    }
}

// === impl ClientResponseFuture ===

impl<F, B, E> Future for ClientResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ClientBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let attached = this.call.as_ref().map(|call| call.span.context.clone());
        let attached = attached.map(Context::attach);
        let result = ready!(this.inner.poll(cx));
        drop(attached);
        let call = this.call.take();
        Poll::Ready(match result {
            Ok(response) => {
                let call = call.and_then(|call| call.answer(&response));
                Ok(response.map(|inner| ClientBody { inner, call }))
            }
            Err(error) => {
                if let Some(call) = call {
                    call.fail::<E>();
                }
                Err(error)
            }
        })
    }
}

impl<F> fmt::Debug for ClientResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientResponseFuture")
            .finish_non_exhaustive()
    }
}

// === impl ClientBody ===

impl<B: Body> Body for ClientBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(call), Some(trailers)) = (this.call.as_mut(), frame.trailers_ref()) {
                    call.read_status(trailers);
                    drop(this.call.take());
                }
            }
            Some(Err(_)) => {
                if let Some(call) = this.call.take() {
                    call.fail::<B::Error>();
                }
            }
            // Without trailers the call has no status, which its drop records.
            None => drop(this.call.take()),
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

impl<B: Default> Default for ClientBody<B> {
    fn default() -> Self {
        Self {
            inner: B::default(),
            call: None,
        }
    }
}

impl<B> fmt::Debug for ClientBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBody").finish_non_exhaustive()
    }
}

/// Returns the port of a target, which the conventions require also where the URL leaves it out.
fn port_of(head: &RequestMetadata<'_>) -> Option<u16> {
    head.uri
        .port_u16()
        .or_else(|| match head.uri.scheme_str()? {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        })
}

/// Returns the URL without credentials and signatures; `None` when the request has a path alone.
fn full_url(head: &RequestMetadata<'_>) -> Option<String> {
    let (scheme, authority) = (head.uri.scheme_str()?, head.uri.authority()?);
    let host = authority
        .as_str()
        .rsplit_once('@')
        .map_or(authority.as_str(), |(_, host)| host);
    let credentials = if host.len() == authority.as_str().len() {
        String::new()
    } else {
        [redact::REDACTED, "@"].concat()
    };
    let mut url = [scheme, "://", &credentials, host, head.uri.path()].concat();
    if let Some(query) = head.uri.query() {
        url.push('?');
        url.push_str(&redact::query(query));
    }
    Some(url)
}
