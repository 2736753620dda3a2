//! Response bodies on their way downstream: counted, and watched for their end, which ends the span
//! and frees the upstream connection.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use throughline_intercept::http::ExchangeFailure;
use tokio::time::Instant;

use super::idle_tracker::RequestGuard;
use super::pool::UpstreamLease;
use super::request_body::BodyProgress;
use super::span::ExchangeSpan;

/// The body of a response on its way downstream.
pub(super) enum ResponseBody {
    /// A body from upstream.
    Proxied(Box<ProxiedBody>),
    /// A body of the proxy.
    Own(Option<Bytes>),
}

/// A response body from upstream.
pub(super) struct ProxiedBody {
    body: Incoming,
    guard: Option<ResponseGuard>,
    /// An error that is yielded in the next poll.
    error: Option<hyper::Error>,
}

/// Everything that is kept until the end of a response.
pub(super) struct ResponseGuard {
    pub(super) span: ExchangeSpan,
    pub(super) connection: UpstreamLease,
    /// State of the request body: while it is incomplete, the connection cannot be reused.
    pub(super) progress: BodyProgress,
    pub(super) request_guard: RequestGuard,
    /// Whether the client takes the close of its connection for the end of the body.
    pub(super) ends_by_close: bool,
}

// === impl ResponseBody ===

impl ResponseBody {
    pub(super) fn proxied(body: Incoming, guard: ResponseGuard) -> Self {
        let mut proxied = ProxiedBody {
            body,
            guard: Some(guard),
            error: None,
        };
        // hyper does not poll a body that reports its end up front.
        if proxied.body.is_end_stream() {
            proxied.end();
        }
        // Boxed: hyper keeps a body in the state of each connection, and errors need little.
        Self::Proxied(Box::new(proxied))
    }
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        Self::Own(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Proxied(proxied) => proxied.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Proxied(proxied) => proxied.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(
                bytes
                    .as_ref()
                    .map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or_default()),
            ),
            Self::Proxied(proxied) => proxied.body.size_hint(),
        }
    }
}

// === impl ProxiedBody ===

impl ProxiedBody {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { body, guard, error } = self;
        if let Some(error) = error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let mut poll_body = |context: &mut Context<'_>| Pin::new(&mut *body).poll_frame(context);
        let polled = match guard {
            Some(guard) => guard.connection.poll(context, poll_body),
            None => poll_body(context),
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.record_frame(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.fail(&error);
                // hyper drops what it has not written when it gets an error. While the body is
                // pending, it writes what came before: clients get it as they would directly.
                self.error = Some(error);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn record_frame(&mut self, frame: &Frame<Bytes>) {
        if let (Some(data), Some(guard)) = (frame.data_ref(), &self.guard) {
            guard
                .span
                .count_body_bytes(u64::try_from(data.len()).unwrap_or_default());
        }
        if let (Some(trailers), Some(guard)) = (frame.trailers_ref(), &mut self.guard) {
            guard.span.record_trailers(trailers);
        }
        // hyper does not poll again after trailers, or after the end of a known length.
        if frame.is_trailers() || self.body.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        let Some(ResponseGuard {
            span,
            connection,
            progress,
            request_guard,
            ..
        }) = self.guard.take()
        else {
            return;
        };
        span.end();
        // A response may end before its request is sent. The rest of that request would be read as
        // the next one.
        connection.give_back(progress.is_complete(), Instant::now());
        drop(request_guard);
    }

    fn fail(&mut self, error: &hyper::Error) {
        tracing::debug!(%error, "response body failed");
        // The upstream connection is dropped with the guard, which closes it.
        let Some(guard) = self.guard.take() else {
            return;
        };
        let downstream = guard.request_guard.connection();
        if guard.ends_by_close {
            downstream.reset_on_close();
        }
        let is_cancelled = downstream.is_client_closed();
        guard.span.fail(if error.is_parse() {
            ExchangeFailure::Protocol
        } else if is_cancelled {
            ExchangeFailure::Cancelled
        } else {
            ExchangeFailure::Reset
        });
    }
}
