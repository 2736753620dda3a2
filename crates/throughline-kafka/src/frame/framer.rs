//! Borders of frames in a stream of bytes that comes in any pieces.

use bytes::{Buf, Bytes, BytesMut};

use super::LENGTH_PREFIX_BYTES;
use crate::api::ApiKey;
use crate::types::CorrelationId;

/// Finds the frames in one direction of a connection.
///
/// Give it bytes with [`Framer::next`] until it asks for more. After an [`FrameEvent::Header`] say with [`Framer::collect`]
/// that the frame is wanted in one piece; otherwise it passes. Every byte that goes in comes out, once and in order, in
/// [`FrameEvent::Passthrough`] and [`FrameEvent::Frame`]: whoever writes these on has passed the stream on.
///
/// ```text
///             head complete            next()              all of it out
///   Between -----------------> FrameHeader -----------> Passing -----------------> Between
///      |                         | collect()                                   ^
///      | no frame, or opaque()   +-----------> Collecting ---------------------+
///      v                                          frame complete
///   Opaque: all that comes passes
/// ```
#[derive(Debug)]
pub struct Framer {
    direction: Direction,
    state: State,
    tokens: Tokens,
    /// What has come of a head or of a collected frame and has not gone out.
    held: BytesMut,
}

/// What [`Framer::next`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameEvent {
    /// A frame begins.
    Header(FrameHeader),
    /// A SASL token begins, which has a length and no header. It passes.
    SaslToken,
    /// Bytes to be written on as they are.
    Passthrough(Bytes),
    /// A frame that was collected, with its length in front.
    Frame(Bytes),
    /// What came is no frame, so all that follows passes; told once.
    FramingFailed(FramingError),
}

/// Whose a frame is, as soon as it can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameHeader {
    Request {
        size: usize,
        api_key: ApiKey,
        version: i16,
        correlation_id: CorrelationId,
    },
    Response {
        size: usize,
        correlation_id: CorrelationId,
    },
}

/// Why a stream cannot be followed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// TLS: a client's handshake with a port that expects none, or the alert of a broker that expects one.
    #[error("the stream begins with TLS")]
    Tls,
    /// A length that no frame has.
    #[error("{0} cannot be the length of a frame")]
    InvalidLength(i32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Requests,
    Responses,
}

/// Whether frames are SASL tokens, which have no header (after SaslHandshake version 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tokens {
    None,
    /// The next frame is one.
    Next,
    /// It is one unless it begins with 0, as all keys of requests do, and no mechanism's token but PLAIN's first.
    Perhaps,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has come yet.
    Beginning,
    Between,
    /// The head has been told; the frame has so many bytes with its length.
    Head(usize),
    /// So many bytes of the frame have not gone out.
    Passing(usize),
    Collecting(usize),
    Opaque,
}

// === impl Framer ===

impl Framer {
    /// For what clients send.
    #[must_use]
    pub fn requests() -> Self {
        Self::new(Direction::Requests)
    }

    /// For what brokers answer.
    #[must_use]
    pub fn responses() -> Self {
        Self::new(Direction::Responses)
    }

    fn new(direction: Direction) -> Self {
        Self {
            direction,
            state: State::Beginning,
            tokens: Tokens::None,
            held: BytesMut::new(),
        }
    }

    /// Takes what it needs from the front of `input`. [`None`] when all of that has been taken and more is needed.
    pub fn next(&mut self, input: &mut Bytes) -> Option<FrameEvent> {
        match self.state {
            State::Beginning | State::Between => self.look(input),
            State::Head(size) => {
                self.state = State::Passing(size);
                self.pass(size, input)
            }
            State::Passing(left) => self.pass(left, input),
            State::Collecting(size) => self.gather(size, input),
            State::Opaque if !self.held.is_empty() => {
                Some(FrameEvent::Passthrough(self.held.split().freeze()))
            }
            State::Opaque => {
                (!input.is_empty()).then(|| FrameEvent::Passthrough(input.split_to(input.len())))
            }
        }
    }

