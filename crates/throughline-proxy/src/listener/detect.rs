//! Waiting for the first bytes of a connection until they identify its protocol.
//!
//! On redirected connections the bytes are peeked at and stay in the socket, because they may have
//! to pass unread. On HTTP listeners they are read ahead.

use std::future::pending;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncReadExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use crate::listener::protocol::{
    DetectedProtocol, MAX_DETECTION_BYTES, SERVER_GREETING_BYTES, is_server_first,
};

/// Time from the first byte after which ambiguous bytes count as an unknown protocol.
const PEEK_TIMEOUT: Duration = Duration::from_millis(100);

/// Time between two peeks.
const PEEK_INTERVAL: Duration = Duration::from_millis(2);

/// Room for the bytes that are read ahead on an HTTP listener: most request heads fit.
const READ_AHEAD_BYTES: usize = 4 << 10;

/// Waits for the client's first bytes and detects their protocol. The bytes stay in the socket.
pub(crate) async fn detect_client(stream: &TcpStream) -> io::Result<DetectedProtocol> {
    let detected = peek_until(
        stream,
        &mut [0; MAX_DETECTION_BYTES],
        DetectedProtocol::of_any,
    )
    .await?;
    Ok(detected.unwrap_or(DetectedProtocol::Unknown))
}

/// Waits until the server sends bytes of a protocol in which servers speak first, or closes.
pub(crate) async fn wait_for_server_first(server: &TcpStream) -> io::Result<()> {
    let is_first = peek_until(server, &mut [0; SERVER_GREETING_BYTES], is_server_first).await?;
    if is_first == Some(false) {
        pending().await
    } else {
        Ok(())
    }
}

/// Returns whether the socket holds bytes that have not been read.
pub(crate) fn has_unread_bytes(stream: &TcpStream) -> bool {
    recv(stream, &mut [0; 1], RecvFlags::PEEK).is_ok_and(|(count, _)| count > 0)
}

/// Reads until the HTTP version is known, and returns it with the bytes that were read.
pub(crate) async fn read_http_version<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> io::Result<(DetectedProtocol, Bytes)> {
    let mut prefix = BytesMut::with_capacity(READ_AHEAD_BYTES);
    loop {
        let count = stream.read_buf(&mut prefix).await?;
        // The bytes cannot be unread; the caller replays them before the stream.
        match DetectedProtocol::of_http(&prefix) {
            Some(protocol) => return Ok((protocol, prefix.freeze())),
            None if count == 0 => return Ok((DetectedProtocol::Http1, prefix.freeze())),
            None => {}
        }
    }
}

/// Reads the client's first bytes into `prefix` until they identify the protocol. Cancelling it
/// loses no bytes.
pub(crate) async fn read_protocol<S: AsyncRead + Unpin>(
    stream: &mut S,
    prefix: &mut BytesMut,
) -> io::Result<DetectedProtocol> {
    // The time counts from the first byte: before it a client may be silent for any time.
    let mut count = stream.read_buf(prefix).await?;
    let deadline = Instant::now() + PEEK_TIMEOUT;
    while count > 0 && prefix.len() < MAX_DETECTION_BYTES {
        if let Some(protocol) = DetectedProtocol::of_any(prefix) {
            return Ok(protocol);
        }
        match timeout_at(deadline, stream.read_buf(prefix)).await {
            Ok(read) => count = read?,
            Err(_) => break,
        }
    }
    Ok(DetectedProtocol::of_any(prefix).unwrap_or(DetectedProtocol::Unknown))
}

/// Peeks until `classify` decides, the stream ends or the time is up; `None` if undecided.
async fn peek_until<T>(
    stream: &TcpStream,
    buffer: &mut [u8],
    classify: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    let mut first_byte_at = None;
    loop {
        // A stream with peeked bytes stays ready, so waiting for more of them means polling.
        if first_byte_at.is_none() {
            stream.readable().await?;
        }
        let count = match recv(stream, &mut *buffer, RecvFlags::PEEK) {
            Ok((count, _)) => count,
            Err(Errno::AGAIN) => {
                // Readiness was a false positive: clears it, so that `readable` waits again.
                stream
                    .try_io(Interest::READABLE, || {
                        Err::<(), _>(io::ErrorKind::WouldBlock.into())
                    })
                    .unwrap_or_default();
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        // An end of stream counts as well: no more bytes can decide.
        let classified = buffer.get(..count).and_then(&classify);
        let waited = first_byte_at.get_or_insert_with(Instant::now).elapsed();
        if classified.is_some() || count == 0 || waited >= PEEK_TIMEOUT {
            return Ok(classified);
        }
        sleep(PEEK_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        client.set_nodelay(true).unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn http2_settings_are_not_the_bytes_of_a_server_first_protocol() {
        for (sent, is_first) in [
            (&b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"[..], false),
            (b"\0\0\0\x04\0\0\0\0\0", false),
            (b"220 hello\r\n", true),
            (b"\x4a\0\0\0\x0a8.0", true),
            (b"\0\0\x06\x05", true),
            (b"\0", true),
            (b"", true),
        ] {
            let (client, mut server) = pair().await;
            server.write_all(sent).await.unwrap();
            let held = (!sent.is_empty()).then_some(server);
            let result =
                tokio::time::timeout(4 * PEEK_TIMEOUT, wait_for_server_first(&client)).await;
            assert_eq!(result.is_ok(), is_first, "{}", sent.escape_ascii());
            drop(held);
        }
    }

    #[tokio::test]
    async fn bytes_that_arrive_one_by_one_are_awaited_and_stay_in_the_socket() {
        let (mut client, mut stream) = pair().await;
        let head = b"GET / HTTP/1.1\r\n\r\n";
        let (detected, ()) = tokio::join!(detect_client(&stream), async {
            for byte in head {
                client.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(detected.unwrap(), DetectedProtocol::Http1);
        let mut read = vec![0; head.len()];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(read, head);
        drop(client);
        assert_eq!(
            detect_client(&stream).await.unwrap(),
            DetectedProtocol::Unknown,
            "the stream has ended"
        );
    }

    /// With and without an end of stream, and also when a known protocol could begin like this.
    #[tokio::test]
    async fn ambiguous_bytes_are_not_awaited_for_long_and_stay_readable() {
        for (sent, ends) in [
            (&b"GE"[..], true),
            (b"\0", true),
            (b"PING", false),
            (b"\0\x01\0\0\0\x06\0\x03\0\0\0\x0a", false),
        ] {
            let (mut client, mut stream) = pair().await;
            client.write_all(sent).await.unwrap();
            let held = (!ends).then_some(client);
            let detected = tokio::time::timeout(10 * PEEK_TIMEOUT, detect_client(&stream))
                .await
                .expect("detection times out");
            assert_eq!(detected.unwrap(), DetectedProtocol::Unknown);
            let mut read = vec![0; sent.len()];
            let all = tokio::time::timeout(10 * PEEK_TIMEOUT, stream.read_exact(&mut read)).await;
            assert!(all.is_ok() && read == sent, "{}", sent.escape_ascii());
            drop(held);
        }
    }

    #[tokio::test]
    async fn http_prefix_is_returned_with_its_version() {
        for (sent, protocol) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], DetectedProtocol::Http1),
            (b"PRI", DetectedProtocol::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", DetectedProtocol::Http2),
        ] {
            let (mut ours, mut theirs) = tokio::io::duplex(64);
            theirs.write_all(sent).await.unwrap();
            drop(theirs);
            let (detected, prefix) = read_http_version(&mut ours).await.unwrap();
            assert_eq!((detected, &*prefix), (protocol, sent));
        }
    }
}
