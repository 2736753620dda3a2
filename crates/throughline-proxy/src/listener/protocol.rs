//! What a connection speaks, as far as the first bytes of its client tell. They are looked at and stay where they are.
//!
//! A guess errs on the side of the traffic: what is taken for Kafka and is not passes through its session as it came, and what is
//! taken for nothing known passes as bytes.

use std::future::pending;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

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

/// Waits for the first bytes, and then for a moment for as many as it takes to tell.
pub(crate) async fn detect(stream: &TcpStream) -> io::Result<Detected> {
    first_bytes(stream, &mut [0; ROOM], Detected::of)
        .await
        .map(|detected| detected.unwrap_or(Detected::Other))
}

/// Ends when a server speaks, or ends, before its client has said a word. What HTTP/2 begins with on both sides is no word of that kind:
/// gRPC's servers send their settings at once.
pub(crate) async fn speaks_first(server: &TcpStream) -> io::Result<()> {
    let is_first = first_bytes(server, &mut [0; SETTINGS.len()], is_first_word).await?;
    if is_first == Some(false) {
        pending().await
    } else {
        Ok(())
    }
}

/// Whether something has been said that nobody has read.
pub(crate) fn has_spoken(stream: &TcpStream) -> bool {
    recv(stream, &mut [0; 1], RecvFlags::PEEK).is_ok_and(|(count, _)| count > 0)
}

