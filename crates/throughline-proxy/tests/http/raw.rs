//! Request smuggling: malformed requests, byte by byte. None reaches the service as two requests.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fixture::{HttpFixture, inbound};
use crate::support::listen;

/// Starts a service that responds to anything, and records the bytes that it received.
async fn recording_service() -> (std::net::SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let (listener, address) = listen().await;
    let received: Arc<Mutex<Vec<u8>>> = Arc::default();
    let record = Arc::clone(&received);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let record = Arc::clone(&record);
            tokio::spawn(async move { record_all(&mut stream, &record).await });
        }
    });
    (address, received)
}

async fn record_all(stream: &mut TcpStream, record: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        record.lock().unwrap().extend_from_slice(&buffer[..count]);
        drop(
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await,
        );
    }
}

#[tokio::test]
async fn ambiguous_requests_are_rejected() {
    let (address, received) = recording_service().await;
    let fixture = HttpFixture::start(inbound(address)).await;
    for (name, bytes) in [
        (
            "two lengths",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nabcde",
        ),
        (
            "a list of lengths",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 5\r\n\r\nabcde",
        ),
        (
            "a signed length",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc",
        ),
        (
            "a length that is not a number",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x3\r\n\r\nabc",
        ),
        (
            "an encoding that is not the last",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        ),
        (
            "an unknown encoding",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "an encoding in 1.0",
            "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "a folded line",
            "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\r\n c\r\n\r\n",
        ),
        (
            "a space before the colon",
            "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n",
        ),
        (
            "a space before the first field",
            "GET / HTTP/1.1\r\n host: a\r\n\r\n",
        ),
        (
            "a null byte",
            "GET / HTTP/1.1\r\nhost: a\r\nx-a: b\0c\r\n\r\n",
        ),
        ("a lone return", "GET / HTTP/1.1\r\nhost: a\rx-a: b\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("an unknown version", "GET / HTTP/1.9\r\nhost: a\r\n\r\n"),
        (
            "a space in the target",
            "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
    ] {
        let bytes = bytes.replacen("host: a\r\n", "host: a\r\nconnection: close\r\n", 1);
        let response = fixture.raw(&bytes).await;
        assert!(
            response.starts_with("HTTP/1.1 400 ") || response.starts_with("HTTP/1.0 400 "),
            "{name}: {response:?}"
        );
        assert_eq!(
            response.matches("HTTP/1.").count(),
            1,
            "{name}: {response:?}"
        );
    }
    assert_eq!(String::from_utf8_lossy(&received.lock().unwrap()), "");
}

/// The length is removed, and the connection closes after the request (RFC 9112, section 6.1).
#[tokio::test]
async fn chunks_take_precedence_over_a_length_and_end_the_connection() {
    for fields in [
        "content-length: 6\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 6",
    ] {
        let (address, received) = recording_service().await;
        let fixture = HttpFixture::start(inbound(address)).await;
        let response = fixture
            .raw(format!(
                "POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n0\r\n\r\n\
                 GET /admin HTTP/1.1\r\nhost: a\r\n\r\n"
            ))
            .await;
        assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{response:?}");
        let received = String::from_utf8(received.lock().unwrap().clone()).unwrap();
        assert!(
            !received.contains("content-length: 6") && !received.contains("/admin"),
            "{received:?}"
        );
    }
}

#[tokio::test]
async fn invalid_chunks_never_complete_a_request() {
    for chunks in [
        "x\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "-1\r\n",
        "ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "3 \n\nabc",
    ] {
        let (address, received) = recording_service().await;
        let fixture = HttpFixture::start(inbound(address)).await;
        let response = fixture
            .raw(format!(
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"
            ))
            .await;
        assert!(
            response.matches("HTTP/1.1 ").count() <= 1,
            "{chunks:?}: {response:?}"
        );
        let received = String::from_utf8_lossy(&received.lock().unwrap()).into_owned();
        assert!(!received.ends_with("0\r\n\r\n"), "{chunks:?}: {received:?}");
    }
}

#[tokio::test]
async fn bytes_that_are_not_http_get_400_and_a_close() {
    let (address, received) = recording_service().await;
    let fixture = HttpFixture::start(inbound(address)).await;
    for bytes in [
        &b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 hello there\r\n\r\n"[..],
        b"\0\0\0\x10hello there\r\n\r\n",
        b"hello\r\n\r\n",
    ] {
        let response = fixture.raw(bytes).await;
        assert!(
            response.is_empty() || response.starts_with("HTTP/1.1 400 "),
            "{response:?}"
        );
    }
    assert!(received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn upgrade_to_h2c_is_not_forwarded() {
    let (address, received) = recording_service().await;
    let fixture = HttpFixture::start(inbound(address)).await;
    let response = fixture
        .raw(
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, HTTP2-Settings, close\r\n\
              upgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n",
        )
        .await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    let received = String::from_utf8(received.lock().unwrap().clone()).unwrap();
    assert!(
        !received.contains("h2c") && !received.contains("http2-settings"),
        "{received}"
    );
}