    /// Has the frame whose head was told last come in one piece, if it is no longer than `max` bytes with its length.
    /// False, and it passes, when it is longer, or when it has begun to pass.
    pub fn collect(&mut self, max: usize) -> bool {
        match self.state {
            State::Head(size) if size <= max => {
                self.state = State::Collecting(size);
                true
            }
            State::Beginning
            | State::Between
            | State::Head(_)
            | State::Passing(_)
            | State::Collecting(_)
            | State::Opaque => false,
        }
    }

    /// The next frame is a SASL token; in requests so are those behind it, until a request comes.
    pub const fn expect_sasl_token(&mut self) {
        self.tokens = Tokens::Next;
    }

    /// No token comes after all.
    pub const fn cancel_sasl_token(&mut self) {
        self.tokens = Tokens::None;
    }

    /// From here on there are no frames. What is held passes.
    pub const fn set_opaque(&mut self) {
        self.state = State::Opaque;
    }

    /// Whether there are no frames any more.
    #[must_use]
    pub const fn is_opaque(&self) -> bool {
        matches!(self.state, State::Opaque)
    }

    /// Whether all that came in were whole frames, and all of them have gone out.
    #[must_use]
    pub fn is_at_frame_boundary(&self) -> bool {
        matches!(self.state, State::Beginning | State::Between) && self.held.is_empty()
    }

