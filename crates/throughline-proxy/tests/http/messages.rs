//! Messages byte by byte: what a client gets from a server directly, and through the proxy.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::fixture::{HttpFixture, attribute_text, inbound};
use crate::support::{listen, within};

/// A server that sends prepared bytes when the request so far ends with the bytes before them.
#[derive(Clone)]
struct ScriptedServer {
    script: &'static [(&'static str, &'static [u8])],
    /// Whether the server closes after its last bytes.
    closes: bool,
}

/// A running scripted server, with what it has received.
struct Scripted {
    address: SocketAddr,
    received: Arc<Mutex<Vec<u8>>>,
}

// === impl ScriptedServer ===

impl ScriptedServer {
    async fn start(self) -> Scripted {
        let (listener, address) = listen().await;
        let received: Arc<Mutex<Vec<u8>>> = Arc::default();
        let record = Arc::clone(&received);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (server, record) = (self.clone(), Arc::clone(&record));
                tokio::spawn(async move { server.play(stream, &record).await });
            }
        });
        Scripted { address, received }
    }

    async fn play(&self, mut stream: TcpStream, record: &Mutex<Vec<u8>>) {
        let mut seen = Vec::new();
        for (end, response) in self.script {
            while !seen.ends_with(end.as_bytes()) {
                let mut buffer = [0; 4096];
                let count = stream.read(&mut buffer).await.unwrap_or(0);
                if count == 0 {
                    return;
                }
                seen.extend_from_slice(&buffer[..count]);
                record.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
            if stream.write_all(response).await.is_err() {
                return;
            }
        }
        if !self.closes {
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
            record.lock().unwrap().extend_from_slice(&rest);
        }
    }
}

impl Scripted {
    fn received(&self) -> String {
        String::from_utf8_lossy(&self.received.lock().unwrap()).into_owned()
    }
}

/// Sends bytes, and returns everything that comes back, with the error at its end if there is one.
async fn exchange(address: SocketAddr, request: &[u8]) -> (String, Option<std::io::ErrorKind>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut response = Vec::new();
    let read = within(stream.read_to_end(&mut response)).await;
    let error = read.err().map(|error| error.kind());
    (String::from_utf8_lossy(&response).into_owned(), error)
}

/// Returns the responses of a server that closes, directly and through the proxy.
async fn side_by_side(request: &[u8], response: &'static [u8]) -> (String, String) {
    let script: &'static [_] = vec![("\r\n\r\n", response)].leak();
    let server = ScriptedServer {
        script,
        closes: true,
    };
    let server = server.start().await;
    let fixture = HttpFixture::start(inbound(server.address)).await;
    let (direct, _) = exchange(server.address, request).await;
    let (through, _) = exchange(fixture.address(), request).await;
    (direct, through)
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn fields_and_reasons_pass_as_they_came() {
    for (response, expected) in [
        (
            &b"HTTP/1.1 200 Very Well\r\nContent-Length: 2\r\nX-CamelCase: a\r\nx-lower: b\r\n\
               ETag: c\r\n\r\nok"[..],
            &[
                "HTTP/1.1 200 Very Well\r\n",
                "Content-Length: 2\r\n",
                "X-CamelCase: a\r\n",
                "x-lower: b\r\n",
                "ETag: c\r\n",
            ][..],
        ),
        (
            b"HTTP/1.1 999 \r\ncontent-length: 2\r\nx-empty:\r\n\r\nok",
            &["HTTP/1.1 999 \r\n", "x-empty: \r\n"],
        ),
        (
            b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok",
            &["HTTP/1.1 200 \r\n"],
        ),
        (
            b"HTTP/1.1 200 OK\r\nx-a : one\r\nx-fold: a\r\n  b\r\ncontent-length: 2\r\n\r\nok",
            &["x-a: one\r\n", "x-fold: a b\r\n"],
        ),
    ] {
        let (direct, through) = side_by_side(GET, response).await;
        assert_eq!(direct.as_bytes(), response);
        for line in expected {
            assert!(through.contains(line), "{line:?}: {through:?}");
        }
        assert!(through.ends_with("\r\n\r\nok"), "{through:?}");
    }
}

#[tokio::test]
async fn beginning_of_a_response_that_breaks_off_is_forwarded() {
    for response in [
        &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    ] {
        let (direct, through) = side_by_side(GET, response).await;
        assert!(through.starts_with("HTTP/1.1 200 OK\r\n"), "{through:?}");
        let body = |message: &str| {
            message
                .split_once("\r\n\r\n")
                .map(|parts| parts.1.to_owned())
        };
        assert_eq!(body(&through), body(&direct));
    }
}

#[tokio::test]
async fn request_fields_keep_their_spelling() {
    let server = ScriptedServer {
        script: &[("\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n")],
        closes: true,
    };
    let server = server.start().await;
    let fixture = HttpFixture::start(inbound(server.address)).await;
    let cookie = "c".repeat(8 << 10);
    let request = format!(
        "GET /a\"{{x}}?q={{y}} HTTP/1.1\r\nHost: a\r\nX-CamelCase: 1\r\nx-lower: 2\r\nX-Empty:\r\n\
         Cookie: {cookie}\r\nX-CamelCase: 3\r\nConnection: close\r\n\r\n"
    );
    let (through, _) = exchange(fixture.address(), request.as_bytes()).await;
    assert!(
        through.starts_with("HTTP/1.1 204 No Content\r\n"),
        "{through}"
    );
    let received = server.received();
    for line in [
        "GET /a\"{x}?q={y} HTTP/1.1\r\n".to_owned(),
        "Host: a\r\n".to_owned(),
        "X-CamelCase: 1\r\n".to_owned(),
        "X-CamelCase: 3\r\n".to_owned(),
        "x-lower: 2\r\n".to_owned(),
        "X-Empty:\r\n".to_owned(),
        format!("Cookie: {cookie}\r\n"),
    ] {
        assert!(received.contains(&line), "{line:?}: {received:?}");
    }
}

#[tokio::test]
async fn chunks_hold_where_a_response_has_a_length_too() {
    for response in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
           6;x=y\r\nabcdef\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n\
          6\r\nabcdef\r\n0\r\n\r\n",
    ] {
        let (_, through) = side_by_side(GET, response).await;
        assert!(
            through.ends_with("\r\n6\r\nabcdef\r\n0\r\n\r\n"),
            "{through:?}"
        );
        assert!(
            !through.to_lowercase().contains("content-length"),
            "{through:?}"
        );
    }
    let equal = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok";
    let (_, through) = side_by_side(GET, equal).await;
    assert_eq!(
        through.matches("Content-Length: 2").count(),
        1,
        "{through:?}"
    );
    let differing = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok";
    let (_, through) = side_by_side(GET, differing).await;
    assert!(
        through.starts_with("HTTP/1.1 502 ") && through.contains("http_protocol_error"),
        "{through:?}"
    );
}

