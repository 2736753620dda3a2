//! Splits a stream of bytes that arrives in chunks of any size into frames.

use bytes::{Buf, Bytes, BytesMut};

use super::LENGTH_PREFIX_BYTES;
use super::direction::{FrameDirection, FrameHeader, FramingError};

/// The memory reserved at once for a collected frame: a batch of the usual maximum size and the
/// fields around it.
const MAX_RESERVED_BYTES: usize = 1024 * 1024 + 16 * 1024;

/// Finds the frames in one direction of a connection.
///
/// Call [`Framer::next`] with input until it returns [`None`]. After a [`FrameEvent::Header`], call
/// [`Framer::collect`] to receive the frame in one piece; otherwise it passes through. Every input
/// byte is returned exactly once and in order, in a [`FrameEvent::Passthrough`] or a
/// [`FrameEvent::Frame`]: writing these forwards the stream.
///
/// ```text
///                header complete           next()              all of it returned
///   AtBoundary -----------------> Header ----------> Passing -------------------> AtBoundary
///      |                            | collect()                                      ^
///      | no frame, or set_opaque()  +--------------> Collecting ---------------------+
///      v                                               frame complete
///   Opaque: all bytes pass through
/// ```
#[derive(Debug)]
pub struct Framer {
    direction: FrameDirection,
    state: State,
    sasl: SaslState,
    /// Input that has not been returned: a part of a header or of a collected frame.
    buffer: BytesMut,
}

/// An event of [`Framer::next`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameEvent {
    /// A frame begins.
    Header(FrameHeader),
    /// A SASL token begins, which has a length but no header. It passes through.
    SaslToken,
    /// Bytes to forward unmodified.
    Passthrough(Bytes),
    /// A collected frame, its length included.
    Frame(Bytes),
    /// The stream has no frames, so all following bytes pass through. Returned at most once.
    FramingFailed(FramingError),
}

/// Whether the next frame is a SASL token without a header (SaslHandshake version 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SaslState {
    /// It is not.
    NoToken,
    /// It is.
    Token,
    /// It is, unless its first byte is 0. The API key of a request begins with 0; of the SASL
    /// mechanisms only the first token of PLAIN does, and that is expected as [`SaslState::Token`].
    TokenOrRequest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No input yet.
    Start,
    AtBoundary,
    /// The header of a frame of this size, its length included, has been returned.
    Header(usize),
    /// This many bytes of the frame are outstanding.
    Passing(usize),
    /// A frame of this size is being collected.
    Collecting(usize),
    Opaque,
}

/// The kind of the frame at the start of the input.
enum FrameKind {
    /// A SASL token of this size, its length included.
    SaslToken(usize),
    Message,
}

// === impl Framer ===

impl Framer {
    /// Creates a framer for the requests of a client.
    #[must_use]
    pub fn requests() -> Self {
        Self::new(FrameDirection::Requests)
    }

    /// Creates a framer for the responses of a broker.
    #[must_use]
    pub fn responses() -> Self {
        Self::new(FrameDirection::Responses)
    }

    fn new(direction: FrameDirection) -> Self {
        Self {
            direction,
            state: State::Start,
            sasl: SaslState::NoToken,
            buffer: BytesMut::new(),
        }
    }

    /// Consumes the start of `input` and returns the next event; [`None`] when all input has been
    /// consumed and more is needed.
    pub fn next(&mut self, input: &mut Bytes) -> Option<FrameEvent> {
        match self.state {
            State::Start | State::AtBoundary => self.next_header(input),
            State::Header(size) => {
                self.state = State::Passing(size);
                self.pass_through(size, input)
            }
            State::Passing(remaining) => self.pass_through(remaining, input),
            State::Collecting(size) => self.collect_frame(size, input),
            State::Opaque if !self.buffer.is_empty() => {
                Some(FrameEvent::Passthrough(self.buffer.split().freeze()))
            }
            State::Opaque => {
                (!input.is_empty()).then(|| FrameEvent::Passthrough(input.split_to(input.len())))
            }
        }
    }

    /// Requests the frame of the last header in one piece. Returns false, and the frame passes
    /// through, when it exceeds `max` bytes with its length, or has already begun to pass.
    pub fn collect(&mut self, max: usize) -> bool {
        match self.state {
            State::Header(size) if size <= max => {
                self.state = State::Collecting(size);
                true
            }
            State::Start
            | State::AtBoundary
            | State::Header(_)
            | State::Passing(_)
            | State::Collecting(_)
            | State::Opaque => false,
        }
    }

    /// Expects a SASL token as the next frame; of requests also after it, until the next request.
    pub const fn expect_sasl_token(&mut self) {
        self.sasl = SaslState::Token;
    }

    /// Expects no SASL token any more.
    pub const fn cancel_sasl_token(&mut self) {
        self.sasl = SaslState::NoToken;
    }

    /// Passes through the buffered and all following bytes.
    pub const fn set_opaque(&mut self) {
        self.state = State::Opaque;
    }

    /// Returns whether the input so far consists of complete frames that have all been returned.
    #[must_use]
    pub fn is_at_frame_boundary(&self) -> bool {
        matches!(self.state, State::Start | State::AtBoundary) && self.buffer.is_empty()
    }