    /// Bytes taken in and not given out: of a head, or of a frame that is collected.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.held.len()
    }

    /// Looks for a head at a border.
    fn look(&mut self, input: &mut Bytes) -> Option<FrameEvent> {
        let wanted = self.wanted(input);
        if self.held.is_empty()
            && self.state == State::Beginning
            && input.first() == Some(&self.direction.tls())
        {
            self.set_opaque();
            return Some(FrameEvent::FramingFailed(FramingError::Tls));
        }
        if !self.held.is_empty() || input.len() < wanted {
            // At most a head's bytes are ever copied here; a length that is no good is told as soon as it is there.
            let missing = wanted.saturating_sub(self.held.len()).min(input.len());
            self.held.extend_from_slice(&input.split_to(missing));
        }
        let front = if self.held.is_empty() {
            input.as_ref()
        } else {
            self.held.as_ref()
        };
        if self.tokens != Tokens::None {
            match read_token(front, self.tokens) {
                Ok(None) => return None,
                Ok(Some(Some(size))) => {
                    self.state = State::Head(size);
                    self.tokens = if self.direction == Direction::Requests {
                        Tokens::Perhaps
                    } else {
                        Tokens::None
                    };
                    return Some(FrameEvent::SaslToken);
                }
                Ok(Some(None)) => {
                    self.tokens = Tokens::None;
                    return self.look(input);
                }
                Err(loss) => {
                    self.set_opaque();
                    return Some(FrameEvent::FramingFailed(loss));
                }
            }
        }
        match self.direction.read(front) {
            Ok(None) => None,
            Ok(Some(head)) => {
                self.state = State::Head(head.size());
                Some(FrameEvent::Header(head))
            }
            Err(loss) => {
                self.set_opaque();
                Some(FrameEvent::FramingFailed(loss))
            }
        }
    }

    /// How much of a frame must be there before it can be said what it is.
    fn wanted(&self, input: &Bytes) -> usize {
        match self.tokens {
            Tokens::None => self.direction.head(),
            Tokens::Next => LENGTH_PREFIX_BYTES,
            Tokens::Perhaps => {
                // An empty token is all of a frame; of any other the first byte tells.
                let is_empty = self
                    .held
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

    fn pass(&mut self, left: usize, input: &mut Bytes) -> Option<FrameEvent> {
        let piece = if self.held.is_empty() {
            input.split_to(left.min(input.len()))
        } else {
            self.held.split().freeze()
        };
        let left = left.saturating_sub(piece.len());
        self.state = if left == 0 {
            State::Between
        } else {
            State::Passing(left)
        };
        (!piece.is_empty()).then_some(FrameEvent::Passthrough(piece))
    }

    fn gather(&mut self, size: usize, input: &mut Bytes) -> Option<FrameEvent> {
        if self.held.is_empty() && input.len() >= size {
            self.state = State::Between;
            return Some(FrameEvent::Frame(input.split_to(size)));
        }
        let missing = size.saturating_sub(self.held.len());
        // Room for all of a frame of the usual length at once; for a longer one as its bytes come, whatever it claims.
        self.held.reserve(missing.min(ROOM));
        self.held
            .extend_from_slice(&input.split_to(missing.min(input.len())));
        if self.held.len() < size {
            return None;
        }
        self.state = State::Between;
        Some(FrameEvent::Frame(self.held.split().freeze()))
    }
}

// === impl FrameHeader ===

impl FrameHeader {
    /// Bytes of the frame, with its length.
    #[must_use]
    pub const fn size(&self) -> usize {
        match self {
            Self::Request { size, .. } | Self::Response { size, .. } => *size,
        }
    }

    /// The number that pairs it.
    #[must_use]
    pub const fn correlation_id(&self) -> CorrelationId {
        match self {
            Self::Request { correlation_id, .. } | Self::Response { correlation_id, .. } => {
                *correlation_id
            }
        }
    }
}

// === impl Direction ===

impl Direction {
    /// Bytes that must be there before it can be said whose the frame is.
    const fn head(self) -> usize {
        match self {
            Self::Requests => LENGTH_PREFIX_BYTES + 8,
            Self::Responses => LENGTH_PREFIX_BYTES + 4,
        }
    }

    /// The content type of the TLS record that one who speaks TLS sends first: a handshake, or an alert where it is answered
    /// with none. As a frame's first byte either would mean 352 MB or more.
    const fn tls(self) -> u8 {
        match self {
            Self::Requests => 0x16,
            Self::Responses => 0x15,
        }
    }

    /// Reads the head at the front, when enough is there.
    fn read(self, mut front: &[u8]) -> Result<Option<FrameHeader>, FramingError> {
        if front.len() < LENGTH_PREFIX_BYTES {
            return Ok(None);
        }
        let length = front.get_i32();
        let shortest = self.head() - LENGTH_PREFIX_BYTES;
        let size = usize::try_from(length)
            .ok()
            .filter(|size| *size >= shortest)
            .ok_or(FramingError::InvalidLength(length))?
            + LENGTH_PREFIX_BYTES;
        if front.len() < shortest {
            return Ok(None);
        }
        Ok(Some(match self {
            Self::Requests => FrameHeader::Request {
                size,
                api_key: ApiKey(front.get_i16()),
                version: front.get_i16(),
                correlation_id: CorrelationId(front.get_i32()),
            },
            Self::Responses => FrameHeader::Response {
                size,
                correlation_id: CorrelationId(front.get_i32()),
            },
        }))
    }
}

/// Whether the frame at the front is a token, and of how many bytes with its length, when enough is there.
#[expect(
    clippy::option_option,
    reason = "the outer one: more is needed; the inner one: it is no token"
)]
fn read_token(mut front: &[u8], tokens: Tokens) -> Result<Option<Option<usize>>, FramingError> {
    if front.len() < LENGTH_PREFIX_BYTES {
        return Ok(None);
    }
    let length = front.get_i32();
    let size = usize::try_from(length).map_err(|_| FramingError::InvalidLength(length))?
        + LENGTH_PREFIX_BYTES;
    if tokens == Tokens::Next || length == 0 {
        return Ok(Some(Some(size)));
    }
    Ok(front.first().map(|first| (*first != 0).then_some(size)))
}

/// How much room is made at once for a frame that is collected: a batch of the usual largest size, and what is around it.
const ROOM: usize = 1024 * 1024 + 16 * 1024;
