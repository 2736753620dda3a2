//! Forwarding: both HTTP versions, upgrades, tunnels, long bodies and connection reuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use throughline_proxy::http::{ConnectPorts, HttpRoute, UpstreamProtocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fixture::{
    Body, HttpFixture, attribute_text, echo, empty_body, fixed_origin, forward_proxy, get,
    http1_to, inbound, listening, read_response, service, text_body,
};
use crate::support::{listen, within};

#[tokio::test]
async fn requests_of_both_http_versions_are_forwarded_unmodified() {
    let fixture = HttpFixture::start(inbound(echo().await)).await;
    let request = || {
        Request::builder()
            .method("POST")
            .uri("http://shop/orders?x=1")
            .header("x-mine", "1")
            .header("connection", "x-mine-not")
            .body(text_body("hello"))
            .unwrap()
    };
    let mut plain = request();
    *plain.uri_mut() = "/orders?x=1".parse().unwrap();
    plain.headers_mut().insert("host", "shop".parse().unwrap());
    let (status, body) =
        read_response(fixture.http1().await.send_request(plain).await.unwrap()).await;
    assert_eq!(status, 200);
    assert!(
        body.starts_with("POST /orders?x=1 HTTP/1.1\n") && body.ends_with("hello"),
        "{body}"
    );
    assert!(
        body.contains("host: shop\n")
            && body.contains("x-mine: 1\n")
            && body.contains("content-length: 5\n"),
        "{body}"
    );
    assert!(!body.contains("connection:"), "{body}");

    let mut second = request();
    second.headers_mut().remove("connection");
    let (status, body) =
        read_response(fixture.http2().await.send_request(second).await.unwrap()).await;
    assert_eq!(status, 200);
    assert!(
        body.starts_with("POST http://shop/orders?x=1 HTTP/2.0\n") && body.ends_with("hello"),
        "{body}"
    );
    let versions: Vec<_> = fixture
        .spans(2)
        .await
        .iter()
        .map(|span| attribute_text(span, "network.protocol.version").unwrap())
        .collect();
    assert_eq!(versions, ["1.1", "2"]);
}

#[tokio::test]
async fn upstream_protocol_overrides_that_of_the_request() {
    let route = |service: std::net::SocketAddr, protocol| HttpRoute::Service {
        address: service.to_string().parse().unwrap(),
        protocol,
    };
    let fixture = HttpFixture::start(listening(route(echo().await, UpstreamProtocol::Http1))).await;
    let request = Request::builder()
        .uri("http://shop/a")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(empty_body())
        .unwrap();
    let (_, body) = read_response(fixture.http2().await.send_request(request).await.unwrap()).await;
    assert!(body.starts_with("GET /a HTTP/1.1\n"), "{body}");
    assert!(
        body.contains("host: shop\n") && body.contains("cookie: a=1; b=2\n"),
        "{body}"
    );
    let fixture = HttpFixture::start(listening(route(echo().await, UpstreamProtocol::Http2))).await;
    let (_, body) =
        read_response(fixture.http1().await.send_request(get("/a")).await.unwrap()).await;
    assert!(body.starts_with("GET http://shop/a HTTP/2.0\n"), "{body}");
}

#[tokio::test]
async fn body_is_forwarded_with_any_method() {
    let fixture = HttpFixture::start(inbound(echo().await)).await;
    for method in ["GET", "DELETE", "HEAD-LIKE", "PUT"] {
        let response = fixture
            .raw(format!(
                "{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
                 transfer-encoding: chunked\r\n\r\n5\r\nquery\r\n0\r\n\r\n"
            ))
            .await;
        assert!(response.ends_with("query"), "{response}");
    }
}

async fn answer_all(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.unwrap_or(0) > 0 {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn upstream_connections_are_reused() {
    let (listener, address) = listen().await;
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(answer_all(stream));
        }
    });
    let fixture = HttpFixture::start(inbound(address)).await;
    let mut sender = fixture.http1().await;
    for _ in 0..20 {
        sender.ready().await.unwrap();
        assert_eq!(
            read_response(sender.send_request(get("/")).await.unwrap()).await,
            (200, "ok".to_owned())
        );
    }
    let mut other = fixture.http1().await;
    assert_eq!(
        read_response(other.send_request(get("/")).await.unwrap())
            .await
            .0,
        200
    );
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn request_is_sent_again_after_an_idle_connection_closed() {
    let (listener, address) = listen().await;
    let (closed, was_closed) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut closed = Some(closed);
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await
                .unwrap();
            drop(stream);
            closed
                .take()
                .into_iter()
                .for_each(|closed| closed.send(()).unwrap());
        }
    });
    let fixture = HttpFixture::start(inbound(address)).await;
    let mut sender = fixture.http1().await;
    assert_eq!(
        read_response(sender.send_request(get("/")).await.unwrap())
            .await
            .0,
        200
    );
    was_closed.await.unwrap();
    for _ in 0..10 {
        sender.ready().await.unwrap();
        let post = Request::post("/")
            .header("host", "shop")
            .body(text_body("x"))
            .unwrap();
        assert_eq!(
            read_response(sender.send_request(post).await.unwrap())
                .await
                .0,
            200
        );
    }
}

