//! Bodies on their way: counted, and watched for their end. Held are only those that are short and may name what they are about.

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
use throughline_intercept::http::ExchangeFailure as Failure;
use tokio::time::{Instant, Sleep, sleep};

use super::intake::UnderWay;
use super::refusal::Refusal;
use super::traced::Traced;
use super::upstream::Lease;

/// The body of a request, on its way to who is asked.
pub(super) struct Sent {
    body: Incoming,
    /// What has come already, and why no more does.
    held: VecDeque<Frame<Bytes>>,
    broken: Option<Broken>,
    progress: Progress,
    bytes: Counter,
    /// How long nothing may come.
    patience: Option<Duration>,
    waiting: Option<Pin<Box<Sleep>>>,
}

/// How far the body of a request has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<AtomicU8>);

/// Why the body of a request ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Body(#[from] hyper::Error),
    #[error("no progress for {0:?}")]
    Idle(Duration),
}

/// The body of an answer, on its way to who asked.
pub(super) enum Reply {
    /// From who was asked.
    Passed(Box<Passed>),
    /// From us.
    Own(Option<Bytes>),
}

pub(super) struct Passed {
    body: Incoming,
    bytes: Counter,
    open: Option<Open>,
}

/// What stays until the answer is over.
pub(super) struct Open {
    pub(super) traced: Traced,
    /// The connection that it comes on, if it can serve again.
    pub(super) lease: Option<Lease>,
    /// How far the request is: a connection on which it is not over cannot serve the next.
    pub(super) progress: Progress,
    pub(super) under_way: UnderWay,
}

// === impl Sent ===

impl Sent {
    pub(super) fn new(body: Incoming, bytes: Counter, patience: Option<Duration>) -> Self {
        let progress = Progress::default();
        if body.is_end_stream() {
            progress.set(OVER);
        }
        Self {
            body,
            held: VecDeque::new(),
            broken: None,
            progress,
            bytes,
            patience,
            waiting: None,
        }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Waits until all of it is there. What has come goes on in any case.
    pub(super) async fn hold(&mut self) -> Option<Bytes> {
        let mut whole = BytesMut::new();
        loop {
            match poll_fn(|context| self.poll_body(context)).await {
                None => return Some(whole.freeze()),
                Some(Ok(frame)) => {
                    frame
                        .data_ref()
                        .into_iter()
                        .for_each(|data| whole.extend_from_slice(data));
                    self.held.push_back(frame);
                }
                Some(Err(error)) => {
                    self.broken = Some(error);
                    return None;
                }
            }
        }
    }

    /// What comes next, or why nothing does.
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.waiting = None;
        }
        match polled {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => {
                self.progress.set(BROKEN);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => self.poll_patience(context).map(|patience| {
                self.progress.set(IDLE);
                Some(Err(Broken::Idle(patience)))
            }),
        }
    }

    fn note(&self, frame: Option<&Frame<Bytes>>) {
        if let Some(data) = frame.and_then(Frame::data_ref) {
            self.bytes
                .inc_by(u64::try_from(data.len()).unwrap_or_default());
        }
        if frame.is_none_or(Frame::is_trailers) || self.is_end_stream() {
            self.progress.set(OVER);
        }
    }

    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<Duration> {
        let Some(patience) = self.patience else {
            return Poll::Pending;
        };
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        waiting.as_mut().poll(context).map(|()| patience)
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let sent = self.get_mut();
        let next = match (sent.held.pop_front(), sent.broken.take()) {
            (Some(frame), broken) => {
                sent.broken = broken;
                Poll::Ready(Some(Ok(frame)))
            }
            (None, Some(broken)) => Poll::Ready(Some(Err(broken))),
            (None, None) => sent.poll_body(context),
        };
        match &next {
            Poll::Ready(Some(Ok(frame))) => sent.note(Some(frame)),
            Poll::Ready(None) => sent.note(None),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.broken.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self
            .held
            .iter()
            .filter_map(Frame::data_ref)
            .map(|data| u64::try_from(data.len()).unwrap_or_default());
        let (held, rest) = (held.sum::<u64>(), self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

// === impl Progress ===

impl Progress {
    fn set(&self, state: u8) {
        self.0.store(state, Ordering::Release);
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire) == OVER
    }

    /// What the body's own end says of a request that came to nothing.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self.0.load(Ordering::Acquire) {
            BROKEN => Some(Refusal::Incomplete),
            IDLE => Some(Refusal::BodyTimeout),
            _ => None,
        }
    }
}

const OVER: u8 = 1;
const BROKEN: u8 = 2;
const IDLE: u8 = 3;

// === impl Reply ===

impl Reply {
    pub(super) fn passed(body: Incoming, bytes: Counter, open: Open) -> Self {
        let mut passed = Passed {
            body,
            bytes,
            open: Some(open),
        };
        // Such a body is never asked for a frame.
        if passed.body.is_end_stream() {
            passed.end();
        }
        Self::Passed(Box::new(passed))
    }
}

impl From<Bytes> for Reply {
    fn from(bytes: Bytes) -> Self {
        Self::Own(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passed(passed) => passed.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Passed(passed) => passed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(
                bytes
                    .as_ref()
                    .map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or_default()),
            ),
            Self::Passed(passed) => passed.body.size_hint(),
        }
    }
}

// === impl Passed ===

impl Passed {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.note(frame),
            Poll::Ready(None) => self.end(),
            Poll::Ready(Some(Err(error))) => self.fail(error),
            Poll::Pending => {}
        }
        polled
    }

    fn note(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.bytes
                .inc_by(u64::try_from(data.len()).unwrap_or_default());
        }
        if let (Some(trailers), Some(open)) = (frame.trailers_ref(), &mut self.open) {
            open.traced.trailers(trailers);
        }
        // Who writes the answer asks for no more after these.
        if frame.is_trailers() || self.body.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        let Some(Open {
            traced,
            lease,
            progress,
            under_way,
        }) = self.open.take()
        else {
            return;
        };
        traced.end();
        if let Some(lease) = lease.filter(|_| progress.is_over()) {
            lease.give_back(Instant::now());
        }
        drop(under_way);
    }

    fn fail(&mut self, error: &hyper::Error) {
        tracing::debug!(%error, "an answer broke off");
        if let Some(Open { traced, .. }) = self.open.take() {
            traced.fail(if error.is_parse() {
                Failure::Protocol
            } else {
                Failure::Reset
            });
        }
    }
}
