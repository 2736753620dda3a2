//! A tower layer for clients: tonic's channels, hyper-util's clients, any service that takes HTTP
//! requests. The span lasts to the head of the response; of a call of gRPC, to its trailers.

use std::task::{Context as TaskContext, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::client::ClientCall;
use super::layer_response::{LayerSpan, ResponseFuture, TracedBody};
use crate::Telemetry;
use crate::http::RequestMetadata;

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
    type Response = Response<TracedBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let call = ClientCall::start(
            &self.settings.telemetry,
            self.settings.server.as_ref(),
            &RequestMetadata::of(&request),
        );
        call.inject(request.headers_mut());
        let span = LayerSpan::Client(call);
        // The service may do work in `call` already, before its future is polled.
        let active = span.enter();
        let inner = self.inner.call(request);
        drop(active);
        ResponseFuture::new(inner, Some(span))
    }
}
