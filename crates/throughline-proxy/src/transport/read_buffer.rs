//! A read buffer that grows with traffic and holds no memory while a connection is silent.
//!
//! Bytes are returned as [`Bytes`] of the buffer itself, which is reused once all of them are
//! dropped. A small read is returned as a copy, so that whoever keeps it keeps no more memory than
//! there are bytes to count.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// A read is small if it fills less than this fraction of the capacity.
const SMALL_READ_FRACTION: usize = 4;

/// Capacity for the small requests that most connections carry most of the time.
const MIN_CAPACITY: usize = 8 << 10;

/// Capacity for bulk reads. A larger one reads no faster, a smaller one costs system calls.
const MAX_CAPACITY: usize = 256 << 10;

/// The read buffer of one stream.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    buffer: BytesMut,
    /// The capacity for the next read.
    capacity: usize,
}

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        Self {
            buffer: BytesMut::new(),
            capacity: MIN_CAPACITY,
        }
    }

    /// Reads once. Ready with no bytes at the end of the stream.
    pub(crate) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Bytes>> {
        // The rest of the last allocation is used up before a new one is made.
        if self.buffer.capacity() < self.capacity / 2 {
            self.buffer.reserve(self.capacity);
        }
        let capacity = self.buffer.capacity();
        let Poll::Ready(read) = poll_read_buf(Pin::new(stream), context, &mut self.buffer) else {
            // There may be thousands of idle connections: none of them holds a buffer.
            self.buffer = BytesMut::new();
            return Poll::Pending;
        };
        let count = read?;
        self.adapt_capacity(count, capacity);
        if count < capacity / SMALL_READ_FRACTION {
            // A slice of the buffer would pin all of its memory for a few bytes.
            let bytes = Bytes::copy_from_slice(&self.buffer);
            self.buffer.clear();
            return Poll::Ready(Ok(bytes));
        }
        Poll::Ready(Ok(self.buffer.split().freeze()))
    }

    /// Doubles the capacity after a read that filled it, and halves it after a small read.
    fn adapt_capacity(&mut self, count: usize, capacity: usize) {
        if count >= capacity {
            self.capacity = (self.capacity * 2).min(MAX_CAPACITY);
        } else if count < self.capacity / SMALL_READ_FRACTION {
            self.capacity = (self.capacity / 2).max(MIN_CAPACITY);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn capacity_grows_with_bulk_reads_and_shrinks_with_small_ones() {
        let (mut ours, mut theirs) = tokio::io::duplex(2 * MAX_CAPACITY);
        let mut read_buffer = ReadBuffer::new();
        for _ in 0..12 {
            theirs.write_all(&vec![7; MAX_CAPACITY]).await.unwrap();
            let mut left = MAX_CAPACITY;
            while left > 0 {
                left -= poll_fn(|context| read_buffer.poll_read(&mut ours, context))
                    .await
                    .unwrap()
                    .len();
            }
        }
        assert!(
            read_buffer.capacity >= MAX_CAPACITY / 2,
            "{}",
            read_buffer.capacity
        );
        for _ in 0..12 {
            theirs.write_all(b"x").await.unwrap();
            assert_eq!(
                poll_fn(|context| read_buffer.poll_read(&mut ours, context))
                    .await
                    .unwrap(),
                "x"
            );
        }
        assert_eq!(read_buffer.capacity, MIN_CAPACITY);
    }

    #[tokio::test]
    async fn small_reads_do_not_pin_the_buffer() {
        let (mut ours, mut theirs) = tokio::io::duplex(MIN_CAPACITY);
        let mut read_buffer = ReadBuffer::new();
        let mut last = None;
        for size in [1, MIN_CAPACITY / SMALL_READ_FRACTION - 1, MIN_CAPACITY / 2] {
            theirs.write_all(&vec![7; size]).await.unwrap();
            let bytes = poll_fn(|context| read_buffer.poll_read(&mut ours, context))
                .await
                .unwrap();
            assert_eq!(bytes.len(), size);
            // The only owner of a slice can be turned into a buffer, which shows its capacity.
            read_buffer.buffer = BytesMut::new();
            last = Some(bytes.try_into_mut().unwrap().capacity());
            assert!(
                last <= Some(size * SMALL_READ_FRACTION),
                "{last:?} for {size}"
            );
        }
        assert!(
            last > Some(MIN_CAPACITY / 2),
            "larger reads are not copied: {last:?}"
        );
    }

    #[tokio::test]
    async fn silent_stream_holds_no_memory_and_the_end_is_empty() {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let mut read_buffer = ReadBuffer::new();
        theirs.write_all(b"x").await.unwrap();
        drop(
            poll_fn(|context| read_buffer.poll_read(&mut ours, context))
                .await
                .unwrap(),
        );
        let silent =
            poll_fn(|context| Poll::Ready(read_buffer.poll_read(&mut ours, context).is_pending()))
                .await;
        assert!(silent && read_buffer.buffer.capacity() == 0);
        drop(theirs);
        assert!(
            poll_fn(|context| read_buffer.poll_read(&mut ours, context))
                .await
                .unwrap()
                .is_empty()
        );
    }
}
