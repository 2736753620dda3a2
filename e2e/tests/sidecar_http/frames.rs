//! Hand-made HTTP/2 (RFC 9113) for requests that no client sends: all fields are literals and may
//! hold any bytes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::fixture::TIMEOUT;

/// A client connection for one request.
pub(crate) struct Http2Stream(TcpStream);

/// Result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamOutcome {
    /// Status 200, the service's response.
    Passed,
    /// Another status.
    Refused,
    /// The stream was reset or the connection closed, with or without this error code.
    Ended(Option<u32>),
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// `:status: 200` in the static table (RFC 7541, appendix A).
const STATUS_200: u8 = 0x88;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Returns the fields of an ordinary request.
pub(crate) fn get(path: &str) -> Vec<(String, String)> {
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", path),
    ];
    fields
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

// === impl Http2Stream ===

impl Http2Stream {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        let mut own = Self(stream);
        own.send(SETTINGS, 0, 0, &[]);
        own
    }

    /// Sends a request and returns its result.
    pub(crate) fn exchange(
        mut self,
        fields: &[(String, String)],
        data: Option<&[u8]>,
    ) -> StreamOutcome {
        self.send_request(fields, data);
        self.outcome()
    }

    pub(crate) fn send_request(&mut self, fields: &[(String, String)], data: Option<&[u8]>) {
        let mut block = Vec::new();
        for (name, value) in fields {
            // Literal without indexing, with a new name (RFC 7541, section 6.2.2).
            block.push(0);
            literal(&mut block, name.as_bytes());
            literal(&mut block, value.as_bytes());
        }
        self.send(
            HEADERS,
            END_HEADERS | if data.is_none() { END_STREAM } else { 0 },
            1,
            &block,
        );
        if let Some(data) = data {
            self.send(DATA, END_STREAM, 1, data);
        }
    }

    /// Reads the head of the response, or the end of the stream.
    pub(crate) fn outcome(&mut self) -> StreamOutcome {
        loop {
            let Some((kind, _, stream, payload)) = self.receive() else {
                return StreamOutcome::Ended(None);
            };
            match (kind, stream) {
                (HEADERS, 1) if payload.first() == Some(&STATUS_200) => {
                    return StreamOutcome::Passed;
                }
                (HEADERS, 1) => return StreamOutcome::Refused,
                (RST_STREAM, 1) => return StreamOutcome::Ended(Some(error(&payload[..4]))),
                (GOAWAY, 0) => return StreamOutcome::Ended(Some(error(&payload[4..8]))),
                _ => {}
            }
        }
    }

    /// Reads the rest of the response behind its head.
    pub(crate) fn end(&mut self) -> StreamOutcome {
        loop {
            match self.receive() {
                None => return StreamOutcome::Ended(None),
                Some((DATA, flags, 1, _)) if flags & END_STREAM != 0 => {
                    return StreamOutcome::Passed;
                }
                Some((RST_STREAM, _, 1, payload)) => {
                    return StreamOutcome::Ended(Some(error(&payload[..4])));
                }
                Some(_) => {}
            }
        }
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        // The peer may have closed the connection; the next read reports that.
        drop(self.0.write_all(&frame));
    }

    fn receive(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let mut payload =
            vec![0; usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap()];
        self.0.read_exact(&mut payload).ok()?;
        Some((
            head[3],
            head[4],
            u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        ))
    }
}

// === impl StreamOutcome ===

impl StreamOutcome {
    pub(crate) const fn is_refusal(self) -> bool {
        !matches!(self, Self::Passed)
    }
}

fn error(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

/// Appends a string literal without Huffman code: length in a 7-bit prefix (RFC 7541, section 5.1),
/// then the bytes.
fn literal(block: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = bytes.len();
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        block.push(u8::try_from(length).unwrap());
    }
    block.extend(bytes);
}
