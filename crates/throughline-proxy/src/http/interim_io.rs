//! Bytes that the proxy writes on a downstream HTTP/1 connection beside hyper: interim responses,
//! and the reason of a request that hyper refuses.
//!
//! hyper's server writes one response for a request. Interim responses (RFC 9110, section 15.2) are
//! queued here and written before it. Its own `100 Continue`, which it writes as soon as the body
//! is read, is left out: the one of the upstream passes instead, when it comes and if it does.
//!
//! hyper does not read while a request is in flight. The stream does so in its place, and notices
//! that the client has closed its side, or is gone.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::ProxyError;
use super::idle_tracker::IdleTracker;

/// The interim response that hyper writes by itself.
const HYPER_CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The beginning of the response with which hyper refuses a request.
const HYPER_REFUSAL: &[u8] = b"HTTP/1.1 4";

/// Bytes of interim responses that wait for a client that does not read. More of them are dropped:
/// they are hints.
const MAX_QUEUED_BYTES: usize = 64 << 10;

/// Bytes that are read while a request is in flight: the beginning of the next one.
const READ_AHEAD_BYTES: usize = 1 << 10;

/// The interim responses of one downstream connection.
#[derive(Debug, Default)]
pub(super) struct InterimResponses(Mutex<InterimState>);

#[derive(Debug, Default)]
struct InterimState {
    queued: BytesMut,
    /// Whether a request has been parsed whose response is not written completely.
    owes_response: bool,
    /// Whether the connection may become a tunnel, whose bytes are its own.
    may_upgrade: bool,
    /// Whether the end of the client's side is looked for. hyper does so while it reads the body.
    is_watched: bool,
    /// Whether the next bytes may be hyper's own 100.
    awaits_continue: bool,
    /// Why hyper has refused a request.
    refusal: Option<ProxyError>,
    /// The task of the connection.
    waker: Option<Waker>,
}

/// The stream of a downstream HTTP/1 connection.
pub(super) struct InterimIo<S> {
    stream: S,
    interim: Arc<InterimResponses>,
    tracker: IdleTracker,
    /// Bytes that were read ahead.
    ahead: Bytes,
    is_eof: bool,
}

// === impl InterimResponses ===

impl InterimResponses {
    /// Records that hyper has parsed a request, and whether it may turn the connection into a
    /// tunnel.
    pub(super) fn begin_request(&self, expects_continue: bool, may_upgrade: bool) {
        let mut state = self.lock();
        state.owes_response = true;
        state.may_upgrade = may_upgrade;
        state.is_watched = false;
        state.awaits_continue = expects_continue;
    }

    /// Looks for the end of the client's side from here on: the request has no body. To be called
    /// in the task of the connection, which flushes after it and is not woken: it would be polled
    /// once more for every request.
    pub(super) fn watch_at_start(&self) {
        let mut state = self.lock();
        state.is_watched = !state.may_upgrade;
    }

    /// Looks for the end of the client's side from here on: the request is complete.
    pub(super) fn watch(&self) {
        let mut state = self.lock();
        state.is_watched = !state.may_upgrade;
        // In HTTP/2 the body is read in the task of the upstream connection.
        state.waker.take().into_iter().for_each(Waker::wake);
    }

