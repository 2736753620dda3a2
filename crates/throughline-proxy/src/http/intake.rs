//! What comes in on a connection: read ahead as far as it takes to know the protocol, and watched for life.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::listener::protocol::PREFACE;

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

/// What a connection speaks, as far as its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    Http2,
    Other,
}

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

// === impl Spoken ===

impl Spoken {
    /// What these first bytes are of; nothing while they could be of several.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        if PREFACE.starts_with(bytes) || bytes.starts_with(PREFACE) {
            return (bytes.len() >= PREFACE.len()).then_some(Self::Http2);
        }
        // A method is a token (RFC 9110, section 9.1), and those that are registered are in capitals. What looks like one is taken
        // for one once its target begins as a target does.
        let method = bytes
            .iter()
            .take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-')
            .count();
        match bytes.get(method..) {
            Some([]) if method <= METHOD_MAX => None,
            Some([b' ']) if method > 0 => None,
            Some([b' ', target, ..])
                if method > 0 && method <= METHOD_MAX && is_target(*target) =>
            {
                Some(Self::Http1)
            }
            _ => Some(Self::Other),
        }
    }
}

/// Reads as far as it takes to know what is spoken. Nothing at all came where the other end has nothing to say.
pub(super) async fn look<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<(Spoken, Bytes)> {
    let mut ahead = BytesMut::with_capacity(ROOM);
    loop {
        let count = stream.read_buf(&mut ahead).await?;
        match Spoken::of(&ahead) {
            Some(spoken) => return Ok((spoken, ahead.freeze())),
            None if count == 0 => return Ok((Spoken::Other, ahead.freeze())),
            None => {}
        }
    }
}

/// Origin form, absolute form, `*`, and a host for CONNECT.
const fn is_target(byte: u8) -> bool {
    matches!(byte, b'/' | b'*' | b'[') || byte.is_ascii_alphanumeric()
}

/// The longest method that is registered has 17 letters.
const METHOD_MAX: usize = 24;
const ROOM: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_is_spoken() {
        for (bytes, spoken) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(Spoken::Http1)),
            (b"POST http://a/", Some(Spoken::Http1)),
            (b"VERSION-CONTROL /", Some(Spoken::Http1)),
            (b"CONNECT a:1", Some(Spoken::Http1)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Some(Spoken::Http2)),
            (b"", None),
            (b"GE", None),
            (b"GET ", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", None),
            (b"\x16\x03\x01", Some(Spoken::Other)),
            (b"\0\0\0\x2a", Some(Spoken::Other)),
            (b"SSH-2.0-x", Some(Spoken::Other)),
            (b"*1\r\n$4\r\nPING\r\n", Some(Spoken::Other)),
            (b" GET", Some(Spoken::Other)),
            (b"GET \x01", Some(Spoken::Other)),
            (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Some(Spoken::Other)),
        ] {
            assert_eq!(Spoken::of(bytes), spoken, "{}", bytes.escape_ascii());
        }
    }

    #[tokio::test]
    async fn what_was_read_ahead_is_read_again() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut theirs, b"GET / HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        drop(theirs);
        let mut ours = ours;
        let (spoken, ahead) = look(&mut ours).await.unwrap();
        assert_eq!(spoken, Spoken::Http1);
        let (activity, mut text) = (Activity::new(), String::new());
        Intake::new(ahead, ours, activity.clone())
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
