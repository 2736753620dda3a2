//! Requests that are made to be read in two ways, by hand: none comes to the service as two, and most not at all.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::side::{Side, inbound};
use crate::support::listen;

/// A service that answers whatever comes, and keeps it.
async fn keeper() -> (std::net::SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let (listener, address) = listen().await;
    let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
    let keep = Arc::clone(&kept);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let keep = Arc::clone(&keep);
            tokio::spawn(async move { keep_all(&mut stream, &keep).await });
        }
    });
    (address, kept)
}

async fn keep_all(stream: &mut TcpStream, keep: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        keep.lock().unwrap().extend_from_slice(&buffer[..count]);
        drop(
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await,
        );
    }
}

#[tokio::test]
async fn what_can_be_read_in_two_ways_is_refused() {
    let (address, kept) = keeper().await;
    let side = Side::start(inbound(address)).await;
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
            "a length that is none",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x3\r\n\r\nabc",
        ),
        (
            "an encoding that is not the last",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        ),
        (
            "an encoding that is none",
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
        (
            "a version that is none",
            "GET / HTTP/1.9\r\nhost: a\r\n\r\n",
        ),
        (
            "a space in the target",
            "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
    ] {
        let bytes = bytes.replacen("host: a\r\n", "host: a\r\nconnection: close\r\n", 1);
        let answer = side.raw(&bytes).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.0 400 "),
            "{name}: {answer:?}"
        );
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{name}: {answer:?}");
    }
    assert_eq!(String::from_utf8_lossy(&kept.lock().unwrap()), "");
}

/// Where chunks and a length are both given, the chunks hold, the length goes no further, and neither does what is behind
/// them: the connection is closed (RFC 9112, section 6.1).
#[tokio::test]
async fn of_chunks_and_a_length_only_the_chunks_go_on_and_nothing_behind_them() {
    for fields in [
        "content-length: 6\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 6",
    ] {
        let (address, kept) = keeper().await;
        let side = Side::start(inbound(address)).await;
        let answer = side
            .raw(format!(
                "POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nhost: a\r\n\r\n"
            ))
            .await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer:?}");
        let kept = String::from_utf8(kept.lock().unwrap().clone()).unwrap();
        assert!(
            !kept.contains("content-length: 6") && !kept.contains("/admin"),
            "{kept:?}"
        );
    }
}

#[tokio::test]
async fn bad_chunks_come_to_no_whole_request() {
    for chunks in [
        "x\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "-1\r\n",
        "ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "3 \n\nabc",
    ] {
        let (address, kept) = keeper().await;
        let side = Side::start(inbound(address)).await;
        let answer = side
            .raw(format!(
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"
            ))
            .await;
        assert!(
            answer.matches("HTTP/1.1 ").count() <= 1,
            "{chunks:?}: {answer:?}"
        );
        let kept = String::from_utf8_lossy(&kept.lock().unwrap()).into_owned();
        assert!(!kept.ends_with("0\r\n\r\n"), "{chunks:?}: {kept:?}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_told_so_and_closed() {
    let (address, kept) = keeper().await;
    let side = Side::start(inbound(address)).await;
    for bytes in [
        &b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 hello there\r\n\r\n"[..],
        b"\0\0\0\x10hello there\r\n\r\n",
        b"hello\r\n\r\n",
    ] {
        let answer = side.raw(bytes).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
            "{answer:?}"
        );
    }
    assert!(kept.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_upgrade_to_another_http_is_no_way_around() {
    let (address, kept) = keeper().await;
    let side = Side::start(inbound(address)).await;
    let answer = side
        .raw("GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, HTTP2-Settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let kept = String::from_utf8(kept.lock().unwrap().clone()).unwrap();
    assert!(
        !kept.contains("h2c") && !kept.contains("http2-settings"),
        "{kept}"
    );
}
