//! One direction of a connection: frames pass, are mirrored, or are buffered.

use bytes::{Bytes, BytesMut};
use throughline_kafka::frame::Framer;

use crate::Timestamp;
use crate::kafka::handler::HandlerContext;
use crate::kafka::{ClusterHandle, SkipReason};

/// One direction of a connection. `T` identifies a frame.
#[derive(Debug)]
pub(super) struct FrameStream<T> {
    pub(super) framer: Framer,
    /// Frame that is arriving, if it is not just passed.
    pub(super) current: Option<CurrentFrame<T>>,
}

/// Frame that is arriving.
#[derive(Debug)]
pub(super) struct CurrentFrame<T> {
    pub(super) subject: T,
    /// Arrival of the first byte.
    pub(super) first_byte: Timestamp,
    pub(super) handling: FrameHandling,
    /// Bytes of the process's budget that the frame takes.
    pub(super) reserved_bytes: usize,
}

/// Handling of a frame that is arriving.
#[derive(Debug)]
pub(super) enum FrameHandling {
    /// The framer holds it back until it is whole.
    Buffered,
    /// It is forwarded as it arrives, and its pieces are kept.
    Mirrored { pieces: FramePieces, left: usize },
    /// It is forwarded as it arrives; its beginning is kept until it shows whether there will be a
    /// response.
    Peeked { beginning: BytesMut, left: usize },
}

/// Pieces of a frame that was forwarded as it arrived.
#[derive(Debug, Default)]
pub(super) struct FramePieces {
    long: Vec<Bytes>,
    /// Short pieces are copied together: each may keep alive a driver's buffer of many KiB.
    short: BytesMut,
}

/// Action that a session wants to take on a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameAction {
    /// Forward it unread.
    Pass,
    /// Forward it as it arrives, and read it.
    Read,
    /// Change it if the budget allows to buffer it.
    Change,
    /// Change it: forwarded unmodified it would mislead the client.
    MustChange,
}

/// Frame whose header has arrived.
#[derive(Debug)]
pub(super) struct StartedFrame<T> {
    pub(super) subject: T,
    pub(super) size: usize,
    pub(super) first_byte: Timestamp,
}

/// Frame that has arrived in whole.
#[derive(Debug)]
pub(super) struct CompleteFrame<T> {
    pub(super) subject: T,
    pub(super) first_byte: Timestamp,
    pub(super) reserved_bytes: usize,
    pub(super) bytes: Bytes,
}

/// Outcome of the action that a session wanted to take.
#[derive(Debug)]
pub(super) enum Admission<T> {
    /// The frame is kept.
    Admitted,
    /// The frame passes; with a reason when another action was wanted.
    Passes(T, Option<SkipReason>),
}

/// Pieces shorter than this are copied.
const MAX_COPIED_BYTES: usize = 8 * 1024;

/// Frames up to this size do not count in the process's budget: they hold up nothing, and requests
/// must be seen to know what their responses mean.
const MAX_UNBUDGETED_BYTES: usize = 16 * 1024;

// === impl FrameStream ===

impl<T> FrameStream<T> {
    pub(super) const fn new(framer: Framer) -> Self {
        Self {
            framer,
            current: None,
        }
    }

    /// Begins a frame with the action that is wanted, as far as limits allow it.
    pub(super) fn begin<C: ClusterHandle>(
        &mut self,
        context: &HandlerContext<C>,
        frame: StartedFrame<T>,
        action: FrameAction,
    ) -> Admission<T> {
        let StartedFrame {
            subject,
            size,
            first_byte,
        } = frame;
        if action == FrameAction::Pass {
            return Admission::Passes(subject, None);
        }
        if size > context.settings.limits.max_frame_bytes {
            return Admission::Passes(subject, Some(SkipReason::FrameTooLarge));
        }
        let reserved_bytes = if size <= MAX_UNBUDGETED_BYTES {
            0
        } else {
            size
        };
        if !reserve(&context.cluster, reserved_bytes, action) {
            return Admission::Passes(subject, Some(SkipReason::Budget));
        }
        let handling = if action != FrameAction::Read && self.framer.collect(size) {
            FrameHandling::Buffered
        } else {
            FrameHandling::Mirrored {
                pieces: FramePieces::default(),
                left: size,
            }
        };
        self.current = Some(CurrentFrame {
            subject,
            first_byte,
            handling,
            reserved_bytes,
        });
        Admission::Admitted
    }

