//! Properties of any stream, in any chunks. Shared by the tests and the fuzz target.

use bytes::Bytes;
use throughline_kafka::frame::{FrameEvent, Framer};

/// The maximum size of a collected frame. Frames with an odd correlation id are collected.
const MAX_COLLECTED_BYTES: usize = 4096;

/// The output of a framer, without the borders of its pieces.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FramerOutput {
    /// All other events, each with the number of bytes that were returned before.
    events: Vec<(usize, String)>,
    bytes: Vec<u8>,
}

/// Passes the chunks to a framer.
pub(crate) fn run_framer<'a>(
    mut framer: Framer,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> FramerOutput {
    let mut output = FramerOutput::default();
    let mut taken = 0;
    for chunk in chunks {
        let mut input = Bytes::copy_from_slice(chunk);
        taken += chunk.len();
        while let Some(event) = framer.next(&mut input) {
            match event {
                FrameEvent::Header(header) => {
                    let odd = header.correlation_id().0 & 1 == 1;
                    let collected = odd && framer.collect(MAX_COLLECTED_BYTES);
                    assert_eq!(collected, odd && header.size() <= MAX_COLLECTED_BYTES);
                    output
                        .events
                        .push((output.bytes.len(), format!("{header:?}")));
                }
                FrameEvent::Passthrough(bytes) => {
                    assert!(!bytes.is_empty(), "a passthrough event has bytes");
                    output.bytes.extend_from_slice(&bytes);
                }
                FrameEvent::Frame(bytes) => {
                    assert!(bytes.len() <= MAX_COLLECTED_BYTES);
                    output
                        .events
                        .push((output.bytes.len(), format!("frame of {}", bytes.len())));
                    output.bytes.extend_from_slice(&bytes);
                }
                FrameEvent::SaslToken => output
                    .events
                    .push((output.bytes.len(), "SASL token".to_owned())),
                FrameEvent::FramingFailed(error) => {
                    output.events.push((output.bytes.len(), error.to_string()));
                }
            }
        }
        assert!(
            input.is_empty(),
            "a framer that needs more has consumed its input"
        );
        assert_eq!(
            output.bytes.len() + framer.buffered_bytes(),
            taken,
            "all input is returned or buffered"
        );
        assert!(
            framer.buffered_bytes() <= MAX_COLLECTED_BYTES,
            "the buffer is limited"
        );
    }
    output
}

/// Checks that the output does not depend on the chunks. The first four bytes are the chunk size.
pub(crate) fn check_stream(bytes: &[u8]) {
    let (size_bytes, stream) = bytes.split_at(bytes.len().min(4));
    for make in [Framer::requests, Framer::responses] {
        let whole = run_framer(make(), [stream]);
        assert!(stream.starts_with(&whole.bytes));
        let size = size_bytes
            .iter()
            .fold(0, |sum, byte| sum + usize::from(*byte))
            % 37
            + 1;
        assert_eq!(run_framer(make(), stream.chunks(size)), whole);
        assert_eq!(run_framer(make(), stream.chunks(1)), whole);
    }
}

/// Returns a stream of frames with these bodies; the first byte of each is its correlation id.
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

/// Returns the number of request headers.
pub(crate) fn header_count(output: &FramerOutput) -> usize {
    output
        .events
        .iter()
        .filter(|(_, event)| event.starts_with("Request"))
        .count()
}
