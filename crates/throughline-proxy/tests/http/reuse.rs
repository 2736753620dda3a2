//! Reuse of upstream connections: logins stay with their client, and connections that servers close
//! cost no request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::SockRef;
use throughline_proxy::http::{Config, ConnectPorts, HttpRoute, PoolScope, UpstreamProtocol};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::fixture::{HttpFixture, fixed_origin, forward_proxy, inbound, listening};
use crate::support::{listen, read_end, within};

/// A request head as a server reads it, and its body.
struct RawRequest {
    head: String,
    body: Vec<u8>,
}

/// A client connection that reads one response after the other.
struct RawClient(BufReader<TcpStream>);

// === impl RawRequest ===

impl RawRequest {
    /// Reads a request; `None` at the end of the connection.
    async fn read(stream: &mut BufReader<TcpStream>) -> Option<Self> {
        let (head, body) = read_message(stream).await?;
        Some(Self { head, body })
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

// === impl RawClient ===

impl RawClient {
    async fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    /// Sends a request and returns the head and the body of the response; `None` if the connection
    /// ends without one.
    async fn send(&mut self, request: &str) -> Option<(String, String)> {
        self.0.write_all(request.as_bytes()).await.unwrap();
        let (head, body) = within(read_message(&mut self.0)).await?;
        Some((head, String::from_utf8(body).unwrap()))
    }

    async fn get(&mut self, target: &str, fields: &str) -> Option<(String, String)> {
        self.send(&format!(
            "GET {target} HTTP/1.1\r\nhost: shop\r\n{fields}\r\n"
        ))
        .await
    }
}

/// Reads a message with a content-length or without a body.
async fn read_message(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    loop {
        let count = stream.read_line(&mut head).await.unwrap_or(0);
        if count == 0 {
            return None;
        }
        if head.ends_with("\r\n\r\n") {
            break;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

fn response(status: &str, fields: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Starts a service that handles each connection with its number, from 0.
async fn raw_service<F, R>(serve: F) -> SocketAddr
where
    F: Fn(usize, BufReader<TcpStream>) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(number, BufReader::new(stream)));
        }
    });
    address
}

// --- logins ---

/// Starts a service that authenticates connections: NTLM in three legs, Negotiate in one.
async fn login_service() -> SocketAddr {
    raw_service(|_, mut stream| async move {
        let mut has_begun = false;
        let mut user = None;
        while let Some(request) = RawRequest::read(&mut stream).await {
            let words: Vec<String> = request
                .field("authorization")
                .unwrap_or_default()
                .split(' ')
                .map(str::to_owned)
                .collect();
            let challenge = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["NTLM", "begin"] => {
                    has_begun = true;
                    "WWW-Authenticate: NTLM challenge\r\n"
                }
                ["NTLM", name] if has_begun => {
                    user = Some(name.to_owned());
                    ""
                }
                ["negotiate", name] => {
                    user = Some(name.to_owned());
                    ""
                }
                _ => "www-authenticate: Basic realm=\"a\", Negotiate\r\nWWW-Authenticate: NTLM\r\n",
            };
            let response = user.as_ref().map_or_else(
                || response("401 Unauthorized", challenge, "nobody"),
                |user| response_for(user),
            );
            if stream.write_all(response.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

fn response_for(user: &str) -> String {
    response("200 OK", "", user)
}

fn per_connection(config: Config) -> Config {
    Config {
        pool: PoolScope::PerConnection,
        ..config
    }
}

#[tokio::test]
async fn login_serves_only_the_client_that_made_it() {
    let service = login_service().await;
    let url = format!("http://{service}/");
    for (config, target) in [
        (inbound(service), "/"),
        (fixed_origin(&service.to_string(), false), "/"),
        (forward_proxy(ConnectPorts::default()), &*url),
        (per_connection(inbound(service)), "/"),
    ] {
        let fixture = HttpFixture::start(config).await;
        let mut alice = RawClient::connect(fixture.address()).await;
        let mut bob = RawClient::connect(fixture.address()).await;
        for (fields, body) in [
            ("", "nobody"),
            ("Authorization: NTLM begin\r\n", "nobody"),
            ("Authorization: NTLM alice\r\n", "alice"),
            ("", "alice"),
        ] {
            // Another client between the legs: it must get another connection.
            assert_eq!(bob.get(target, "").await.unwrap().1, "nobody", "{fields}");
            assert_eq!(alice.get(target, fields).await.unwrap().1, body, "{fields}");
        }
        assert_eq!(
            bob.get(target, "authorization: negotiate bob\r\n")
                .await
                .unwrap()
                .1,
            "bob"
        );
        drop(alice);
        let mut carol = RawClient::connect(fixture.address()).await;
        assert_eq!(carol.get(target, "").await.unwrap().1, "nobody");
        assert_eq!(bob.get(target, "").await.unwrap().1, "bob");
        assert_eq!(carol.get(target, "").await.unwrap().1, "nobody");
    }
}

#[tokio::test]
async fn connections_are_shared_unless_the_pool_is_per_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let service = raw_service(move |_, mut stream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            while RawRequest::read(&mut stream).await.is_some() {
                drop(stream.write_all(response_for("x").as_bytes()).await);
            }
        }
    })
    .await;
    for (config, expected) in [(inbound(service), 1), (per_connection(inbound(service)), 2)] {
        connections.store(0, Ordering::SeqCst);
        let fixture = HttpFixture::start(config).await;
        let mut clients = [
            RawClient::connect(fixture.address()).await,
            RawClient::connect(fixture.address()).await,
        ];
        for _ in 0..3 {
            for client in &mut clients {
                client
                    .get("/", "authorization: Basic YTpi\r\n")
                    .await
                    .unwrap();
            }
        }
        assert_eq!(connections.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test]
async fn client_learns_that_its_login_ends() {
    let service = raw_service(|_, mut stream| async move {
        while let Some(request) = RawRequest::read(&mut stream).await {
            let is_last = request.head.starts_with("GET /last");
            let fields = if is_last { "connection: close\r\n" } else { "" };
            let response = response("200 OK", fields, "");
            drop(stream.write_all(response.as_bytes()).await);
            if is_last || request.head.starts_with("GET /closed") {
                return;
            }
        }
    })
    .await;
    let fixture = HttpFixture::start(inbound(service)).await;
    let login = "authorization: Negotiate a\r\n";
    let mut client = RawClient::connect(fixture.address()).await;
    client.get("/", login).await.unwrap();
    let (head, _) = client.get("/last", "").await.unwrap();
    assert!(head.contains("connection: close"), "{head}");
    read_end(&mut client.0).await;
    // The server closes the connection without saying so: a leg of a handshake cannot go on.
    let mut client = RawClient::connect(fixture.address()).await;
    client.get("/closed", login).await.unwrap();
    assert_eq!(client.get("/", login).await, None);
}

// --- closed connections ---

/// The way in which a server ends a connection instead of responding.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    Closed,
    Reset,
}

/// Starts a service whose first connection ends without a response to its second request.
async fn closing_service(ending: Ending) -> SocketAddr {
    raw_service(move |number, mut stream| async move {
        let mut count = 0;
        while let Some(request) = RawRequest::read(&mut stream).await {
            count += 1;
            if number == 0 && count == 2 {
                if ending == Ending::Reset {
                    SockRef::from(stream.get_ref())
                        .set_linger(Some(Duration::ZERO))
                        .unwrap();
                }
                return;
            }
            let line = request.head.lines().next().unwrap();
            let body = format!(
                "{line} {}",
                String::from_utf8(request.body.clone()).unwrap()
            );
            drop(
                stream
                    .write_all(response("200 OK", "", &body).as_bytes())
                    .await,
            );
        }
    })
    .await
}

#[tokio::test]
async fn request_without_a_body_is_repeated_once_where_its_connection_closes() {
    for ending in [Ending::Closed, Ending::Reset] {
        for method in ["GET", "DELETE", "OPTIONS", "PUT"] {
            let fixture = HttpFixture::start(inbound(closing_service(ending).await)).await;
            let mut client = RawClient::connect(fixture.address()).await;
            client.get("/first", "").await.unwrap();
            let (_, body) = client
                .send(&format!("{method} /second HTTP/1.1\r\nhost: shop\r\n\r\n"))
                .await
                .unwrap();
            assert_eq!(body, format!("{method} /second HTTP/1.1 "), "{ending:?}");
            fixture
                .proxy
                .until_metric(
                    "throughline_http_repeated_total{direction=\"inbound\",reason=\"closed\"} 1",
                )
                .await;
        }
    }
}

#[tokio::test]
async fn repeated_request_is_the_one_that_was_sent() {
    let (heads, mut received) = tokio::sync::mpsc::channel(8);
    let service = raw_service(move |number, mut stream| {
        let heads = heads.clone();
        async move {
            while let Some(request) = RawRequest::read(&mut stream).await {
                let is_lost = number == 0 && request.head.contains("/second");
                heads.send(request.head).await.unwrap();
                if is_lost {
                    return;
                }
                let answer = response("200 OK", "", "");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let fixture = HttpFixture::start(inbound(service)).await;
    let mut client = RawClient::connect(fixture.address()).await;
    client.get("/first", "").await.unwrap();
    let fields = "X-CamelCase: 1\r\nx-lower: 2\r\nACCEPT: A\r\nX-CamelCase: 3\r\n";
    client.get("/second", fields).await.unwrap();
    client.get("/third", "").await.unwrap();
    let mut next = async || within(received.recv()).await.unwrap();
    assert!(next().await.contains("/first"));
    let (lost, repeated) = (next().await, next().await);
    assert!(lost.contains("X-CamelCase: 1\r\n") && lost.contains("ACCEPT: A\r\n"));
    assert_eq!(repeated, lost);
    assert!(next().await.contains("/third"));
}

#[tokio::test]
async fn request_that_cannot_be_repeated_ends_as_the_server_ended_it() {
    for ending in [Ending::Closed, Ending::Reset] {
        let fixture = HttpFixture::start(inbound(closing_service(ending).await)).await;
        let mut client = RawClient::connect(fixture.address()).await;
        client.get("/first", "").await.unwrap();
        client
            .0
            .write_all(b"POST /second HTTP/1.1\r\nhost: shop\r\ncontent-length: 3\r\n\r\nabc")
            .await
            .unwrap();
        let mut received = Vec::new();
        let ended = within(client.0.read_to_end(&mut received)).await;
        assert_eq!(received, b"", "{ending:?}");
        assert_eq!(ended.is_err(), ending == Ending::Reset, "{ended:?}");
        let spans = fixture.spans(2).await;
        assert_eq!(
            crate::fixture::attribute_text(&spans[1], "error.type").as_deref(),
            Some("reset")
        );
        // The client's own repetition succeeds.
        let mut client = RawClient::connect(fixture.address()).await;
        let (_, body) = client
            .send("POST /second HTTP/1.1\r\nhost: shop\r\ncontent-length: 3\r\n\r\nabc")
            .await
            .unwrap();
        assert_eq!(body, "POST /second HTTP/1.1 abc");
    }
}

/// Servers end idle connections with a close, a reset, or a 408 that nobody asked for.
#[tokio::test]
async fn connections_that_ended_while_idle_cost_no_request() {
    for ending in ["close", "reset", "408"] {
        let service = raw_service(move |_, mut stream| async move {
            let Some(request) = RawRequest::read(&mut stream).await else {
                return;
            };
            let body = request.body.len().to_string();
            drop(
                stream
                    .write_all(response("200 OK", "", &body).as_bytes())
                    .await,
            );
            match ending {
                "reset" => SockRef::from(stream.get_ref())
                    .set_linger(Some(Duration::ZERO))
                    .unwrap(),
                "408" => {
                    let late = response("408 Request Timeout", "connection: close\r\n", "late");
                    drop(stream.write_all(late.as_bytes()).await);
                }
                _ => {}
            }
        })
        .await;
        let fixture = HttpFixture::start(inbound(service)).await;
        let mut client = RawClient::connect(fixture.address()).await;
        // Longer than what is kept of a body that has been sent.
        let body = "x".repeat(100 << 10);
        for _ in 0..20 {
            let request = format!(
                "POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let (head, length) = client.send(&request).await.unwrap();
            assert!(head.starts_with("HTTP/1.1 200 "), "{ending}: {head}");
            assert_eq!(length, body.len().to_string(), "{ending}");
        }
    }
}

#[tokio::test]
async fn interim_responses_on_a_reused_connection_are_skipped() {
    let service = raw_service(|_, mut stream| async move {
        while RawRequest::read(&mut stream).await.is_some() {
            let interim = "HTTP/1.1 102 Processing\r\n\r\n";
            let text = format!("{interim}{interim}{}", response_for("done"));
            drop(stream.write_all(text.as_bytes()).await);
        }
    })
    .await;
    let fixture = HttpFixture::start(inbound(service)).await;
    let mut client = fixture.http1().await;
    for _ in 0..5 {
        let response = client.send_request(crate::fixture::get("/")).await.unwrap();
        assert_eq!(
            crate::fixture::read_response(response).await,
            (200, "done".to_owned())
        );
        within(client.ready()).await.unwrap();
    }
}

#[tokio::test]
async fn response_before_the_end_of_its_request_ends_the_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let service = raw_service(move |_, mut stream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            drop(stream.write_all(response_for("early").as_bytes()).await);
            // The rest of the first request follows, and no other one.
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
            assert!(!rest.windows(4).any(|part| part == b"GET "), "{rest:?}");
        }
    })
    .await;
    let fixture = HttpFixture::start(inbound(service)).await;
    for number in 1..=3 {
        let mut client = RawClient::connect(fixture.address()).await;
        let (head, body) = client
            .send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 10\r\n\r\nabc")
            .await
            .unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(body, "early");
        assert_eq!(connections.load(Ordering::SeqCst), number);
    }
}

/// A downstream connection in HTTP/2 whose upstream speaks HTTP/1 gets a reset of the stream.
#[tokio::test]
async fn closed_connection_is_a_reset_stream_in_http2() {
    let service = raw_service(|_, mut stream| async move {
        drop(RawRequest::read(&mut stream).await);
    })
    .await;
    let fixture = HttpFixture::start(listening(HttpRoute::Service {
        address: service.to_string().parse().unwrap(),
        protocol: UpstreamProtocol::Http1,
    }))
    .await;
    let mut client = fixture.http2().await;
    let request = http::Request::get("http://shop/")
        .body(crate::fixture::empty_body())
        .unwrap();
    let error = within(client.send_request(request)).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.to_string().contains("internal error"), "{source}");
}
