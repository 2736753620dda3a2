//! What a connection speaks, as far as the first bytes of its client tell. They are looked at and stay where they are.
//!
//! A guess errs on the side of the traffic: what is taken for Kafka and is not passes through its session as it came, and what is
//! taken for nothing known passes as bytes.

use std::future::pending;
use std::io;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::http::PREFACE;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Detected {
    Http1,
    Http2,
    Kafka,
    Tls,
    /// Nothing that is known, or nothing at all.
    Other,
}

/// Waits for as many of the first bytes as it takes to tell.
pub(crate) async fn detect(stream: &TcpStream) -> io::Result<Detected> {
    let (mut seen, mut bytes) = (0, [0; ROOM]);
    loop {
        // What has been seen is not news: only more of it is, or the end.
        let count = stream.async_io(Interest::READABLE, || more_than(seen, stream, &mut bytes)).await?;
        match bytes.get(..count) {
            Some([]) | None => return Ok(Detected::Other),
            Some(bytes) => match Detected::of(bytes) {
                Some(detected) => return Ok(detected),
                None => seen = count,
            },
        }
    }
}

/// Ends when a server speaks, or ends, before its client has said a word. What HTTP/2 begins with on both sides is no word of that kind:
/// gRPC's servers send their settings at once.
pub(crate) async fn speaks_first(server: &TcpStream) -> io::Result<()> {
    let (mut seen, mut bytes) = (0, [0; SETTINGS.len()]);
    loop {
        let count = server.async_io(Interest::READABLE, || more_than(seen, server, &mut bytes)).await?;
        match bytes.get(..count) {
            Some([_, _, _, rest @ ..]) if count == bytes.len() && SETTINGS.ends_with(rest) => return pending().await,
            Some([_, _, _, rest @ ..]) if SETTINGS.get(3..).is_some_and(|frame| frame.starts_with(rest)) => {
                seen = count;
            }
            Some([0] | [0, 0]) => seen = count,
            _ => return Ok(()),
        }
    }
}

fn more_than(seen: usize, stream: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    match recv(stream, bytes, RecvFlags::PEEK)?.0 {
        0 => Ok(0),
        count if count <= seen => Err(io::ErrorKind::WouldBlock.into()),
        count => Ok(count),
    }
}

// === impl Detected ===

impl Detected {
    /// What begins so; [`None`] while it could be of several.
    fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [HANDSHAKE, ..] => Some(Self::Tls),
            // Requests to Kafka are shorter than 16 MiB when they are a connection's first.
            [0, ..] => kafka(bytes),
            _ if bytes.starts_with(PREFACE) => Some(Self::Http2),
            _ if PREFACE.starts_with(bytes) => None,
            _ => http1(bytes),
        }
    }

    /// As it stands in metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Kafka => "kafka",
            Self::Tls => "tls",
            Self::Other => "other",
        }
    }
}

