//! The bytes of an upstream connection in HTTP/1: whether a request has left the proxy, and whether
//! anything has been answered.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::idle_tracker::IdleTracker;
use super::request_body::BodyProgress;
use crate::transport::stream::MaybeTlsStream;

/// Size up to which the memory of a head is kept for the next one.
const MAX_SPARE_BYTES: usize = 4 << 10;

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// An upstream connection whose first write of each request is preceded by a look at what has come.
#[derive(Debug)]
pub(super) struct Http1Io {
    stream: MaybeTlsStream,
    progress: Arc<Http1Progress>,
}

/// How far the current request of a connection has got.
#[derive(Debug, Default)]
pub(super) struct Http1Progress {
    /// Whether the connection is checked before the next write.
    checks_write: AtomicBool,
    /// Whether a check found that the server had closed the connection, or had sent bytes that no
    /// request asked for.
    is_stale: AtomicBool,
    has_written: Arc<AtomicBool>,
    has_read: AtomicBool,
    /// The head of a request on a reused connection as it was written, or is to be written again.
    head: Mutex<Vec<u8>>,
    /// Whether the head of the request is one that was written before.
    repeats_head: AtomicBool,
    /// When the connection ended.
    ended_at: OnceLock<Instant>,
    /// The downstream connection of the request, until its response is over.
    downstream: Mutex<Option<RequestSource>>,
    /// Whether the proxy has closed its side, as the client has.
    is_half_closed: AtomicBool,
}

/// Where a request comes from.
#[derive(Debug, Clone)]
pub(super) struct RequestSource {
    pub(super) connection: IdleTracker,
    pub(super) body: BodyProgress,
}

// === impl Http1Progress ===

impl Http1Progress {
    /// Starts a request, perhaps with a head that was written before. A connection that has been
    /// idle is checked before its first write.
    pub(super) fn begin(
        &self,
        is_reused: bool,
        downstream: Option<RequestSource>,
        repeated_head: Option<Vec<u8>>,
    ) {
        let repeats_head = repeated_head.is_some();
        self.repeats_head.store(repeats_head, Ordering::Release);
        let mut head = lock(&self.head);
        match repeated_head {
            Some(repeated) => *head = repeated,
            // Its memory is used again.
            None => head.clear(),
        }
        head.shrink_to(MAX_SPARE_BYTES);
        drop(head);
        *lock(&self.downstream) = downstream;
        self.has_written.store(false, Ordering::Release);
        self.has_read.store(false, Ordering::Release);
        self.checks_write.store(is_reused, Ordering::Release);
    }

    /// Whether the server had ended the connection before a byte of the request was written.
    pub(super) fn is_stale(&self) -> bool {
        self.is_stale.load(Ordering::Acquire)
    }

    /// Whether any byte has arrived since the start of the request.
    pub(super) fn has_read(&self) -> bool {
        self.has_read.load(Ordering::Acquire)
    }

    pub(super) fn record_end(&self) {
        self.ended_at.get_or_init(Instant::now);
    }

    pub(super) fn ended_at(&self) -> Option<Instant> {
        self.ended_at.get().copied()
    }

    /// Ends the request: what its client does from here on is nothing to the connection.
    pub(super) fn end(&self) {
        *lock(&self.downstream) = None;
    }

    /// Whether the connection can carry no further request, because the proxy has closed its side.
    pub(super) fn is_half_closed(&self) -> bool {
        self.is_half_closed.load(Ordering::Acquire)
    }

    /// Whether the client has closed its side behind the request, and the server does not know it.
    fn must_half_close(&self, context: &Context<'_>) -> bool {
        let downstream = lock(&self.downstream);
        !self.is_half_closed()
            && downstream.as_ref().is_some_and(|source| {
                source.connection.poll_client_closed(context).is_ready()
                    // The rest of the request comes first.
                    && source.body.is_complete()
            })
    }

    /// Takes the head of a failed request as it was written: the names of its fields are spelled as
    /// they came. Empty if it was not written on a reused connection.
    pub(super) fn take_head(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.head))
    }

    /// Returns the flag that is set once a byte of the request has been written.
    pub(super) fn written_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.has_written)
    }
}

