//! Bytes that are queued for one stream and written many chunks at a time.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

/// The most chunks in one write. A request with injected headers has a handful; the system takes up
/// to 1024 (`IOV_MAX`).
const MAX_SLICES: usize = 64;

/// The write queue of one stream.
#[derive(Debug, Default)]
pub(crate) struct WriteQueue {
    chunks: VecDeque<Bytes>,
    bytes: usize,
}

impl WriteQueue {
    pub(crate) fn push(&mut self, bytes: Bytes) {
        // A stream that takes no bytes counts as failed, so an empty chunk must not be written.
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.chunks.push_back(bytes);
        }
    }

    /// Returns the number of queued bytes.
    pub(crate) const fn len(&self) -> usize {
        self.bytes
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes once. Ready with the number of bytes that the stream took.
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // A request with injected headers has many chunks: one vectored write saves a copy.
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
            count += 1;
        }
        let slices = slices.get(..count).unwrap_or_default();
        let written = ready!(Pin::new(stream).poll_write_vectored(context, slices))?;
        // The caller would retry for ever.
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn chunks_pass_a_narrow_pipe_in_order() {
        let (mut ours, mut theirs) = tokio::io::duplex(7);
        let mut queue = WriteQueue::default();
        let expected: Vec<u8> = (0..200u8)
            .flat_map(|chunk| vec![chunk; usize::from(chunk % 5)])
            .collect();
        for chunk in 0..200u8 {
            queue.push(vec![chunk; usize::from(chunk % 5)].into());
        }
        assert_eq!(queue.len(), expected.len());
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            theirs.read_to_end(&mut got).await.unwrap();
            got
        });
        while !queue.is_empty() {
            poll_fn(|context| queue.poll_write(&mut ours, context))
                .await
                .unwrap();
        }
        drop(ours);
        assert_eq!(reader.await.unwrap(), expected);
    }
}
