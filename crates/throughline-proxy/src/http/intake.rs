//! What comes in on a connection: read ahead as far as it takes to know the protocol, and watched for life.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// A stream of which the first bytes have been read already.
#[derive(Debug)]
pub(super) struct Intake<S> {
    ahead: Bytes,
    stream: S,
    activity: Activity,
}

/// What a connection is doing.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Seen>);

#[derive(Debug)]
struct Seen {
    start: Instant,
    requests: AtomicUsize,
    /// Milliseconds after `start` at which the last request was over.
    rested: AtomicU64,
    /// Milliseconds after `start`, and one, at which the head of a request began that is not complete; 0 without.
    head: AtomicU64,
}

/// A request under way; not any longer when dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Activity);

// === impl Intake ===

impl<S> Intake<S> {
    pub(super) const fn new(ahead: Bytes, stream: S, activity: Activity) -> Self {
        Self {
            ahead,
            stream,
            activity,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Intake<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let intake = self.get_mut();
        if !intake.ahead.is_empty() {
            let count = intake.ahead.len().min(buffer.remaining());
            buffer.put_slice(intake.ahead.get(..count).unwrap_or_default());
            intake.ahead.advance(count);
            if intake.ahead.is_empty() {
                // Its memory is given back: the connection may be idle for long.
                intake.ahead = Bytes::new();
            }
            intake.activity.read();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut intake.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            intake.activity.read();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Intake<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
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

// === impl Activity ===

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(Seen {
            start: Instant::now(),
            requests: AtomicUsize::new(0),
            rested: AtomicU64::new(0),
            head: AtomicU64::new(0),
        }))
    }

    /// A request's head is complete.
    pub(super) fn begin(&self) -> UnderWay {
        self.0.requests.fetch_add(1, Ordering::AcqRel);
        self.0.head.store(0, Ordering::Release);
        UnderWay(self.clone())
    }

    /// How long the head of a request has been coming.
    pub(super) fn head_age(&self) -> Option<Duration> {
        match self.0.head.load(Ordering::Acquire) {
            0 => None,
            begun => Some(Duration::from_millis(self.now().saturating_sub(begun - 1))),
        }
    }

    /// How long there has been no request.
    pub(super) fn idle(&self) -> Option<Duration> {
        let is_idle = self.0.requests.load(Ordering::Acquire) == 0;
        let rested = self.0.rested.load(Ordering::Acquire);
        is_idle.then(|| Duration::from_millis(self.now().saturating_sub(rested)))
    }

    /// Bytes have come. Without a request under way they are of the next one's head.
    fn read(&self) {
        if self.0.requests.load(Ordering::Acquire) == 0 && self.0.head.load(Ordering::Acquire) == 0
        {
            self.0.head.store(self.now() + 1, Ordering::Release);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

// === impl UnderWay ===

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Self(activity) = self;
        activity.0.rested.store(activity.now(), Ordering::Release);
        activity.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn what_was_read_ahead_is_read_again() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut theirs, b"GET / HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        drop(theirs);
        let mut ours = ours;
        let mut ahead = BytesMut::new();
        ours.read_buf(&mut ahead).await.unwrap();
        let (activity, mut text) = (Activity::new(), String::new());
        Intake::new(ahead.freeze(), ours, activity.clone())
            .read_to_string(&mut text)
            .await
            .unwrap();
        assert_eq!(text, "GET / HTTP/1.1\r\n\r\n");
        assert!(activity.head_age().is_some(), "a head is coming");
        let under_way = activity.begin();
        assert!(activity.head_age().is_none() && activity.idle().is_none());
        drop(under_way);
        assert!(activity.idle().is_some());
    }
}
