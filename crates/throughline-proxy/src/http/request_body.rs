//! Request bodies on their way upstream: counted, timed, and buffered only where a short one may
//! hold a correlation key.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use prometheus_client::metrics::counter::Counter;
use tokio::time::{Sleep, sleep};

use super::error::ProxyError;
use super::interim_io::InterimResponses;

// States of a body; the initial one is 0.
const COMPLETE: u8 = 1;
const BROKEN: u8 = 2;
const TIMED_OUT: u8 = 3;

/// The body of a request on its way upstream.
pub(super) struct RequestBody {
    body: Incoming,
    /// Frames that were read ahead.
    buffered: VecDeque<Frame<Bytes>>,
    /// Error after the buffered frames.
    error: Option<RequestBodyError>,
    progress: BodyProgress,
    /// The downstream connection, which is watched once the body is complete.
    downstream: Option<Arc<InterimResponses>>,
    /// [`None`] for a request without a body.
    bytes: Option<Counter>,
    /// Maximum time without progress.
    idle_timeout: Option<Duration>,
    idle_timer: Option<Pin<Box<Sleep>>>,
}

/// The state of a request body, shared with the response; [`None`] for a request without a body.
#[derive(Debug, Clone)]
pub(super) struct BodyProgress(Option<Arc<AtomicU8>>);

/// An error that ends a request body early.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestBodyError {
    #[error(transparent)]
    Read(#[from] hyper::Error),
    #[error("no progress for {0:?}")]
    IdleTimeout(Duration),
    #[error("the request is sent again on another connection")]
    Superseded,
}

// === impl RequestBody ===

impl RequestBody {
    pub(super) fn new(body: Incoming, bytes: &Counter, idle_timeout: Option<Duration>) -> Self {
        // A request without a body is never polled, and must not block reuse of its connection.
        let has_body = !body.is_end_stream();
        let progress = BodyProgress(has_body.then(Arc::default));
        let bytes = has_body.then(|| bytes.clone());
        Self {
            body,
            buffered: VecDeque::new(),
            error: None,
            progress,
            downstream: None,
            bytes,
            idle_timeout,
            idle_timer: None,
        }
    }

    /// Watches the downstream connection from the end of the body on.
    pub(super) fn watching(mut self, downstream: &Arc<InterimResponses>) -> Self {
        if self.progress.is_complete() {
            downstream.watch_at_start();
        }
        self.downstream = Some(Arc::clone(downstream));
        self
    }

    pub(super) fn progress(&self) -> BodyProgress {
        self.progress.clone()
    }

    /// Reads the whole body ahead and returns it; [`None`] if it ends early. Either way, the frames
    /// that arrived are forwarded.
    pub(super) async fn buffer(&mut self) -> Option<Bytes> {
        // Bounded by the caller: only bodies of a known, short length are buffered.
        let mut whole = BytesMut::new();
        loop {
            match poll_fn(|context| self.poll_incoming(context)).await {
                None => return Some(whole.freeze()),
                Some(Ok(frame)) => {
                    frame
                        .data_ref()
                        .into_iter()
                        .for_each(|data| whole.extend_from_slice(data));
                    self.buffered.push_back(frame);
                }
                Some(Err(error)) => {
                    // The upstream gets the frames that arrived, and then the error.
                    self.error = Some(error);
                    return None;
                }
            }
        }
    }

    /// Whether the body has a length of 0, and its end has not come: in HTTP/2 that is a frame.
    pub(super) fn may_contradict_length(&self) -> bool {
        !self.is_end_stream() && self.size_hint().exact() == Some(0)
    }

    /// Waits for the end of a body that has a length of 0; `false` if something else comes.
    pub(super) async fn ends_without_data(&mut self) -> bool {
        let is_empty = self.buffer().await.is_some_and(|whole| whole.is_empty());
        if is_empty {
            self.record_frame(None);
        }
        is_empty
    }

    /// Polls the next frame from downstream, and the idle timer while there is none.
    fn poll_incoming(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // Progress restarts the timeout. Most bodies never wait and need no timer.
        if polled.is_ready() {
            self.idle_timer = None;
        }
        match polled {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => {
                self.progress.set(BROKEN);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => self.poll_idle_timer(context).map(|idle_timeout| {
                self.progress.set(TIMED_OUT);
                Some(Err(RequestBodyError::IdleTimeout(idle_timeout)))
            }),
        }
    }

    fn poll_idle_timer(&mut self, context: &mut Context<'_>) -> Poll<Duration> {
        let Some(idle_timeout) = self.idle_timeout else {
            return Poll::Pending;
        };
        let timer = self
            .idle_timer
            .get_or_insert_with(|| Box::pin(sleep(idle_timeout)));
        timer.as_mut().poll(context).map(|()| idle_timeout)
    }

    /// Counts a frame that is forwarded; [`None`] is the end.
    fn record_frame(&self, frame: Option<&Frame<Bytes>>) {
        if let (Some(data), Some(bytes)) = (frame.and_then(Frame::data_ref), &self.bytes) {
            bytes.inc_by(u64::try_from(data.len()).unwrap_or_default());
        }
        // hyper stops polling at the end of a known length: a final `None` is not certain.
        if frame.is_none_or(Frame::is_trailers) || self.is_end_stream() {
            self.progress.set(COMPLETE);
            if let Some(downstream) = &self.downstream {
                downstream.watch();
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let next = match (this.buffered.pop_front(), this.error.take()) {
            (Some(frame), error) => {
                this.error = error;
                Poll::Ready(Some(Ok(frame)))
            }
            (None, Some(error)) => Poll::Ready(Some(Err(error))),
            (None, None) => this.poll_incoming(context),
        };
        match &next {
            Poll::Ready(Some(Ok(frame))) => this.record_frame(Some(frame)),
            Poll::Ready(None) => this.record_frame(None),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.buffered.is_empty() && self.error.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // hyper writes an exact hint as Content-Length, so the buffered frames have to count.
        let buffered = self
            .buffered
            .iter()
            .filter_map(Frame::data_ref)
            .map(|data| u64::try_from(data.len()).unwrap_or_default());
        let (buffered, rest) = (buffered.sum::<u64>(), self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(buffered));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(buffered));
        }
        hint
    }
}

// === impl BodyProgress ===

impl BodyProgress {
    fn set(&self, state: u8) {
        // The response side reads the state in another task.
        if let Some(progress) = &self.0 {
            progress.store(state, Ordering::Release);
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.state() == COMPLETE
    }

    fn state(&self) -> u8 {
        let progress = self.0.as_ref();
        progress.map_or(COMPLETE, |progress| progress.load(Ordering::Acquire))
    }

    /// Returns the error of a body that ended early: it is the cause of a failed request then, not
    /// the upstream.
    pub(super) fn error(&self) -> Option<ProxyError> {
        match self.state() {
            BROKEN => Some(ProxyError::IncompleteRequest),
            TIMED_OUT => Some(ProxyError::RequestBodyTimeout),
            _ => None,
        }
    }
}
