//! Reading into buffers that grow with what comes, and that nobody who is silent holds.
//!
//! What was read is handed out as [`Bytes`] of the buffer itself, which is used again once all of them are gone. A read that brought
//! little is handed out as a copy: who keeps it, or waits to write it, keeps no more memory than there are bytes to count.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// Bytes that come in from one side.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    buffer: BytesMut,
    /// How much the next read may bring.
    room: usize,
}

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        Self {
            buffer: BytesMut::new(),
            room: ROOM_MIN,
        }
    }

    /// Reads what is there; nothing at the end.
    pub(crate) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Bytes>> {
        if self.buffer.capacity() < self.room / 2 {
            self.buffer.reserve(self.room);
        }
        let room = self.buffer.capacity();
        let Poll::Ready(read) = poll_read_buf(Pin::new(stream), context, &mut self.buffer) else {
            // Who is silent holds no memory: there may be thousands of them.
            self.buffer = BytesMut::new();
            return Poll::Pending;
        };
        let count = read?;
        self.fit(count, room);
        if count < room / LITTLE {
            let bytes = Bytes::copy_from_slice(&self.buffer);
            self.buffer.clear();
            return Poll::Ready(Ok(bytes));
        }
        Poll::Ready(Ok(self.buffer.split().freeze()))
    }

    /// A read that filled its room asks for more the next time; one that needed little of it, for less.
    fn fit(&mut self, count: usize, room: usize) {
        if count >= room {
            self.room = (self.room * 2).min(ROOM_MAX);
        } else if count < self.room / LITTLE {
            self.room = (self.room / 2).max(ROOM_MIN);
        }
    }
}

/// A read is little that brings less than this part of its room.
const LITTLE: usize = 4;

/// Room for the small requests that most connections have most of the time.
const ROOM_MIN: usize = 8 << 10;

/// Room for records that come in bulk. More does not read faster, and less costs calls.
const ROOM_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn room_grows_with_bulk_and_shrinks_with_trickle() {
        let (mut ours, mut theirs) = tokio::io::duplex(2 * ROOM_MAX);
        let mut inbox = ReadBuffer::new();
        for _ in 0..12 {
            theirs.write_all(&vec![7; ROOM_MAX]).await.unwrap();
            let mut left = ROOM_MAX;
            while left > 0 {
                left -= poll_fn(|context| inbox.poll_read(&mut ours, context))
                    .await
                    .unwrap()
                    .len();
            }
        }
        assert!(inbox.room >= ROOM_MAX / 2, "{}", inbox.room);
        for _ in 0..12 {
            theirs.write_all(b"x").await.unwrap();
            assert_eq!(
                poll_fn(|context| inbox.poll_read(&mut ours, context))
                    .await
                    .unwrap(),
                "x"
            );
        }
        assert_eq!(inbox.room, ROOM_MIN);
    }

    #[tokio::test]
    async fn a_little_is_handed_out_without_the_buffer_around_it() {
        let (mut ours, mut theirs) = tokio::io::duplex(ROOM_MIN);
        let mut inbox = ReadBuffer::new();
        let mut last = None;
        for size in [1, ROOM_MIN / LITTLE - 1, ROOM_MIN / 2] {
            theirs.write_all(&vec![7; size]).await.unwrap();
            let bytes = poll_fn(|context| inbox.poll_read(&mut ours, context))
                .await
                .unwrap();
            assert_eq!(bytes.len(), size);
            // One who holds a piece of the buffer's own can be made its only owner, and then shows its room.
            inbox.buffer = BytesMut::new();
            last = Some(bytes.try_into_mut().unwrap().capacity());
            assert!(last <= Some(size * LITTLE), "{last:?} for {size}");
        }
        assert!(
            last > Some(ROOM_MIN / 2),
            "more than a little is not copied: {last:?}"
        );
    }

    #[tokio::test]
    async fn the_silent_hold_nothing_and_the_end_is_empty() {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let mut inbox = ReadBuffer::new();
        theirs.write_all(b"x").await.unwrap();
        drop(
            poll_fn(|context| inbox.poll_read(&mut ours, context))
                .await
                .unwrap(),
        );
        let silent =
            poll_fn(|context| Poll::Ready(inbox.poll_read(&mut ours, context).is_pending())).await;
        assert!(silent && inbox.buffer.capacity() == 0);
        drop(theirs);
        assert!(
            poll_fn(|context| inbox.poll_read(&mut ours, context))
                .await
                .unwrap()
                .is_empty()
        );
    }
}