/// What the first bytes tell; nothing if they do not tell it soon, or the end comes first. The stream stays ready to be read: bytes that
/// are only looked at do not come again, so that waiting for more of them is looking again.
async fn first_bytes<T>(
    stream: &TcpStream,
    bytes: &mut [u8],
    tell: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    let mut since = None;
    loop {
        if since.is_none() {
            stream.readable().await?;
        }
        let count = match recv(stream, &mut *bytes, RecvFlags::PEEK) {
            Ok((count, _)) => count,
            // It only seemed to be readable: that is forgotten.
            Err(Errno::AGAIN) => {
                stream
                    .try_io(Interest::READABLE, || {
                        Err::<(), _>(io::ErrorKind::WouldBlock.into())
                    })
                    .unwrap_or_default();
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let told = bytes.get(..count).and_then(&tell);
        let is_late = since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE;
        if told.is_some() || count == 0 || is_late {
            return Ok(told);
        }
        sleep(PAUSE).await;
    }
}

/// Whether a server has said more than what HTTP/2 begins with; [`None`] while it may be that.
fn is_first_word(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [] => None,
        [_, _, _, rest @ ..] if SETTINGS.get(3..) == Some(rest) => Some(false),
        [_, _, _, rest @ ..]
            if SETTINGS
                .get(3..)
                .is_some_and(|frame| frame.starts_with(rest)) =>
        {
            None
        }
        [0] | [0, 0] => None,
        _ => Some(true),
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

/// Many protocols begin with a word in capitals and a space (`EHLO here`, `SET key`, RTSP's `OPTIONS *`), so more is asked for than on a
/// port that is for HTTP: the whole request line, or of a very long one the beginning. CONNECT is none: that tunnel is somebody else's.
fn http1(bytes: &[u8]) -> Option<Detected> {
    let method = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-')
        .count();
    let (method, target) = match (bytes.get(..method), bytes.get(method..)) {
        (Some(_), Some([])) if method <= METHOD_MAX => return None,
        (Some(method), Some([b' ', target @ ..])) if (1..=METHOD_MAX).contains(&method.len()) => {
            (method, target)
        }
        _ => return Some(Detected::Other),
    };
    let is_request = match bytes.split_inclusive(|byte| *byte == b'\n').next() {
        Some(line) if line.ends_with(b"\n") => {
            let line = line.trim_ascii_end();
            line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")
        }
        _ if bytes.len() < ROOM => return None,
        _ => {
            METHODS.contains(&method)
                && (target.starts_with(b"/") || target.starts_with(b"http://"))
        }
    };
    Some(if is_request && method != b"CONNECT" {
        Detected::Http1
    } else {
        Detected::Other
    })
}

/// Size, API key, version, correlation id and client id, which is text: as every request of every version begins (`RequestHeader`,
/// versions 1 and 2). Other protocols that begin with a length do not have all of it.
fn kafka(bytes: &[u8]) -> Option<Detected> {
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let size = i32::from_be_bytes(*size);
    let (api, rest) = rest.split_first_chunk::<2>()?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let (api, version) = (i16::from_be_bytes(*api), i16::from_be_bytes(*version));
    let first_version = match api {
        // Nothing older is traced, nor spoken by anybody any more (KIP-896).
        PRODUCE => 3,
        FETCH => 4,
        _ => 0,
    };
    if size < HEAD
        || !(0..=API_MAX).contains(&api)
        || !(first_version..=VERSION_MAX).contains(&version)
    {
        return Some(Detected::Other);
    }
    let (_correlation, rest) = rest.split_first_chunk::<4>()?;
    let (client, rest) = rest.split_first_chunk::<2>()?;
    let client = i16::from_be_bytes(*client);
    if !(-1..=CLIENT_MAX).contains(&client) || i32::from(client) > size - HEAD {
        return Some(Detected::Other);
    }
    let client = rest.get(..usize::try_from(client).unwrap_or_default())?;
    let is_text =
        std::str::from_utf8(client).is_ok_and(|client| !client.chars().any(char::is_control));
    Some(if is_text {
        Detected::Kafka
    } else {
        Detected::Other
    })
}

/// As HTTP/2 begins (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The head of the first frame of HTTP/2 (RFC 9113, sections 4.1 and 6.5), behind its length: SETTINGS, no flags, no stream.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// The first byte of a TLS record that holds a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 0x16;
/// What a request has at least, without its size.
const HEAD: i32 = 10;
/// Beyond all keys and versions of today, so that clients of tomorrow are known for what they are.
const API_MAX: i16 = 255;
const VERSION_MAX: i16 = 31;
const METHODS: [&[u8]; 8] = [
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE",
];
/// The longest method that is registered has 17 letters.
const METHOD_MAX: usize = 24;
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
/// Client ids are names.
const CLIENT_MAX: i16 = 1024;
/// A request line that is longer is not waited for.
const ROOM: usize = 2048;
/// Whoever has said something has said enough after so long, or is none of those that are known.
const PATIENCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn the_first_bytes_tell_what_is_spoken() {
        let api_versions = b"\0\0\0\x24\0\x12\0\x03\0\0\0\x01\0\x07rdkafka\0";
        let postgres = b"\0\0\0\x08\x04\xd2\x16\x2f";
        let zookeeper = b"\0\0\0\x2c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x75\x30\0\0\0\0\0\0\0\0\0\0\0\x10";
        let gearman = b"\0REQ\0\0\0\x07\0\0\0\x12reverse\0job\0workload";
        for (bytes, detected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(Detected::Http1)),
            (b"GET / HTTP/1.0\n", Some(Detected::Http1)),
            (b"POST http://a/ HTTP/1.1\r\n", Some(Detected::Http1)),
            (b"OPTIONS * HTTP/1.1\r\n", Some(Detected::Http1)),
            (b"PROPFIND /a HTTP/1.1\r\n", Some(Detected::Http1)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Detected::Http2)),
            (b"PRI * HTTP", None),
            (b"GET", None),
            (b"GET / HTTP/1.1", None),
            (b"CONNECT a:1 HTTP/1.1\r\n", Some(Detected::Other)),
            (b"GET key\r\n", Some(Detected::Other)),
            (b"OPTIONS * RTSP/1.0\r\n", Some(Detected::Other)),
            (b"EHLO here\r\n", Some(Detected::Other)),
            (b"CWD /home\r\n", Some(Detected::Other)),
            (b"SSH-2.0-x", Some(Detected::Other)),
            (b"*1\r\n$4\r\nPING\r\n", Some(Detected::Other)),
            (b"\x16\x03\x01", Some(Detected::Tls)),
            (api_versions, Some(Detected::Kafka)),
            (&api_versions[..13], None),
            (b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff", Some(Detected::Kafka)),
            (b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\0\x01", Some(Detected::Other)),
            (postgres, Some(Detected::Other)),
            (b"\0\0\0\x6e\0\x03\0\0user\0alice\0database\0shop\0client_encoding\0UTF8\0DateStyle\0ISO\0TimeZone\0Europe/Berlin\0extra_float_digits\0\x32\0\0", Some(Detected::Other)),
            (zookeeper, Some(Detected::Other)),
            (gearman, Some(Detected::Other)),
            (b"\0\x1d\xab\xcd\0\0\0\x01\0\0\0\0\0\0\x01a\0", Some(Detected::Other)),
            (b"\0\x01\0\0\0\x06\0\x03\0\0\0\x0a", None),
            (b"\0\0\0\x01", None),
        ] {
            assert_eq!(Detected::of(bytes), detected, "{}", bytes.escape_ascii());
        }
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        client.set_nodelay(true).unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_server_s_settings_are_no_first_word_and_everything_else_is() {
        for (words, is_first) in [
            (&b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"[..], false),
            (b"\0\0\0\x04\0\0\0\0\0", false),
            (b"220 hello\r\n", true),
            (b"\x4a\0\0\0\x0a8.0", true),
            (b"\0\0\x06\x05", true),
            (b"\0", true),
            (b"", true),
        ] {
            let (client, mut server) = pair().await;
            server.write_all(words).await.unwrap();
            let held = (!words.is_empty()).then_some(server);
            let spoke = tokio::time::timeout(4 * PATIENCE, speaks_first(&client)).await;
            assert_eq!(spoke.is_ok(), is_first, "{}", words.escape_ascii());
            drop(held);
        }
    }

    #[tokio::test]
    async fn bytes_that_come_one_by_one_are_waited_for_and_stay_where_they_are() {
        let (mut client, mut stream) = pair().await;
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
        assert_eq!(
            detect(&stream).await.unwrap(),
            Detected::Other,
            "nothing comes any more"
        );
    }

    /// With an end behind them or not, and though they could be the beginning of what is known.
    #[tokio::test]
    async fn bytes_that_tell_nothing_are_not_waited_behind_and_can_be_read() {
        for (words, ends) in [
            (&b"GE"[..], true),
            (b"\0", true),
            (b"PING", false),
            (b"\0\x01\0\0\0\x06\0\x03\0\0\0\x0a", false),
        ] {
            let (mut client, mut stream) = pair().await;
            client.write_all(words).await.unwrap();
            let held = (!ends).then_some(client);
            let detected = tokio::time::timeout(10 * PATIENCE, detect(&stream))
                .await
                .expect("not waited for");
            assert_eq!(detected.unwrap(), Detected::Other);
            let mut read = vec![0; words.len()];
            let all = tokio::time::timeout(10 * PATIENCE, stream.read_exact(&mut read)).await;
            assert!(all.is_ok() && read == words, "{}", words.escape_ascii());
            drop(held);
        }
    }
}