#[tokio::test]
async fn forward_proxy_connects_to_the_host_of_the_target() {
    let to = echo().await;
    let fixture = HttpFixture::start(forward_proxy(ConnectPorts::default())).await;
    let request = Request::get(format!("http://{to}/a?b=1"))
        .header("host", "other")
        .header("proxy-connection", "keep-alive")
        .body(empty_body())
        .unwrap();
    let (status, body) =
        read_response(fixture.http1().await.send_request(request).await.unwrap()).await;
    assert_eq!(status, 200);
    assert!(
        body.starts_with("GET /a?b=1 HTTP/1.1\n") && body.contains(&format!("host: {to}\n")),
        "{body}"
    );
    assert!(!body.contains("proxy-connection"), "{body}");
    let [span] = &fixture.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(
        attribute_text(span, "url.full").unwrap(),
        format!("http://{to}/a?b=1")
    );
    assert_eq!(
        attribute_text(span, "network.peer.address").unwrap(),
        "127.0.0.1"
    );
}

#[tokio::test]
async fn fixed_origin_gets_its_own_host_header() {
    let to = echo().await;
    let fixture =
        HttpFixture::start(fixed_origin(&format!("localhost:{}", to.port()), false)).await;
    let (_, body) =
        read_response(fixture.http1().await.send_request(get("/a")).await.unwrap()).await;
    assert!(
        body.contains(&format!("host: localhost:{}\n", to.port())),
        "{body}"
    );
}

#[tokio::test]
async fn upgraded_connection_forwards_bytes_both_ways() {
    let to = service(|mut request| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes).await.unwrap();
            stream
                .write_all(&bytes.map(|byte| byte.to_ascii_uppercase()))
                .await
                .unwrap();
        });
        let mut response = Response::new(empty_body());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response
            .headers_mut()
            .insert("connection", "Upgrade".parse().unwrap());
        response
            .headers_mut()
            .insert("upgrade", request.headers()["upgrade"].clone());
        response
    })
    .await;
    let fixture = HttpFixture::start(inbound(to)).await;
    let mut request = get("/chat");
    request
        .headers_mut()
        .insert("connection", "keep-alive, Upgrade".parse().unwrap());
    request
        .headers_mut()
        .insert("upgrade", "websocket".parse().unwrap());
    let mut response = fixture.http1().await.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["upgrade"], "websocket");
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    stream.write_all(b"hello").await.unwrap();
    let mut received = String::new();
    within(stream.read_to_string(&mut received)).await.unwrap();
    assert_eq!(received, "HELLO");
    let [span] = &fixture.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(
        attribute_text(span, "http.response.status_code").unwrap(),
        "Int(101)"
    );
}

#[tokio::test]
async fn connect_is_rejected_unless_allowed() {
    let (listener, to) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(b"pong").await.unwrap();
    });
    let fixture = HttpFixture::start(forward_proxy(ConnectPorts::default())).await;
    let response = fixture
        .raw(format!(
            "CONNECT {to} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n\r\n"
        ))
        .await;
    assert!(
        response.starts_with("HTTP/1.1 405 ") && response.contains("error=http_request_denied"),
        "{response}"
    );
    let fixture = HttpFixture::start(forward_proxy(ConnectPorts::all())).await;
    let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
    stream
        .write_all(format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n\r\nping").as_bytes())
        .await
        .unwrap();
    let mut response = String::new();
    within(stream.read_to_string(&mut response)).await.unwrap();
    assert!(
        response.starts_with("HTTP/1.1 200 ") && response.ends_with("pong"),
        "{response}"
    );
    let [span] = &fixture.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(span.name, "CONNECT");
}

#[tokio::test]
async fn trailers_are_forwarded_in_both_http_versions() {
    let to = service(|request| async move {
        let is_http2 = request.version() == Version::HTTP_2;
        let trailers = request
            .into_body()
            .collect()
            .await
            .unwrap()
            .trailers()
            .cloned()
            .unwrap_or_default();
        let body =
            Full::new(Bytes::from_static(b"x")).with_trailers(async move { Some(Ok(trailers)) });
        let response = Response::builder().header("trailer", "x-sum");
        let response = if is_http2 {
            response
        } else {
            response.header("transfer-encoding", "chunked")
        };
        response
            .body(body.map_err(|never| match never {}).boxed())
            .unwrap()
    })
    .await;
    let fixture = HttpFixture::start(inbound(to)).await;
    let request = |version, uri: &str| {
        let trailers = [("x-sum".parse().unwrap(), "7".parse().unwrap())]
            .into_iter()
            .collect();
        let body =
            Full::new(Bytes::from_static(b"x")).with_trailers(async move { Some(Ok(trailers)) });
        let request = Request::post(uri).version(version).header("te", "trailers");
        let request = if version == Version::HTTP_2 {
            request
        } else {
            request
                .header("host", "a")
                .header("trailer", "x-sum")
                .header("transfer-encoding", "chunked")
        };
        request
            .body(body.map_err(|never| match never {}).boxed())
            .unwrap()
    };
    let response = fixture
        .http1()
        .await
        .send_request(request(Version::HTTP_11, "/"))
        .await
        .unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "7");
    let response = fixture
        .http2()
        .await
        .send_request(request(Version::HTTP_2, "http://a/"))
        .await
        .unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "7");
}

