//! A connection that loses patience: reading or writing that makes no progress for too long is an error.
//!
//! hyper has deadlines for the head of an HTTP/1.1 request, and none for a client that stops reading our answer, nor for one that
//! opens an HTTP/2 connection and says nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A connection with deadlines on its silence.
#[derive(Debug)]
pub(crate) struct Patient<S> {
    stream: S,
    read: Option<Watch>,
    write: Watch,
}

/// How long an operation may be pending, and since when it is.
#[derive(Debug)]
struct Watch {
    limit: Duration,
    waiting: bool,
    alarm: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    /// Reads may be pending for `read`, or for ever; writes for `write`.
    pub(crate) fn new(stream: S, read: Option<Duration>, write: Duration) -> Self {
        Self {
            stream,
            read: read.map(Watch::new),
            write: Watch::new(write),
        }
    }
}

impl Watch {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            waiting: false,
            alarm: Box::pin(tokio::time::sleep(limit)),
        }
    }

    /// Passes on the result of an operation, unless it has been pending for too long.
    fn over<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.waiting = false;
            return result;
        }
        if !self.waiting {
            self.waiting = true;
            self.alarm.as_mut().reset(Instant::now() + self.limit);
        }
        ready!(self.alarm.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        match &mut self.read {
            Some(watch) => watch.over(result, context),
            None => result,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.write.over(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.write.over(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.write.over(result, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.write.over(result, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_an_error_and_not_a_wait_for_ever() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut ours = Patient::new(ours, None, Duration::from_secs(30));
        let error = ours.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_a_little_now_and_then_is_served() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut ours = Patient::new(ours, None, Duration::from_secs(30));
        let reader = tokio::spawn(async move {
            let mut taken = [0; 16];
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(20)).await;
                theirs.read_exact(&mut taken).await.unwrap();
            }
        });
        ours.write_all(&[0; 64]).await.unwrap();
        reader.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_an_error_where_it_is_watched() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut ours = Patient::new(ours, Some(Duration::from_secs(30)), Duration::from_secs(30));
        let error = ours.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
