//! A connection with timeouts: a read or write that makes no progress for too long is an error.
//!
//! hyper has a timeout for the headers of an HTTP/1.1 request, and none for a client that stops
//! reading a response or that opens an HTTP/2 connection and stays silent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::connection_table::TrackedConnection;

/// A connection whose pending operations time out.
#[derive(Debug)]
pub(crate) struct TimeoutIo<S> {
    stream: S,
    read: Option<PendingTimeout>,
    write: PendingTimeout,
    /// Informed of the bytes that are read.
    tracked: Option<Arc<TrackedConnection>>,
}

/// The time that an operation may be pending.
#[derive(Debug)]
struct PendingTimeout {
    timeout: Duration,
    is_pending: bool,
    sleep: Pin<Box<Sleep>>,
}

impl<S> TimeoutIo<S> {
    /// Wraps a connection. Without a read timeout, reads may be pending for ever.
    pub(crate) fn new(stream: S, read_timeout: Option<Duration>, write_timeout: Duration) -> Self {
        Self {
            stream,
            read: read_timeout.map(PendingTimeout::new),
            write: PendingTimeout::new(write_timeout),
            tracked: None,
        }
    }

    /// Returns the connection with its reads noted in a connection table.
    pub(crate) fn tracked_by(mut self, tracked: Arc<TrackedConnection>) -> Self {
        self.tracked = Some(tracked);
        self
    }
}

impl PendingTimeout {
    fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            is_pending: false,
            sleep: Box::pin(tokio::time::sleep(timeout)),
        }
    }

    /// Returns the result of an operation, or an error once it has been pending for too long.
    fn check<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.is_pending = false;
            return result;
        }
        // The timer starts when an operation becomes pending, and is not touched before: resetting
        // it for every operation would cost more than the operation.
        if !self.is_pending {
            self.is_pending = true;
            self.sleep.as_mut().reset(Instant::now() + self.timeout);
        }
        ready!(self.sleep.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimeoutIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(tracked) = &self.tracked {
            tracked.count_read(buffer.filled().len().saturating_sub(filled));
        }
        match &mut self.read {
            Some(timeout) => timeout.check(result, context),
            None => result,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimeoutIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.write.check(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.write.check(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.write.check(result, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.write.check(result, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn writing_to_a_peer_that_reads_nothing_times_out() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut ours = TimeoutIo::new(ours, None, Duration::from_secs(30));
        let error = ours.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn writing_to_a_slow_peer_succeeds() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut ours = TimeoutIo::new(ours, None, Duration::from_secs(30));
        let reader = tokio::spawn(async move {
            let mut chunk = [0; 16];
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(20)).await;
                theirs.read_exact(&mut chunk).await.unwrap();
            }
        });
        ours.write_all(&[0; 64]).await.unwrap();
        reader.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn reading_from_a_silent_peer_times_out() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut ours = TimeoutIo::new(ours, Some(Duration::from_secs(30)), Duration::from_secs(30));
        let error = ours.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
