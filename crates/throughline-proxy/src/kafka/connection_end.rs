//! One end of a proxied connection: its stream, its buffers and its counters.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::telemetry::kafka_metrics::SideCounters;
use crate::transport::read_buffer::ReadBuffer;
use crate::transport::write_queue::WriteQueue;

/// The client's or the broker's end.
pub(crate) struct ConnectionEnd<S> {
    stream: S,
    read_buffer: ReadBuffer,
    write_queue: WriteQueue,
    counters: SideCounters,
    is_reading: bool,
    write_state: WriteState,
    /// When the bytes that wait here were read at the other end.
    queued_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteState {
    Open,
    /// The queue is empty, but TLS may hold bytes back.
    Flushing,
    /// No more bytes are queued: the rest is written, then the stream shuts down.
    Closing,
    Closed,
}

// === impl ConnectionEnd ===

impl<S: AsyncRead + AsyncWrite + Unpin> ConnectionEnd<S> {
    pub(crate) fn new(stream: S, counters: SideCounters) -> Self {
        Self {
            stream,
            read_buffer: ReadBuffer::new(),
            write_queue: WriteQueue::default(),
            counters,
            is_reading: true,
            write_state: WriteState::Open,
            queued_since: None,
        }
    }

    pub(crate) const fn queued_bytes(&self) -> usize {
        self.write_queue.len()
    }

    /// Reads once. Ready with no bytes at the end of the stream.
    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        // A stream that has ended would report its end at each poll and keep the driver busy.
        if !self.is_reading {
            return Poll::Pending;
        }
        let read = self.read_buffer.poll_read(&mut self.stream, context);
        if let Poll::Ready(Ok(bytes)) = &read {
            self.counters.received.inc_by(bytes.len() as u64);
        }
        read
    }

    pub(crate) fn queue(&mut self, bytes: Bytes) {
        // Bytes for a closed stream would stay in memory and never be written.
        if self.write_state != WriteState::Closed {
            self.write_queue.push(bytes);
        }
    }

    /// Records when queued bytes were read, unless older bytes are still queued.
    pub(crate) fn mark_queued(&mut self, read_at: Instant) {
        // The latency of a batch of reads is that of its first byte.
        if self.queued_since.is_none() && !self.write_queue.is_empty() {
            self.queued_since = Some(read_at);
        }
    }

    /// Writes as much as the stream takes. Ready with whether anything moved.
    pub(crate) fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut progressed = false;
        while !self.write_queue.is_empty() {
            match self.write_queue.poll_write(&mut self.stream, context)? {
                // The stream has stored the waker and wakes the driver when it takes bytes again.
                Poll::Pending => return Poll::Ready(Ok(progressed)),
                Poll::Ready(written) => self.counters.sent.inc_by(written as u64),
            };
            progressed = true;
        }
        // Only TLS holds bytes back. Plain TCP flushes at once.
        if progressed && self.write_state == WriteState::Open {
            self.write_state = WriteState::Flushing;
        }
        match self.write_state {
            WriteState::Open | WriteState::Closed => {}
            WriteState::Flushing => {
                if Pin::new(&mut self.stream).poll_flush(context)?.is_pending() {
                    return Poll::Ready(Ok(progressed));
                }
                self.write_state = WriteState::Open;
            }
            WriteState::Closing => {
                // A shutdown flushes, too, and sends the close_notify alert with TLS (RFC 8446,
                // section 6.1).
                let shutdown = Pin::new(&mut self.stream).poll_shutdown(context)?;
                if shutdown.is_pending() {
                    return Poll::Ready(Ok(progressed));
                }
                self.write_state = WriteState::Closed;
                progressed = true;
            }
        }
        // All bytes are written here, and the time is that of the oldest.
        if let Some(since) = self.queued_since.take() {
            let latency = since.elapsed().as_secs_f64();
            self.counters.latency.observe(latency);
        }
        Poll::Ready(Ok(progressed))
    }

    pub(crate) const fn stop_reading(&mut self) {
        self.is_reading = false;
    }

    /// Shuts the stream down once all queued bytes are written.
    pub(crate) fn close_after_writes(&mut self) {
        if self.write_state != WriteState::Closed {
            self.write_state = WriteState::Closing;
        }
    }

    /// Gives up a stream that failed: nothing more is read or written.
    pub(crate) fn give_up(&mut self) {
        self.is_reading = false;
        self.write_state = WriteState::Closed;
        // The other end may stay open for a while; these bytes need not.
        self.write_queue.clear();
    }

    pub(crate) const fn is_closed(&self) -> bool {
        !self.is_reading && matches!(self.write_state, WriteState::Closed)
    }
}
