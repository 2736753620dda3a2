//! The future and the body of a response below a tower layer, a server's or a client's. They end
//! the span of the request.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use http::{HeaderMap, Response, header};
use http_body::{Body, Frame, SizeHint};
use opentelemetry::ContextGuard;
use pin_project_lite::pin_project;
use tracing::span::Entered;

use super::client::ClientCall;
use super::server_span::ServerSpan;

/// The span of a request. It ends when it is dropped.
pub(super) enum LayerSpan {
    Server(ServerSpan),
    Client(ClientCall),
}

/// The span as the active one.
pub(super) struct ActiveLayerSpan<'a> {
    // Left before the context is detached: a scope is entered inside of its context.
    _entered: Option<Entered<'a>>,
    _attached: ContextGuard,
}

/// A guard that ends the span during a panic: the caller of `poll` may catch the panic, and drop
/// the future much later.
struct LayerSpanGuard<'a>(&'a mut Option<LayerSpan>);

pin_project! {
    /// The response future of [`ServerService`](super::ServerService) and
    /// [`ClientService`](super::ClientService).
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        span: Option<LayerSpan>,
    }
}

pin_project! {
    /// A response body whose end ends the span.
    pub struct TracedBody<B> {
        #[pin]
        inner: B,
        span: Option<LayerSpan>,
        remaining_bytes: Option<u64>,
    }
}

// === impl LayerSpan ===

impl LayerSpan {
    /// Makes the span the active one.
    pub(super) fn enter(&self) -> ActiveLayerSpan<'_> {
        let (context, scope) = match self {
            Self::Server(span) => (span.context(), Some(span.scope())),
            // A caller has no handler, in which its logs would belong to the call.
            Self::Client(call) => (call.context(), None),
        };
        let attached = context.clone().attach();
        ActiveLayerSpan {
            _entered: scope.map(tracing::Span::enter),
            _attached: attached,
        }
    }

    /// Records trailers. Returns whether they end the span.
    fn read_trailers(&mut self, trailers: &HeaderMap) -> bool {
        match self {
            Self::Server(span) => {
                span.record_grpc_status(trailers);
                false
            }
            Self::Client(call) => {
                call.read_status(trailers);
                true
            }
        }
    }

    /// Ends the span at the end of the response.
    fn complete(self) {
        match self {
            Self::Server(mut span) => span.complete(),
            // A call of gRPC that ends without trailers has no status, which its drop records.
            Self::Client(call) => drop(call),
        }
    }

    fn fail(self, kind: &'static str, message: &'static str) {
        match self {
            Self::Server(mut span) => span.fail(kind, message.to_owned()),
            Self::Client(call) => call.fail(kind),
        }
    }
}

// === impl LayerSpanGuard ===

impl LayerSpanGuard<'_> {
    fn enter(&self) -> Option<ActiveLayerSpan<'_>> {
        self.0.as_ref().map(LayerSpan::enter)
    }

    fn complete(&mut self) {
        if let Some(span) = self.0.take() {
            span.complete();
        }
    }
}

impl Drop for LayerSpanGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(self.0.take());
        }
    }
}

// === impl ResponseFuture ===

impl<F> ResponseFuture<F> {
    pub(super) const fn new(inner: F, span: Option<LayerSpan>) -> Self {
        Self { inner, span }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<TracedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // Declared before the active span, so that it is dropped after it.
        let guard = LayerSpanGuard(this.span);
        let active = guard.enter();
        let result = ready!(this.inner.poll(cx));
        drop(active);
        let span = guard.0.take();
        Poll::Ready(match result {
            Ok(response) => Ok(TracedBody::wrap(response, span)),
            Err(error) => {
                if let Some(span) = span {
                    span.fail(std::any::type_name::<E>(), "");
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
    fn wrap(response: Response<B>, span: Option<LayerSpan>) -> Response<Self> {
        let mut remaining_bytes = None;
        let span = span.and_then(|span| match span {
            LayerSpan::Server(mut span) => {
                span.record_response(&response);
                remaining_bytes = announced_bytes(&response);
                // A server does not poll an empty body, so the span ends here.
                if response.body().is_end_stream() || remaining_bytes == Some(0) {
                    span.complete();
                    return None;
                }
                Some(LayerSpan::Server(span))
            }
            LayerSpan::Client(call) => call.answer(&response).map(LayerSpan::Client),
        });
        response.map(|inner| Self {
            inner,
            span,
            remaining_bytes,
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
        let mut guard = LayerSpanGuard(this.span);
        let active = guard.enter();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        drop(active);
        match &frame {
            None => guard.complete(),
            Some(Err(_)) => {
                if let Some(span) = guard.0.take() {
                    span.fail(std::any::type_name::<B::Error>(), "the body failed");
                }
            }
            Some(Ok(frame)) => {
                let trailers = frame.trailers_ref();
                let is_ended = match (guard.0.as_mut(), trailers) {
                    (Some(span), Some(trailers)) => span.read_trailers(trailers),
                    _ => false,
                };
                // A server that knows the length may stop polling after the last byte.
                let sent = frame.data_ref().map_or(0, data_bytes);
                *this.remaining_bytes =
                    this.remaining_bytes.map(|bytes| bytes.saturating_sub(sent));
                if is_ended || *this.remaining_bytes == Some(0) || this.inner.is_end_stream() {
                    guard.complete();
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

/// Returns the length of a body, where it is known. A malformed header is treated as unknown: the
/// end of the body ends the span then.
fn announced_bytes<B: Body>(response: &Response<B>) -> Option<u64> {
    let length = response.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    length.or_else(|| response.body().size_hint().exact())
}

fn data_bytes(data: &impl bytes::Buf) -> u64 {
    u64::try_from(data.remaining()).unwrap_or(u64::MAX)
}
