//! Bytes that wait to be written to one side, in order, and are written many at a time.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

/// What goes out to one side.
#[derive(Debug, Default)]
pub(crate) struct WriteQueue {
    chunks: VecDeque<Bytes>,
    bytes: usize,
}

impl WriteQueue {
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.chunks.push_back(bytes);
        }
    }

    /// How many bytes wait.
    pub(crate) const fn len(&self) -> usize {
        self.bytes
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes what the stream takes at once, and says how much that was.
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
            count += 1;
        }
        let slices = slices.get(..count).unwrap_or_default();
        let written = ready!(Pin::new(stream).poll_write_vectored(context, slices))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(written))
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        while let Some(first) = self.chunks.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.chunks.pop_front();
        }
    }
}

/// Pieces of one write. A request with injected headers is a handful; the system takes up to 1024.
const SLICES: usize = 64;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn many_pieces_go_out_in_order_through_a_narrow_pipe() {
        let (mut ours, mut theirs) = tokio::io::duplex(7);
        let mut outbox = WriteQueue::default();
        let expected: Vec<u8> = (0..200u8)
            .flat_map(|piece| vec![piece; usize::from(piece % 5)])
            .collect();
        for piece in 0..200u8 {
            outbox.push(vec![piece; usize::from(piece % 5)].into());
        }
        assert_eq!(outbox.len(), expected.len());
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            theirs.read_to_end(&mut got).await.unwrap();
            got
        });
        while !outbox.is_empty() {
            poll_fn(|context| outbox.poll_write(&mut ours, context))
                .await
                .unwrap();
        }
        drop(ours);
        assert_eq!(reader.await.unwrap(), expected);
    }
}
