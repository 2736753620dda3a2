//! Borders of HTTP/2 frames in a stream of bytes (RFC 9113, section 4.1): which types pass, and
//! whether another frame may be written at this point.

const FRAME_HEADER_BYTES: usize = 9;

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const PING: u8 = 0x6;
const PUSH_PROMISE: u8 = 0x5;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;
const ACK: u8 = 0x1;

/// Length of a PING with its header.
pub(super) const PING_BYTES: usize = 17;

/// The payload of the proxy's own PINGs, which those of the HTTP/2 library do not have.
const PING_PAYLOAD: [u8; 8] = *b"thr-line";

/// A PING frame of the proxy.
pub(super) const OWN_PING: [u8; PING_BYTES] = ping(0);

/// The response to [`OWN_PING`].
pub(super) const OWN_PONG: [u8; PING_BYTES] = ping(ACK);

/// Follows the frames of one direction.
#[derive(Debug, Default)]
pub(super) struct FrameTracker {
    /// Bytes of the client's preface that are left.
    preface_bytes: usize,
    header: [u8; FRAME_HEADER_BYTES],
    header_bytes: usize,
    /// Bytes of the current payload that are left.
    payload_bytes: usize,
    /// Whether the next frame has to continue a field section.
    is_within_fields: bool,
}

// === impl FrameTracker ===

impl FrameTracker {
    /// Follows what a client writes: the preface, then frames.
    pub(super) fn of_client() -> Self {
        Self {
            preface_bytes: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len(),
            ..Self::default()
        }
    }

    /// Whether a frame may begin here that the other writer of the stream does not know of.
    pub(super) const fn is_at_border(&self) -> bool {
        self.preface_bytes == 0
            && self.header_bytes == 0
            && self.payload_bytes == 0
            && !self.is_within_fields
    }

    /// Advances over bytes, and reports the type of each frame whose header is complete.
    pub(super) fn advance(&mut self, mut bytes: &[u8], mut report: impl FnMut(u8)) {
        skip(&mut bytes, &mut self.preface_bytes);
        loop {
            skip(&mut bytes, &mut self.payload_bytes);
            if bytes.is_empty() {
                return;
            }
            let wanted = FRAME_HEADER_BYTES.saturating_sub(self.header_bytes);
            let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
            let end = self.header_bytes + taken.len();
            if let Some(room) = self.header.get_mut(self.header_bytes..end) {
                room.copy_from_slice(taken);
            }
            (self.header_bytes, bytes) = (end, rest);
            if end < FRAME_HEADER_BYTES {
                return;
            }
            self.header_bytes = 0;
            let [high, middle, low, kind, flags, ..] = self.header;
            let length = u32::from_be_bytes([0, high, middle, low]);
            self.payload_bytes = usize::try_from(length).unwrap_or(usize::MAX);
            if matches!(kind, HEADERS | PUSH_PROMISE | CONTINUATION) {
                self.is_within_fields = flags & END_HEADERS == 0;
            }
            report(kind);
        }
    }
}

/// Skips a number of bytes, as far as they are there.
fn skip(bytes: &mut &[u8], count: &mut usize) {
    let skipped = bytes.len().min(*count);
    *count -= skipped;
    *bytes = bytes.get(skipped..).unwrap_or_default();
}

const fn ping(flags: u8) -> [u8; PING_BYTES] {
    let [a, b, c, d, e, f, g, h] = PING_PAYLOAD;
    [0, 0, 8, PING, flags, 0, 0, 0, 0, a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn frames_are_followed_in_pieces_of_any_size() {
        let bytes = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, b""),
            frame(HEADERS, 0, b"abc"),
            frame(CONTINUATION, END_HEADERS, b"de"),
            frame(DATA, 1, b"body"),
            OWN_PING.to_vec(),
        ]
        .concat();
        for size in 1..bytes.len() {
            let (mut tracker, mut kinds) = (FrameTracker::of_client(), Vec::new());
            assert!(!tracker.is_at_border(), "the preface comes first");
            for piece in bytes.chunks(size) {
                tracker.advance(piece, |kind| kinds.push(kind));
            }
            assert_eq!(kinds, [4, HEADERS, CONTINUATION, DATA, PING]);
            assert!(tracker.is_at_border());
        }
    }

    #[test]
    fn no_frame_may_begin_within_a_frame_or_a_field_section() {
        let mut tracker = FrameTracker::default();
        let is_at_border = |tracker: &mut FrameTracker, bytes: &[u8]| {
            tracker.advance(bytes, |_| ());
            tracker.is_at_border()
        };
        assert!(is_at_border(&mut tracker, b""));
        assert!(!is_at_border(&mut tracker, &frame(HEADERS, 0, b"abc")));
        let end = frame(CONTINUATION, END_HEADERS, b"de");
        assert!(!is_at_border(&mut tracker, &end[..4]));
        assert!(!is_at_border(&mut tracker, &end[4..10]));
        assert!(is_at_border(&mut tracker, &end[10..]));
    }
}