#[tokio::test]
async fn lengths_without_a_body_pass() {
    let head = b"HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let length = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n";
    let (_, through) = side_by_side(head, length).await;
    assert!(
        through.contains("Content-Length: 500\r\n") && through.ends_with("\r\n\r\n"),
        "{through:?}"
    );
    for status in ["204 No Content", "304 Not Modified"] {
        let response = format!("HTTP/1.1 {status}\r\nETag: x\r\n\r\n")
            .leak()
            .as_bytes();
        let (_, through) = side_by_side(GET, response).await;
        assert!(
            through.starts_with(&format!("HTTP/1.1 {status}\r\n")) && through.ends_with("\r\n\r\n"),
            "{through:?}"
        );
    }
}

/// Other codings than chunked stay on the body: they are between the two ends.
#[tokio::test]
async fn inner_transfer_codings_are_forwarded() {
    let response =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\n\x1f\x8b\r\n0\r\n\r\n";
    let (_, through) = side_by_side(GET, response).await;
    assert!(
        through.contains("transfer-encoding: gzip, chunked\r\n"),
        "{through:?}"
    );
    let old = b"GET / HTTP/1.0\r\nhost: a\r\n\r\n";
    let (_, through) = side_by_side(old, response).await;
    assert!(through.contains(" 502 "), "{through:?}");

    let server = ScriptedServer {
        script: &[("0\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n")],
        closes: true,
    };
    let server = server.start().await;
    let fixture = HttpFixture::start(inbound(server.address)).await;
    let request = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
        transfer-encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    exchange(fixture.address(), request).await;
    let received = server.received();
    assert!(
        received.contains("transfer-encoding: gzip, chunked\r\n"),
        "{received:?}"
    );
    let twice =
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n";
    let (through, _) = exchange(fixture.address(), twice).await;
    assert!(through.starts_with("HTTP/1.1 400 "), "{through:?}");
}

/// A client that does not ask for trailers gets neither them nor their announcement.
#[tokio::test]
async fn trailers_and_their_announcement_pass_together() {
    let response = b"HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
        2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n";
    let (_, through) = side_by_side(GET, response).await;
    assert!(
        !through.contains("trailer") && through.ends_with("2\r\nok\r\n0\r\n\r\n"),
        "{through:?}"
    );
    let asks = b"GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te, close\r\n\r\n";
    let (_, through) = side_by_side(asks, response).await;
    assert!(
        through.contains("trailer: x-sum\r\n") && through.ends_with("0\r\nx-sum: 7\r\n\r\n"),
        "{through:?}"
    );
}