/// Many protocols begin with a word in capitals and a space (`EHLO here`, `SET key`), so more is asked for than on a port that is for HTTP:
/// a method that everybody knows with the path of a URL, or a whole request line. CONNECT is none: that tunnel is somebody else's.
fn http1(bytes: &[u8]) -> Option<Detected> {
    let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-').count();
    let (method, target) = match (bytes.get(..method), bytes.get(method..)) {
        (Some(_), Some([])) if method <= METHOD_MAX => return None,
        (Some(method), Some([b' ', target @ ..])) if (1..=METHOD_MAX).contains(&method.len()) => (method, target),
        _ => return Some(Detected::Other),
    };
    if METHODS.contains(&method) {
        return match target {
            [b'/' | b'*', ..] => Some(Detected::Http1),
            _ if target.starts_with(ABSOLUTE) => Some(Detected::Http1),
            _ if ABSOLUTE.starts_with(target) => None,
            _ => Some(Detected::Other),
        };
    }
    let Some(line) = bytes.split_inclusive(|byte| *byte == b'\n').next().filter(|line| line.ends_with(b"\n")) else {
        return (bytes.len() >= ROOM).then_some(Detected::Other);
    };
    let line = line.trim_ascii_end();
    let is_request = method != b"CONNECT" && (line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0"));
    Some(if is_request { Detected::Http1 } else { Detected::Other })
}

/// Size, API key, version, correlation id and the length of the client id: as every request of every version begins
/// (`RequestHeader`, versions 1 and 2).
fn kafka(bytes: &[u8]) -> Option<Detected> {
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let size = i32::from_be_bytes(*size);
    let (api, rest) = rest.split_first_chunk::<2>()?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let (api, version) = (i16::from_be_bytes(*api), i16::from_be_bytes(*version));
    if size < HEAD || !(0..=API_MAX).contains(&api) || !(0..=VERSION_MAX).contains(&version) {
        return Some(Detected::Other);
    }
    let (_correlation, rest) = rest.split_first_chunk::<4>()?;
    let (client, _) = rest.split_first_chunk::<2>()?;
    let client = i32::from(i16::from_be_bytes(*client));
    Some(if (-1..=size - HEAD).contains(&client) { Detected::Kafka } else { Detected::Other })
}

/// The head of the first frame of HTTP/2 (RFC 9113, sections 4.1 and 6.5), behind its length: SETTINGS, no flags, no stream.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// The first byte of a TLS record that holds a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 0x16;
/// What a request has at least, without its size.
const HEAD: i32 = 10;
/// Beyond all keys and versions of today, so that clients of tomorrow are known for what they are.
const API_MAX: i16 = 255;
const VERSION_MAX: i16 = 31;
const METHODS: [&[u8]; 8] = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"];
/// The longest method that is registered has 17 letters.
const METHOD_MAX: usize = 24;
/// As a target begins for a proxy.
const ABSOLUTE: &[u8] = b"http://";
/// A request line that is longer is not waited for.
const ROOM: usize = 2048;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn the_first_bytes_tell_what_is_spoken() {
        let api_versions = b"\0\0\0\x24\0\x12\0\x03\0\0\0\x01\0\x07rdkafka\0";
        let postgres = b"\0\0\0\x08\x04\xd2\x16\x2f";
        for (bytes, detected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(Detected::Http1)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Detected::Http2)),
            (b"CONNECT a:1 HTTP/1.1\r\n", Some(Detected::Other)),
            (b"CONN", None),
            (b"GET", None),
            (b"GET ", None),
            (b"GET htt", None),
            (b"POST http://a/", Some(Detected::Http1)),
            (b"OPTIONS * HTTP/1.1", Some(Detected::Http1)),
            (b"GET key\r\n", Some(Detected::Other)),
            (b"PROPFIND /a", None),
            (b"PROPFIND /a HTTP/1.1\r\n", Some(Detected::Http1)),
            (b"EHLO here\r\n", Some(Detected::Other)),
            (b"CWD /home\r\n", Some(Detected::Other)),
            (b"PRI * HTTP", None),
            (b"\x16\x03\x01", Some(Detected::Tls)),
            (api_versions, Some(Detected::Kafka)),
            (&api_versions[..13], None),
            (b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff", Some(Detected::Kafka)),
            (b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\0\x01", Some(Detected::Other)),
            (postgres, Some(Detected::Other)),
            (b"\0\0\0\x01", None),
            (b"SSH-2.0-x", Some(Detected::Other)),
            (b"*1\r\n$4\r\nPING\r\n", Some(Detected::Other)),
        ] {
            assert_eq!(Detected::of(bytes), detected, "{}", bytes.escape_ascii());
        }
    }

    #[tokio::test]
    async fn a_server_s_settings_are_no_first_word_and_everything_else_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (words, is_first) in [
            (&b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"[..], false),
            (b"\0\0\0\x04\0\0\0\0\0", false),
            (b"220 hello\r\n", true),
            (b"\x4a\0\0\0\x0a8.0", true),
            (b"\0\0\x06\x05", true),
            (b"", true),
        ] {
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            server.write_all(words).await.unwrap();
            let held = (!words.is_empty()).then_some(server);
            let spoke = tokio::time::timeout(std::time::Duration::from_millis(100), speaks_first(&client)).await;
            assert_eq!(spoke.is_ok(), is_first, "{}", words.escape_ascii());
            drop(held);
        }
    }

    #[tokio::test]
    async fn bytes_that_come_one_by_one_are_waited_for_and_stay_where_they_are() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = b"GET / HTTP/1.1\r\n\r\n";
        let (detected, ()) = tokio::join!(detect(&stream), async {
            for byte in head {
                client.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(detected.unwrap(), Detected::Http1);
        let mut read = vec![0; head.len()];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(read, head);
        drop(client);
        assert_eq!(detect(&stream).await.unwrap(), Detected::Other, "nothing comes any more");
    }
}