    /// Queues an interim response of the upstream.
    pub(super) fn send(&self, status: StatusCode, headers: &HeaderMap) {
        let mut state = self.lock();
        let reason = status.canonical_reason().unwrap_or_default();
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
        for (name, value) in headers {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        if state.queued.len() + head.len() <= MAX_QUEUED_BYTES {
            state.queued.extend_from_slice(&head);
        }
        // In HTTP/2 the callback runs in the task of the upstream connection.
        state.waker.take().into_iter().for_each(Waker::wake);
    }

    /// Takes the error with which a request was refused before it reached the proxy.
    pub(super) fn take_refusal(&self) -> Option<ProxyError> {
        self.lock().refusal.take()
    }

    fn lock(&self) -> MutexGuard<'_, InterimState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl InterimState ===

impl InterimState {
    /// Returns how many of the bytes that hyper writes are replaced: its 100, or its refusal.
    fn replace(&mut self, bytes: &[u8]) -> usize {
        if std::mem::take(&mut self.awaits_continue) && bytes.starts_with(HYPER_CONTINUE) {
            return HYPER_CONTINUE.len();
        }
        if self.owes_response || !bytes.starts_with(HYPER_REFUSAL) {
            return 0;
        }
        let error = match bytes.get(HYPER_REFUSAL.len()..HYPER_REFUSAL.len() + 2) {
            Some(b"31") => ProxyError::HeadTooLarge,
            Some(b"14") => ProxyError::TargetTooLong,
            _ => ProxyError::MalformedRequest,
        };
        self.refusal = Some(error);
        self.queued.extend_from_slice(&error.http1_response());
        bytes.len()
    }
}

// === impl InterimIo ===

impl<S> InterimIo<S> {
    pub(super) const fn new(
        stream: S,
        interim: Arc<InterimResponses>,
        tracker: IdleTracker,
    ) -> Self {
        Self {
            stream,
            interim,
            tracker,
            ahead: Bytes::new(),
            is_eof: false,
        }
    }
}

impl<S: AsyncRead + Unpin> InterimIo<S> {
    /// Reads what a client sends while its request is in flight. A failed connection cancels the
    /// request; the end of the client's side does not, and becomes the end of the upstream one's.
    fn watch(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.is_eof || !self.ahead.is_empty() {
            return Ok(());
        }
        let mut bytes = [MaybeUninit::uninit(); READ_AHEAD_BYTES];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            read?;
            self.ahead = Bytes::copy_from_slice(buffer.filled());
            self.is_eof = self.ahead.is_empty();
            if self.is_eof {
                self.tracker.close_client();
            }
            // hyper may wait for these bytes, and the system does not announce them again.
            context.waker().wake_by_ref();
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for InterimIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let count = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(this.ahead.get(..count).unwrap_or_default());
            this.ahead.advance(count);
            this.tracker.record_read();
            return Poll::Ready(Ok(()));
        }
        if this.is_eof {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for InterimIo<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut state = this.interim.lock();
        let replaced = state.replace(bytes);
        if replaced > 0 {
            return Poll::Ready(Ok(replaced));
        }
        ready!(poll_queued(&mut this.stream, &mut state, context))?;
        drop(state);
        Pin::new(&mut this.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // A head is never split between slices.
        let first = slices.iter().find(|slice| !slice.is_empty());
        let mut state = this.interim.lock();
        let replaced = first.map_or(0, |first| state.replace(first));
        if replaced > 0 {
            return Poll::Ready(Ok(replaced));
        }
        ready!(poll_queued(&mut this.stream, &mut state, context))?;
        drop(state);
        Pin::new(&mut this.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes whenever its connection is polled, and has nothing left to write then.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let is_watched = {
            let mut state = this.interim.lock();
            ready!(poll_queued(&mut this.stream, &mut state, context))?;
            state.owes_response &= !this.tracker.is_idle();
            if state.owes_response {
                match &mut state.waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    waker @ None => *waker = Some(context.waker().clone()),
                }
            }
            state.owes_response && state.is_watched
        };
        if is_watched {
            this.watch(context)?;
        }
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(poll_queued(
            &mut this.stream,
            &mut this.interim.lock(),
            context
        ))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

/// Writes the queued bytes.
fn poll_queued<S: AsyncWrite + Unpin>(
    stream: &mut S,
    state: &mut InterimState,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !state.queued.is_empty() {
        let written = ready!(Pin::new(&mut *stream).poll_write(context, &state.queued))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        state.queued.advance(written);
    }
    Poll::Ready(Ok(()))
}