#[tokio::test]
async fn interim_responses_pass() {
    let response =
        b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (direct, through) = side_by_side(GET, response).await;
    assert_eq!(direct.as_bytes(), response);
    assert!(
        through.starts_with(
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
             HTTP/1.1 200 OK\r\n"
        ) && through.ends_with("\r\n\r\nok"),
        "{through:?}"
    );
    // RFC 9110, section 15.2: none to a client of HTTP/1.0.
    let (_, through) = side_by_side(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n", response).await;
    assert!(through.starts_with("HTTP/1.0 200 OK\r\n"), "{through:?}");
}

/// An interim response that comes long before the final one is not held back.
#[tokio::test]
async fn interim_response_passes_before_the_final_one_exists() {
    let (listener, address) = listen().await;
    let (go_on, mut may_go_on) = mpsc::channel::<()>(1);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 10]).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            .await
            .unwrap();
        may_go_on.recv().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
        drop(stream.read_to_end(&mut Vec::new()).await);
    });
    let fixture = HttpFixture::start(inbound(address)).await;
    let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
    stream.write_all(GET).await.unwrap();
    let mut hints = vec![0; b"HTTP/1.1 103 Early Hints\r\n\r\n".len()];
    within(stream.read_exact(&mut hints)).await.unwrap();
    assert_eq!(hints, b"HTTP/1.1 103 Early Hints\r\n\r\n");
    go_on.send(()).await.unwrap();
    let mut rest = String::new();
    within(stream.read_to_string(&mut rest)).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{rest:?}");
}

const EXPECT: &[u8] =
    b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

/// The server decides: a client that waits for 100 sends nothing to one that refuses.
#[tokio::test]
async fn server_that_refuses_an_expectation_gets_no_body() {
    let server = ScriptedServer {
        script: &[(
            "\r\n\r\n",
            b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        )],
        closes: false,
    };
    let server = server.start().await;
    let fixture = HttpFixture::start(inbound(server.address)).await;
    for address in [server.address, fixture.address()] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(EXPECT).await.unwrap();
        let mut head = [0; 32];
        within(stream.read_exact(&mut head)).await.unwrap();
        assert!(
            head.starts_with(b"HTTP/1.1 401 Unauthorized\r\n"),
            "{}",
            head.escape_ascii()
        );
    }
    let received = server.received();
    assert_eq!(
        received.matches("Expect: 100-continue\r\n").count(),
        2,
        "{received:?}"
    );
    assert!(received.ends_with("\r\n\r\n"), "{received:?}");
}

#[tokio::test]
async fn continue_of_the_server_passes_once_and_when_it_comes() {
    // The second server sends its 100 only after the body, to a client that did not wait.
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for (script, waits) in [
        (&[("\r\n\r\n", CONTINUE), ("hello", OK)][..], true),
        (&[("hello", CONTINUE), ("hello", OK)][..], false),
        (&[("hello", OK)][..], false),
    ] {
        let server = ScriptedServer {
            script: script.to_vec().leak(),
            closes: true,
        };
        let server = server.start().await;
        let fixture = HttpFixture::start(inbound(server.address)).await;
        let mut responses = Vec::new();
        for address in [server.address, fixture.address()] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(EXPECT).await.unwrap();
            let mut response = vec![0; if waits { CONTINUE.len() } else { 0 }];
            within(stream.read_exact(&mut response)).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            let mut rest = vec![0; "HTTP/1.1 200 OK\r\n".len()];
            if script.len() == 2 && !waits {
                rest.resize(rest.len() + CONTINUE.len(), 0);
            }
            within(stream.read_exact(&mut rest)).await.unwrap();
            responses.push([response, rest].concat());
        }
        assert_eq!(
            responses[0],
            responses[1],
            "{}",
            responses[1].escape_ascii()
        );
        assert!(server.received().ends_with("hello"));
    }
}