#[tokio::test]
async fn response_to_head_keeps_its_content_length() {
    let to = service(|request| async move {
        let status = if request.method() == Method::HEAD {
            200
        } else {
            204
        };
        let response = Response::builder().status(status);
        let response = if status == 200 {
            response.header("content-length", "1234")
        } else {
            response
        };
        response.body(empty_body()).unwrap()
    })
    .await;
    let fixture = HttpFixture::start(inbound(to)).await;
    let mut sender = fixture.http1().await;
    for method in [Method::HEAD, Method::GET, Method::HEAD] {
        sender.ready().await.unwrap();
        let mut request = get("/");
        *request.method_mut() = method.clone();
        let response = sender.send_request(request).await.unwrap();
        let length = response
            .headers()
            .get("content-length")
            .map(|length| length.to_str().unwrap());
        assert_eq!(length, (method == Method::HEAD).then_some("1234"));
        assert!(response.body().is_end_stream());
    }
    fixture.spans(3).await;
}

#[tokio::test]
async fn error_response_to_head_has_no_body() {
    let (listener, address) = listen().await;
    drop(listener);
    let fixture = HttpFixture::start(inbound(address)).await;
    let request = |uri: &str| {
        Request::head(uri)
            .header("host", "shop")
            .body(empty_body())
            .unwrap()
    };
    let response = fixture
        .http1()
        .await
        .send_request(request("/"))
        .await
        .unwrap();
    assert_eq!(read_response(response).await, (503, String::new()));
    let response = fixture
        .http2()
        .await
        .send_request(request("http://shop/"))
        .await
        .unwrap();
    assert_eq!(read_response(response).await, (503, String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_bodies_are_streamed_in_bounded_memory() {
    const CHUNK: usize = 64 << 10;
    const CHUNKS: usize = 16 << 10;
    let to = service(|request| async move { Response::new(request.into_body().boxed()) }).await;
    let fixture = HttpFixture::start(inbound(to)).await;
    for is_http2 in [false, true] {
        let before = resident_bytes();
        let chunk = Bytes::from(vec![7; CHUNK]);
        let frames = (0..CHUNKS).map(move |_| Ok(Frame::data(chunk.clone())));
        let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
        let response = if is_http2 {
            fixture
                .http2()
                .await
                .send_request(Request::post("http://a/").body(body).unwrap())
                .await
                .unwrap()
        } else {
            http1_to(fixture.address())
                .await
                .send_request(Request::post("/").header("host", "a").body(body).unwrap())
                .await
                .unwrap()
        };
        let (mut body, mut count, mut peak) = (response.into_body(), 0, 0);
        while let Some(frame) = within(body.frame()).await {
            count += frame.unwrap().into_data().unwrap().len();
            peak = peak.max(resident_bytes());
        }
        assert_eq!(count, CHUNK * CHUNKS);
        let grown = peak.saturating_sub(before);
        assert!(
            // Other tests of this process run beside it.
            grown < 256 << 20,
            "{} MiB more for a GiB, HTTP/2: {is_http2}",
            grown >> 20
        );
    }
}

/// Returns the resident memory of this process, which holds client, proxy and service.
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

async fn respond_or_hang(
    request: Request<Incoming>,
) -> Result<Response<Body>, std::convert::Infallible> {
    if request.uri().path() == "/never" {
        std::future::pending::<()>().await;
    }
    Ok(Response::new(text_body("here")))
}

/// The server allows one stream on each connection, and one client holds it.
#[tokio::test]
async fn http2_client_that_uses_all_streams_delays_no_other() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let response = service_fn(respond_or_hang);
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(1);
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), response));
        }
    });
    let fixture = HttpFixture::start(inbound(address)).await;
    let request = |path: &str| {
        Request::get(format!("http://shop{path}"))
            .body(empty_body())
            .unwrap()
    };
    let mut one = fixture.http2().await;
    let waiting = tokio::spawn(one.send_request(request("/never")));
    fixture
        .proxy
        .until_metric("throughline_http_upstream_connections_total{direction=\"inbound\"} 1")
        .await;
    let mut other = fixture.http2().await;
    let (status, body) =
        read_response(within(other.send_request(request("/"))).await.unwrap()).await;
    assert_eq!((status, body.as_str()), (200, "here"));
    waiting.abort();
}
