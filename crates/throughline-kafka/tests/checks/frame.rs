//! What must hold for any stream of bytes, in any pieces. Shared by the property tests and the fuzz target.

use bytes::Bytes;
use throughline_kafka::frame::{FrameEvent, Framer};

/// Frames to this size are collected if their correlation id is odd.
const COLLECTED: usize = 4096;

/// What a framer tells, apart from the pieces it passes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Heads and frames, each with the number of bytes that had gone out before.
    events: Vec<(usize, String)>,
    out: Vec<u8>,
}

/// Puts `pieces` through a framer.
pub(crate) fn through<'a>(mut framer: Framer, pieces: impl IntoIterator<Item = &'a [u8]>) -> Told {
    let mut told = Told::default();
    let mut taken = 0;
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        taken += piece.len();
        while let Some(event) = framer.next(&mut input) {
            match event {
                FrameEvent::Header(head) => {
                    let odd = head.correlation_id().0 & 1 == 1;
                    let collected = odd && framer.collect(COLLECTED);
                    assert_eq!(collected, odd && head.size() <= COLLECTED);
                    told.events.push((told.out.len(), format!("{head:?}")));
                }
                FrameEvent::Passthrough(bytes) => {
                    assert!(!bytes.is_empty(), "a piece to be passed has bytes");
                    told.out.extend_from_slice(&bytes);
                }
                FrameEvent::Frame(bytes) => {
                    assert!(bytes.len() <= COLLECTED);
                    told.events
                        .push((told.out.len(), format!("frame of {}", bytes.len())));
                    told.out.extend_from_slice(&bytes);
                }
                FrameEvent::SaslToken => told.events.push((told.out.len(), "a token".to_owned())),
                FrameEvent::FramingFailed(loss) => {
                    told.events.push((told.out.len(), loss.to_string()));
                }
            }
        }
        assert!(input.is_empty(), "a framer that wants more has taken all");
        assert_eq!(
            told.out.len() + framer.buffered_bytes(),
            taken,
            "what went in came out or is held"
        );
        assert!(
            framer.buffered_bytes() <= COLLECTED,
            "what is held is capped"
        );
    }
    told
}

/// Any stream is told the same, however it is cut. The first bytes say where.
pub(crate) fn any_stream(bytes: &[u8]) {
    let (cuts, stream) = bytes.split_at(bytes.len().min(4));
    for make in [Framer::requests, Framer::responses] {
        let whole = through(make(), [stream]);
        assert!(stream.starts_with(&whole.out));
        let step = cuts.iter().fold(0, |sum, cut| sum + usize::from(*cut)) % 37 + 1;
        assert_eq!(through(make(), stream.chunks(step)), whole);
        assert_eq!(through(make(), stream.chunks(1)), whole);
    }
}

/// A stream of frames with these bodies, the first byte of each its correlation id.
pub(crate) fn frames(bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for body in bodies {
        let correlation = i32::from(body.first().copied().unwrap_or(0));
        stream.extend(
            i32::try_from(8 + body.len())
                .expect("a small body")
                .to_be_bytes(),
        );
        stream.extend([0, 3, 0, 9]);
        stream.extend(correlation.to_be_bytes());
        stream.extend(body);
    }
    stream
}

/// How many heads were told.
pub(crate) fn heads(told: &Told) -> usize {
    told.events
        .iter()
        .filter(|(_, event)| event.starts_with("Request"))
        .count()
}