    /// Takes a piece that was forwarded. Returns the frame when it was the last one.
    pub(super) fn mirror(&mut self, piece: Bytes) -> Option<CompleteFrame<T>> {
        let current = self.current.as_mut()?;
        let FrameHandling::Mirrored { pieces, left } = &mut current.handling else {
            return None;
        };
        *left = left.saturating_sub(piece.len());
        pieces.push(piece, *left == 0);
        if *left > 0 {
            return None;
        }
        let pieces = std::mem::take(pieces);
        self.complete(pieces.join())
    }

    /// Ends the frame that is arriving: these are its bytes.
    pub(super) fn complete(&mut self, bytes: Bytes) -> Option<CompleteFrame<T>> {
        let current = self.current.take()?;
        Some(CompleteFrame {
            subject: current.subject,
            first_byte: current.first_byte,
            reserved_bytes: current.reserved_bytes,
            bytes,
        })
    }

    /// Bytes of the budget that the arriving frame takes.
    pub(super) fn reserved_bytes(&self) -> usize {
        self.current.as_ref().map_or(0, |it| it.reserved_bytes)
    }
}

/// Reserves bytes of the process's budget. Returns whether the frame may be kept.
fn reserve(cluster: &impl ClusterHandle, bytes: usize, action: FrameAction) -> bool {
    if bytes == 0 {
        return true;
    }
    cluster.with_state(|state| {
        if action == FrameAction::MustChange {
            state.force_reserve_bytes(bytes);
            return true;
        }
        state.reserve_bytes(bytes)
    })
}

// === impl CurrentFrame ===

impl<T> CurrentFrame<T> {
    /// Returns whether the frame was to be read.
    pub(super) const fn is_kept(&self) -> bool {
        !matches!(self.handling, FrameHandling::Peeked { .. })
    }
}

// === impl FramePieces ===

impl FramePieces {
    fn push(&mut self, piece: Bytes, is_last: bool) {
        // The last piece is released at once, so that its buffer is not kept alive.
        if piece.len() < MAX_COPIED_BYTES && !is_last {
            self.short.extend_from_slice(&piece);
            return;
        }
        if !self.short.is_empty() {
            self.long.push(self.short.split().freeze());
        }
        self.long.push(piece);
    }

    /// Joins the pieces; a single one is not copied.
    fn join(mut self) -> Bytes {
        if self.long.len() == 1 {
            return self.long.pop().unwrap_or_default();
        }
        self.long.concat().into()
    }

    /// Number of pieces that keep a driver's buffer alive, and of copied bytes.
    #[cfg(test)]
    fn held(&self) -> (usize, usize) {
        (self.long.len(), self.short.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_pieces_keep_no_buffer_of_the_driver_alive() {
        let mut pieces = FramePieces::default();
        let frame: Vec<u8> = (0..=255).cycle().take(3 * MAX_COPIED_BYTES).collect();
        let (first, rest) = frame.split_at(MAX_COPIED_BYTES);
        let (second, third) = rest.split_at(MAX_COPIED_BYTES);
        for byte in first.chunks(1) {
            pieces.push(Bytes::copy_from_slice(byte), false);
        }
        assert_eq!(pieces.held(), (0, MAX_COPIED_BYTES));
        pieces.push(Bytes::copy_from_slice(second), false);
        assert_eq!(pieces.held(), (2, 0), "a long piece is kept as it is");
        let (short, last) = third.split_at(MAX_COPIED_BYTES - 1);
        pieces.push(Bytes::copy_from_slice(short), false);
        pieces.push(Bytes::copy_from_slice(last), true);
        assert_eq!(pieces.join(), frame);
    }
}
