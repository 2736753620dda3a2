//! The bytes of an upstream connection in HTTP/2: when something last arrived, and PINGs of the
//! proxy's own.
//!
//! The HTTP/2 library can send PINGs only at a fixed interval, which is either too long to notice a
//! dead connection in time, or too short for servers that count PINGs ([`super::http2_liveness`]).
//! They are therefore written here, between two frames, and their answers are taken out again.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::http2_frames::{DATA, FrameTracker, HEADERS, OWN_PING, OWN_PONG, PING_BYTES};
use super::http2_liveness::ConnectionActivity;
use crate::transport::own_connections::OwnConnectionGuard;
use crate::transport::stream::MaybeTlsStream;

/// An upstream connection in HTTP/2.
#[derive(Debug)]
pub(super) struct Http2Io {
    stream: MaybeTlsStream,
    /// Registers the connection as the proxy's own while it is open.
    _own_guard: OwnConnectionGuard,
    activity: Arc<Http2Activity>,
    read: FrameTracker,
    written: FrameTracker,
    /// Bytes of a PING that are still to be written.
    ping_bytes: usize,
}

/// The activity of a connection, shared by its bytes, its task and its requests.
#[derive(Debug)]
pub(super) struct Http2Activity {
    start: Instant,
    in_flight: AtomicUsize,
    last_read_us: AtomicU64,
    waiting_since_us: AtomicU64,
    responses: AtomicU64,
    is_ping_wanted: AtomicBool,
    /// Whether the connection has been given up.
    is_closed: AtomicBool,
    /// Wakes the task that reads the connection.
    reader: Mutex<Option<Waker>>,
    /// Notified when bytes arrive.
    pub(super) has_read: Notify,
    /// Notified when a request begins while none is in flight.
    pub(super) is_busy: Notify,
}

// === impl Http2Activity ===

impl Http2Activity {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            in_flight: AtomicUsize::new(0),
            last_read_us: AtomicU64::new(0),
            waiting_since_us: AtomicU64::new(0),
            responses: AtomicU64::new(0),
            is_ping_wanted: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            reader: Mutex::default(),
            has_read: Notify::new(),
            is_busy: Notify::new(),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    pub(super) fn begin_request(&self) {
        // Requests that are given up unanswered do not end the silence.
        let waiting_since = self.waiting_since_us.load(Ordering::Acquire);
        if waiting_since <= self.last_read_us.load(Ordering::Acquire) {
            self.waiting_since_us
                .store(self.elapsed_us(), Ordering::Release);
        }
        if self.in_flight.fetch_add(1, Ordering::AcqRel) == 0 {
            self.is_busy.notify_one();
        }
    }

    pub(super) fn end_request(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn snapshot(&self) -> ConnectionActivity {
        let time = |time: &AtomicU64| Duration::from_micros(time.load(Ordering::Acquire));
        ConnectionActivity {
            last_read: time(&self.last_read_us),
            waiting_since: time(&self.waiting_since_us),
            responses: self.responses.load(Ordering::Acquire),
            in_flight: self.in_flight(),
            now: self.start.elapsed(),
        }
    }

    /// Whether anything has arrived.
    pub(super) fn has_answered(&self) -> bool {
        self.last_read_us.load(Ordering::Acquire) > 0
    }

    /// Sends a PING as soon as no frame is in the middle.
    pub(super) fn ping(&self) {
        self.is_ping_wanted.store(true, Ordering::Release);
        self.wake_reader();
    }

    /// Ends the connection: its requests fail.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.wake_reader();
    }

    fn wake_reader(&self) {
        let reader = self.lock_reader().take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn set_reader(&self, waker: &Waker) {
        let mut reader = self.lock_reader();
        if !reader.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *reader = Some(waker.clone());
        }
    }

    fn lock_reader(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record_read(&self) {
        let now = self.elapsed_us();
        let is_first = self.last_read_us.swap(now, Ordering::AcqRel) == 0;
        if is_first {
            self.has_read.notify_one();
        }
    }

    fn elapsed_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros())
            .unwrap_or(u64::MAX)
            .max(1)
    }
}

// === impl Http2Io ===

impl Http2Io {
    pub(super) fn new(
        stream: MaybeTlsStream,
        own_guard: OwnConnectionGuard,
    ) -> (Self, Arc<Http2Activity>) {
        let activity = Arc::new(Http2Activity::new());
        let io = Self {
            stream,
            _own_guard: own_guard,
            activity: Arc::clone(&activity),
            read: FrameTracker::default(),
            written: FrameTracker::of_client(),
            ping_bytes: 0,
        };
        (io, activity)
    }

    /// Writes a PING that is wanted, or the rest of one.
    fn poll_ping(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ping_bytes == 0
            && self.written.is_at_border()
            && self.activity.is_ping_wanted.swap(false, Ordering::AcqRel)
        {
            self.ping_bytes = PING_BYTES;
        }
        while self.ping_bytes > 0 {
            let rest = OWN_PING
                .get(PING_BYTES - self.ping_bytes..)
                .unwrap_or_default();
            match Pin::new(&mut self.stream).poll_write(context, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.ping_bytes = self.ping_bytes.saturating_sub(count);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Records what was read, and returns how much of it is for the HTTP/2 library: the answer to a
    /// PING of the proxy at the end is not. One that arrives in pieces, or before other frames,
    /// reaches the library, which ignores it.
    fn record_read(&mut self, read: &[u8]) -> usize {
        self.activity.record_read();
        let (frames, last) = read.split_at(read.len().saturating_sub(PING_BYTES));
        self.record_frames(frames);
        // The same bytes may be the end of a body: a frame has to begin with them.
        if last == OWN_PONG && self.read.is_at_border() {
            return frames.len();
        }
        self.record_frames(last);
        read.len()
    }

    fn record_frames(&mut self, bytes: &[u8]) {
        let mut responses = 0;
        self.read.advance(bytes, |kind| {
            responses += u64::from(matches!(kind, HEADERS | DATA));
        });
        self.activity
            .responses
            .fetch_add(responses, Ordering::AcqRel);
    }
}

impl AsyncRead for Http2Io {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.activity.set_reader(context.waker());
        if this.activity.is_closed.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        // A write that is not ready wakes this task, which reads and writes.
        if let Poll::Ready(Err(error)) = this.poll_ping(context) {
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        loop {
            let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
            let read = buffer.filled().get(before..).unwrap_or_default();
            if read.is_empty() {
                return polled;
            }
            let count = this.record_read(read);
            buffer.set_filled(before + count);
            // No bytes would mean the end of the connection.
            if count > 0 {
                return polled;
            }
        }
    }
}

impl AsyncWrite for Http2Io {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_ping(context))?;
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = polled {
            let written = bytes.get(..count).unwrap_or_default();
            this.written.advance(written, |_| ());
        }
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_ping(context))?;
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(mut count)) = polled {
            for slice in slices {
                let written = slice.get(..count.min(slice.len())).unwrap_or_default();
                this.written.advance(written, |_| ());
                count -= written.len();
            }
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