    /// Returns whether a frame has begun to pass through and is not complete.
    #[must_use]
    pub const fn is_within_passing_frame(&self) -> bool {
        matches!(self.state, State::Header(_) | State::Passing(_))
    }

    /// Returns the number of bytes that have been consumed but not returned.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Returns the header of the next frame, or the start of a SASL token.
    fn next_header(&mut self, input: &mut Bytes) -> Option<FrameEvent> {
        if self.is_tls(input) {
            return Some(self.fail(FramingError::Tls));
        }
        let needed = self.needed_bytes(input);
        if !self.buffer.is_empty() || input.len() < needed {
            // Copies at most a header. An invalid length is reported as soon as it is complete, so
            // the buffer never waits for a frame that cannot come.
            let missing = needed.saturating_sub(self.buffer.len()).min(input.len());
            self.buffer.extend_from_slice(&input.split_to(missing));
        }
        let start = if self.buffer.is_empty() {
            input.as_ref()
        } else {
            self.buffer.as_ref()
        };
        if self.sasl != SaslState::NoToken {
            return match frame_kind(start, self.sasl) {
                Ok(None) => None,
                Ok(Some(FrameKind::SaslToken(size))) => {
                    self.begin_sasl_token(size);
                    Some(FrameEvent::SaslToken)
                }
                Ok(Some(FrameKind::Message)) => {
                    // The client has finished authenticating; the frame is read again as a request.
                    self.sasl = SaslState::NoToken;
                    self.next_header(input)
                }
                Err(error) => Some(self.fail(error)),
            };
        }
        match self.direction.parse_header(start) {
            Ok(None) => None,
            Ok(Some(header)) => {
                self.state = State::Header(header.size());
                Some(FrameEvent::Header(header))
            }
            Err(error) => Some(self.fail(error)),
        }
    }

    fn is_tls(&self, input: &Bytes) -> bool {
        self.state == State::Start
            && self.buffer.is_empty()
            && input.first() == Some(&self.direction.tls_content_type())
    }

    fn fail(&mut self, error: FramingError) -> FrameEvent {
        self.set_opaque();
        FrameEvent::FramingFailed(error)
    }

    fn begin_sasl_token(&mut self, size: usize) {
        self.state = State::Header(size);
        // A client may send more tokens before its first request; a broker answers each with one,
        // which the session expects by itself.
        self.sasl = if self.direction == FrameDirection::Requests {
            SaslState::TokenOrRequest
        } else {
            SaslState::NoToken
        };
    }

    /// Returns the number of bytes that determine the kind and the header of the next frame.
    fn needed_bytes(&self, input: &Bytes) -> usize {
        match self.sasl {
            SaslState::NoToken => self.direction.header_size(),
            SaslState::Token => LENGTH_PREFIX_BYTES,
            SaslState::TokenOrRequest => {
                // An empty token has no first byte to wait for.
                let is_empty = self
                    .buffer
                    .iter()
                    .chain(input.iter())
                    .take(LENGTH_PREFIX_BYTES)
                    .all(|byte| *byte == 0);
                if is_empty {
                    LENGTH_PREFIX_BYTES
                } else {
                    LENGTH_PREFIX_BYTES + 1
                }
            }
        }
    }

    fn pass_through(&mut self, remaining: usize, input: &mut Bytes) -> Option<FrameEvent> {
        // The buffer holds the header at most, which is never longer than the frame.
        let piece = if self.buffer.is_empty() {
            input.split_to(remaining.min(input.len()))
        } else {
            self.buffer.split().freeze()
        };
        let remaining = remaining.saturating_sub(piece.len());
        self.state = if remaining == 0 {
            State::AtBoundary
        } else {
            State::Passing(remaining)
        };
        (!piece.is_empty()).then_some(FrameEvent::Passthrough(piece))
    }

    fn collect_frame(&mut self, size: usize, input: &mut Bytes) -> Option<FrameEvent> {
        // A frame that is complete in the input is shared, not copied.
        if self.buffer.is_empty() && input.len() >= size {
            self.state = State::AtBoundary;
            return Some(FrameEvent::Frame(input.split_to(size)));
        }
        let missing = size.saturating_sub(self.buffer.len());
        // A frame of the usual size gets its memory at once. A larger one grows as its bytes
        // arrive: its length alone must not allocate.
        self.buffer.reserve(missing.min(MAX_RESERVED_BYTES));
        self.buffer
            .extend_from_slice(&input.split_to(missing.min(input.len())));
        if self.buffer.len() < size {
            return None;
        }
        self.state = State::AtBoundary;
        Some(FrameEvent::Frame(self.buffer.split().freeze()))
    }
}

/// Returns the kind of the frame at the start of `input`; [`None`] when more bytes are needed.
fn frame_kind(mut input: &[u8], sasl: SaslState) -> Result<Option<FrameKind>, FramingError> {
    if input.len() < LENGTH_PREFIX_BYTES {
        return Ok(None);
    }
    let length = input.get_i32();
    let size = usize::try_from(length).map_err(|_| FramingError::InvalidLength(length))?
        + LENGTH_PREFIX_BYTES;
    if sasl == SaslState::Token || length == 0 {
        return Ok(Some(FrameKind::SaslToken(size)));
    }
    Ok(input.first().map(|first| match first {
        0 => FrameKind::Message,
        _ => FrameKind::SaslToken(size),
    }))
}