#[tokio::test]
async fn requests_that_are_refused_say_so_to_everybody() {
    let server = ScriptedServer {
        script: &[("\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n")],
        closes: true,
    };
    let server = server.start().await;
    let fixture = HttpFixture::start(inbound(server.address)).await;
    let many = "a: b\r\n".repeat(600);
    let long = "x".repeat(70_000);
    let cases = [
        (
            "GET /<a> HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
            400,
            "malformed",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\n".to_owned(),
            400,
            "malformed",
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"),
            431,
            "head_too_large",
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"),
            431,
            "head_too_large",
        ),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "no_host"),
    ];
    for (number, (request, status, reason)) in cases.iter().enumerate() {
        let response = fixture.raw(request).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} "))
                && response.contains("\r\nproxy-status: throughline; error=http_request_error\r\n"),
            "{response:?}"
        );
        let spans = fixture.spans(number + 1).await;
        let span = spans.last().unwrap();
        let code = attribute_text(span, "http.response.status_code");
        assert_eq!(code.as_deref(), Some(&*format!("Int({status})")));
        let label = format!("{{direction=\"inbound\",reason=\"{reason}\"}}");
        let (_, metrics) = fixture.proxy.get("/metrics").await;
        let line = metrics
            .lines()
            .find(|line| line.contains("http_refusals") && line.contains(&label));
        assert!(
            line.is_some_and(|line| !line.ends_with(" 0")),
            "{reason}: {line:?}"
        );
    }
    assert_eq!(server.received(), "");
    // Fields that servers take pass.
    let many = "a: b\r\n".repeat(400);
    let response = fixture
        .raw(format!(
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{many}\r\n"
        ))
        .await;
    assert!(response.starts_with("HTTP/1.1 204 "), "{response:?}");
}

#[tokio::test]
async fn many_response_fields_pass() {
    let fields = "x: y\r\n".repeat(400);
    let response = format!("HTTP/1.1 200 OK\r\n{fields}content-length: 2\r\n\r\nok").leak();
    let (_, through) = side_by_side(GET, response.as_bytes()).await;
    assert_eq!(through.matches("x: y\r\n").count(), 400);
}

/// The end of a body that has neither chunks nor a length is the close: only a reset shows a client
/// of HTTP/1.0 that there was more.
#[tokio::test]
async fn body_that_breaks_off_ends_with_a_reset_where_its_end_is_the_close() {
    let server = ScriptedServer {
        script: &[(
            "\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        )],
        closes: true,
    };
    let server = server.start().await;
    let fixture = HttpFixture::start(inbound(server.address)).await;
    let old = b"GET / HTTP/1.0\r\nhost: a\r\n\r\n";
    let (through, error) = exchange(fixture.address(), old).await;
    assert_eq!(
        error,
        Some(std::io::ErrorKind::ConnectionReset),
        "{through:?}"
    );
    let (direct, error) = exchange(server.address, GET).await;
    assert!(
        direct.ends_with("2\r\nok\r\n") && error.is_none(),
        "{direct:?}"
    );
    let (through, _) = exchange(fixture.address(), GET).await;
    assert!(!through.contains("0\r\n\r\n"), "{through:?}");
    let spans = fixture.spans(2).await;
    for span in spans {
        assert_eq!(
            attribute_text(&span, "error.type").as_deref(),
            Some("reset")
        );
    }
    // A body that ends by the close of an old server ends in order.
    let whole = b"HTTP/1.0 200 OK\r\n\r\nok";
    let (direct, through) = side_by_side(old, whole).await;
    assert!(
        direct.ends_with("\r\n\r\nok") && through.ends_with("\r\n\r\nok"),
        "{through:?}"
    );
}

/// Sends a request, closes the sending side, and returns the response.
async fn half_closed(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let mut response = Vec::new();
    within(stream.read_to_end(&mut response)).await.unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

/// A client may close its side after its request: the server sees that, and decides.
#[tokio::test]
async fn half_closed_client_gets_its_response_if_the_server_gives_one() {
    let (listener, address) = listen().await;
    let (responds, mut does_respond) = tokio::sync::watch::channel(true);
    does_respond.mark_unchanged();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            // Ready at the end of the client's side only.
            stream.read_to_end(&mut request).await.unwrap();
            assert!(request.ends_with(b"\r\n\r\nhi"));
            if *does_respond.borrow_and_update() {
                let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                stream.write_all(response).await.unwrap();
            }
        }
    });
    let fixture = HttpFixture::start(inbound(address)).await;
    for address in [address, fixture.address()] {
        let response = half_closed(address).await;
        assert!(response.ends_with("\r\n\r\nok"), "{response:?}");
    }
    let [span] = &fixture.spans(1).await[..] else {
        unreachable!("one request");
    };
    assert_eq!(attribute_text(span, "error.type"), None);
    responds.send(false).unwrap();
    for address in [address, fixture.address()] {
        assert_eq!(half_closed(address).await, "");
    }
    let spans = fixture.spans(2).await;
    assert_eq!(
        attribute_text(&spans[1], "error.type").as_deref(),
        Some("cancelled")
    );
}