// === impl Http1Io ===

impl Http1Io {
    pub(super) fn new(stream: MaybeTlsStream) -> (Self, Arc<Http1Progress>) {
        let progress = Arc::new(Http1Progress::default());
        let io = Self {
            stream,
            progress: Arc::clone(&progress),
        };
        (io, progress)
    }

    /// Fails if the server has ended the connection while it was idle. Keeps the head that `bytes`
    /// begin with, which may have to be written on another connection.
    fn check(&self, bytes: &[u8]) -> io::Result<()> {
        let progress = &self.progress;
        if progress.checks_write.load(Ordering::Acquire) {
            progress.checks_write.store(false, Ordering::Release);
            let head = bytes.get(..head_bytes(bytes)).unwrap_or_default();
            lock(&progress.head).extend_from_slice(head);
            if !is_quiet(&self.stream) {
                progress.is_stale.store(true, Ordering::Release);
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }

    /// Writes a head that was written before in the place of the same one with other spellings.
    fn poll_repeated_head(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Option<Poll<io::Result<usize>>> {
        let Self { stream, progress } = self;
        if !progress.repeats_head.load(Ordering::Acquire) {
            return None;
        }
        let mut head = lock(&progress.head);
        let replaced = bytes.get(..head.len()).unwrap_or_default();
        if head.is_empty() || !replaced.eq_ignore_ascii_case(&head) {
            progress.repeats_head.store(false, Ordering::Release);
            return None;
        }
        let polled = Pin::new(stream).poll_write(context, &head);
        if let Poll::Ready(Ok(written)) = &polled {
            head.drain(..*written);
        }
        Some(polled)
    }

    fn record_write(&self, polled: &Poll<io::Result<usize>>) {
        if matches!(polled, Poll::Ready(Ok(1..))) {
            self.progress.has_written.store(true, Ordering::Release);
        }
    }
}

/// Returns the size of the head that bytes begin with; 0 if it is not complete.
fn head_bytes(bytes: &[u8]) -> usize {
    // Nothing follows the head of a request without a body.
    if bytes.ends_with(END_OF_HEAD) {
        return bytes.len();
    }
    let mut places = bytes.windows(END_OF_HEAD.len());
    let end = places.position(|place| place == END_OF_HEAD);
    end.map_or(0, |end| end + END_OF_HEAD.len())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether nothing has arrived on an idle connection. tokio learns of a FIN only when it polls the
/// system for events, so the socket itself is asked.
fn is_quiet(stream: &MaybeTlsStream) -> bool {
    recv(
        stream.tcp(),
        &mut [0; 1],
        RecvFlags::PEEK | RecvFlags::DONTWAIT,
    )
    .is_err_and(|error| error == Errno::AGAIN)
}

impl AsyncRead for Http1Io {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            this.progress.has_read.store(true, Ordering::Release);
        }
        polled
    }
}

impl AsyncWrite for Http1Io {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(bytes)?;
        let polled = match this.poll_repeated_head(context, bytes) {
            Some(polled) => polled,
            None => Pin::new(&mut this.stream).poll_write(context, bytes),
        };
        this.record_write(&polled);
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // A head is never split between slices.
        let first = slices.iter().find(|slice| !slice.is_empty());
        let first = first.map(|slice| &**slice).unwrap_or_default();
        this.check(first)?;
        let polled = match this.poll_repeated_head(context, first) {
            Some(polled) => polled,
            None => Pin::new(&mut this.stream).poll_write_vectored(context, slices),
        };
        this.record_write(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes whenever its connection is polled, and has nothing left to write then.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(context))?;
        // A server learns that its client has closed as it would without the proxy: it may respond
        // nevertheless, or give up. A failure shows in the next read.
        if this.progress.must_half_close(context)
            && Pin::new(&mut this.stream).poll_shutdown(context).is_ready()
        {
            this.progress.is_half_closed.store(true, Ordering::Release);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
