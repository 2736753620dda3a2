//! A stream whose first bytes have been read by protocol detection, and whose reads are tracked.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::idle_tracker::IdleTracker;
use crate::transport::stream::{self, MaybeTlsStream};

/// A stream that first yields the bytes that were read ahead.
#[derive(Debug)]
pub(super) struct PrefixedIo<S: ResetOnClose> {
    prefix: Bytes,
    stream: S,
    tracker: IdleTracker,
}

/// A stream whose end can be made a reset.
pub(super) trait ResetOnClose {
    /// Makes the stream close with a reset, where it has such a thing.
    fn reset_on_close(&self) {}
}

impl ResetOnClose for MaybeTlsStream {
    fn reset_on_close(&self) {
        stream::reset_on_close(self.tcp());
    }
}

// === impl PrefixedIo ===

impl<S: ResetOnClose> PrefixedIo<S> {
    pub(super) const fn new(prefix: Bytes, stream: S, tracker: IdleTracker) -> Self {
        Self {
            prefix,
            stream,
            tracker,
        }
    }
}

impl<S: AsyncRead + ResetOnClose + Unpin> AsyncRead for PrefixedIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.prefix.is_empty() {
            let count = this.prefix.len().min(buffer.remaining());
            buffer.put_slice(this.prefix.get(..count).unwrap_or_default());
            this.prefix.advance(count);
            if this.prefix.is_empty() {
                // Frees the memory: the connection may be idle for long.
                this.prefix = Bytes::new();
            }
            this.tracker.record_read();
            return Poll::Ready(Ok(()));
        }
        // A read of 0 bytes is the end of the stream and begins no request head.
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            this.tracker.record_read();
        }
        polled
    }
}

impl<S: AsyncWrite + ResetOnClose + Unpin> AsyncWrite for PrefixedIo<S> {
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

impl<S: ResetOnClose> Drop for PrefixedIo<S> {
    fn drop(&mut self) {
        if self.tracker.is_reset_on_close() {
            self.stream.reset_on_close();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    impl ResetOnClose for tokio::io::DuplexStream {}

    #[tokio::test]
    async fn prefix_is_read_before_the_stream() {
        let (mut own, mut peer) = tokio::io::duplex(64);
        peer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut prefix = BytesMut::zeroed(4);
        own.read_exact(&mut prefix).await.unwrap();
        drop(peer);
        let (tracker, mut text) = (IdleTracker::new(), String::new());
        PrefixedIo::new(prefix.freeze(), own, tracker.clone())
            .read_to_string(&mut text)
            .await
            .unwrap();
        assert_eq!(text, "GET / HTTP/1.1\r\n\r\n");
        assert!(tracker.head_age().is_some(), "a head has begun");
    }
}
