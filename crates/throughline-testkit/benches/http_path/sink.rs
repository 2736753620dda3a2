//! A collector that counts spans and stores nothing.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

/// Accepts OTLP over HTTP in protobuf.
pub(crate) struct CountingCollector {
    address: SocketAddr,
    spans: Arc<AtomicU64>,
}

// === impl CountingCollector ===

impl CountingCollector {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, spans) = (listener.local_addr()?, Arc::<AtomicU64>::default());
        let count = Arc::clone(&spans);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let count = Arc::clone(&count);
                std::thread::spawn(move || serve(stream, &count).unwrap_or_default());
            }
        });
        Ok(Self { address, spans })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of spans so far.
    pub(crate) fn spans(&self) -> u64 {
        self.spans.load(Ordering::SeqCst)
    }
}

/// Responds with 200 to every request of a connection.
fn serve(stream: TcpStream, count: &AtomicU64) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut body = Vec::new();
    loop {
        let (mut line, mut length, mut chunked) = (String::new(), 0, false);
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let lower = line.to_ascii_lowercase();
            length = lower
                .strip_prefix("content-length:")
                .and_then(|value| value.trim().parse().ok())
                .unwrap_or(length);
            chunked |= lower.starts_with("transfer-encoding: chunked");
        }
        body.clear();
        if chunked {
            read_chunks(&mut stream, &mut body)?;
        } else {
            stream.by_ref().take(length).read_to_end(&mut body)?;
        }
        count.fetch_add(spans_of(&body), Ordering::SeqCst);
        let answer =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        stream.get_mut().write_all(answer)?;
    }
}

fn read_chunks(stream: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        stream.by_ref().take(size).read_to_end(body)?;
        // Each chunk, the last included, ends with CRLF.
        stream.read_line(&mut line)?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// Counts spans: `resource_spans` (1) contain `scope_spans` (2), which contain `spans` (2).
fn spans_of(request: &[u8]) -> u64 {
    let spans = |scope: &&[u8]| u64::try_from(messages(scope, 2).len()).unwrap_or_default();
    messages(request, 1)
        .iter()
        .flat_map(|resource| messages(resource, 2))
        .map(|scope| spans(&scope))
        .sum()
}

/// Returns the length-delimited fields with this number of a protobuf message; stops at invalid
/// data.
fn messages(mut bytes: &[u8], number: u64) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some(key) = varint(&mut bytes) {
        let length = match key & 7 {
            0 => varint(&mut bytes).map(|_| 0),
            1 => Some(8),
            2 => varint(&mut bytes).and_then(|length| usize::try_from(length).ok()),
            5 => Some(4),
            _ => None,
        };
        let Some((field, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else {
            break;
        };
        if key == number << 3 | 2 {
            found.push(field);
        }
        bytes = rest;
    }
    found
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
