//! CONNECT: what is in a tunnel is traced as if the client had connected directly, and passes
//! unmodified otherwise.

use http::{Request, Response, StatusCode, Version};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use throughline_model::SpanKind;
use throughline_proxy::http::ConnectPorts;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fixture::{
    Body, HttpFixture, attribute_text, echo, empty_body, forward_proxy, get, read_response, service,
};
use crate::support::{listen, within};

async fn proxy() -> HttpFixture {
    HttpFixture::start(forward_proxy(ConnectPorts::all())).await
}

/// Sends a CONNECT and returns the connection with the head of the response.
async fn connect(fixture: &HttpFixture, to: impl std::fmt::Display) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
    let request = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

/// Opens a tunnel.
async fn tunnel(fixture: &HttpFixture, to: impl std::fmt::Display) -> TcpStream {
    let (stream, head) = connect(fixture, to).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    stream
}

async fn http1_in(stream: TcpStream) -> http1::SendRequest<Body> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

#[tokio::test]
async fn requests_in_a_tunnel_are_traced_as_if_sent_directly() {
    let (to, fixture) = (echo().await, proxy().await);
    let by_name = format!("localhost:{}", to.port());
    let mut sender = http1_in(tunnel(&fixture, &by_name).await).await;
    for path in ["/a?b=1", "/c"] {
        let request = Request::get(path).header("host", &by_name);
        let response = sender.send_request(request.body(empty_body()).unwrap());
        let (status, body) = read_response(within(response).await.unwrap()).await;
        assert_eq!(status, 200);
        assert!(
            body.starts_with(&format!("GET {path} HTTP/1.1\n"))
                && body.contains(&format!("host: {by_name}\n"))
                && body.contains("traceparent: 00-"),
            "{body}"
        );
    }
    let spans = fixture.spans(2).await;
    for (span, path) in spans.iter().zip(["/a?b=1", "/c"]) {
        assert_eq!((span.name.as_str(), span.kind), ("GET", SpanKind::Client));
        assert_eq!(
            attribute_text(span, "url.full").unwrap(),
            format!("http://{by_name}{path}")
        );
    }
    let upstream = "throughline_http_upstream_connections_total{direction=\"outbound\"} 1";
    fixture.proxy.until_metric(upstream).await;
    fixture
        .proxy
        .until_metric("throughline_http_tunnels_total{protocol=\"http1\"} 1")
        .await;
}

/// gRPC clients use CONNECT with a proxy, and HTTP/2 with prior knowledge in the tunnel.
#[tokio::test]
async fn http2_in_a_tunnel_is_traced() {
    let (to, fixture) = (echo().await, proxy().await);
    let io = TokioIo::new(tunnel(&fixture, to).await);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = get(&format!("http://{to}/a"));
    let response = within(sender.send_request(request)).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let (status, body) = read_response(response).await;
    assert!(
        status == 200 && body.starts_with("GET /a HTTP/2.0\n") || body.contains("/a HTTP/2.0\n"),
        "{body}"
    );
    let [span] = &fixture.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(
        attribute_text(span, "network.protocol.version").as_deref(),
        Some("2")
    );
}

#[tokio::test]
async fn upgrade_in_a_tunnel_forwards_bytes_both_ways() {
    let to = service(|mut request| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).await.unwrap();
            stream.write_all(b"pong").await.unwrap();
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .body(empty_body())
            .unwrap()
    })
    .await;
    let fixture = proxy().await;
    let mut sender = http1_in(tunnel(&fixture, to).await).await;
    let request = Request::get("/chat")
        .header("host", to.to_string())
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    let response = sender.send_request(request.body(empty_body()).unwrap());
    let mut response = within(response).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    stream.write_all(b"ping").await.unwrap();
    let mut received = [0; 4];
    within(stream.read_exact(&mut received)).await.unwrap();
    assert_eq!(&received, b"pong");
    let [span] = &fixture.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(span.name, "GET");
}

/// TLS, a protocol in capitals, single bytes that identify nothing, and a server that speaks first.
#[tokio::test]
async fn other_bytes_pass_unmodified_with_one_span() {
    for (sent, protocol) in [
        (&b"\x16\x03\x01\x00\x05hello"[..], "tls"),
        (b"EHLO here\r\n", "other"),
        (b"GE", "other"),
        (b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff", "kafka"),
        (b"", "other"),
    ] {
        let (listener, to) = listen().await;
        let length = sent.len();
        let speaks_first = sent.is_empty();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            if speaks_first {
                stream.write_all(b"220 hello\r\n").await.unwrap();
                return Vec::new();
            }
            let mut received = vec![0; length];
            stream.read_exact(&mut received).await.unwrap();
            stream.write_all(b"answer\r\n").await.unwrap();
            received
        });
        let fixture = proxy().await;
        let mut stream = tunnel(&fixture, to).await;
        stream.write_all(sent).await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        let expected = if speaks_first {
            "220 hello\r\n"
        } else {
            "answer\r\n"
        };
        assert_eq!(
            (answer.as_str(), server.await.unwrap()),
            (expected, sent.to_vec())
        );
        let [span] = &fixture.spans(1).await[..] else {
            panic!("one span")
        };
        assert_eq!(
            (span.name.as_str(), attribute_text(span, "server.port")),
            ("CONNECT", Some(format!("Int({})", to.port())))
        );
        let metric = format!("throughline_http_tunnels_total{{protocol=\"{protocol}\"}} 1");
        fixture.proxy.until_metric(&metric).await;
    }
}

#[tokio::test]
async fn tunnels_to_other_ports_and_to_the_proxy_itself_are_refused() {
    let (listener, to) = listen().await;
    let ports = ConnectPorts::new(vec![to.port()..=to.port()]);
    let fixture = HttpFixture::start(forward_proxy(ports)).await;
    tunnel(&fixture, to).await;
    drop(listener);
    let (_, head) = connect(&fixture, "127.0.0.1:1").await;
    assert!(
        head.starts_with("HTTP/1.1 403 ") && head.contains("error=http_request_denied"),
        "{head}"
    );
    let (_, head) = connect(&fixture, to).await;
    assert!(
        head.starts_with("HTTP/1.1 503 ") && head.contains("error=destination_unavailable"),
        "{head}"
    );
    fixture
        .proxy
        .until_metric(
            "throughline_http_refusals_total{direction=\"outbound\",reason=\"connect_port\"} 1",
        )
        .await;
    let fixture = proxy().await;
    let admin = fixture.proxy.addresses.admin.unwrap();
    for own in [fixture.address(), admin] {
        for host in ["127.0.0.1", "localhost", "0.0.0.0"] {
            let (_, head) = connect(&fixture, format!("{host}:{}", own.port())).await;
            assert!(
                head.starts_with("HTTP/1.1 508 ") && head.contains("error=proxy_loop_detected"),
                "{host}: {head}"
            );
        }
    }
}
