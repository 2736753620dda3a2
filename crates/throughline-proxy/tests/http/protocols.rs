//! What passes: both HTTPs, upgrades, tunnels, bodies of any size, and the connections that are used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use throughline_proxy::http::{Protocol, Route};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::side::{
    Body, Side, echo, empty, fixed, get, http1_to, inbound, listening, named, read, says, service,
    text,
};
use crate::support::{listen, within};

#[tokio::test]
async fn a_request_of_either_http_comes_to_the_service_as_it_was_sent() {
    let side = Side::start(inbound(echo().await)).await;
    let request = || {
        Request::builder()
            .method("POST")
            .uri("http://shop/orders?x=1")
            .header("x-mine", "1")
            .header("connection", "x-mine-not")
            .body(text("hello"))
            .unwrap()
    };
    let mut plain = request();
    *plain.uri_mut() = "/orders?x=1".parse().unwrap();
    plain.headers_mut().insert("host", "shop".parse().unwrap());
    let (status, body) = read(side.http1().await.send_request(plain).await.unwrap()).await;
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
    let (status, body) = read(side.http2().await.send_request(second).await.unwrap()).await;
    assert_eq!(status, 200);
    assert!(
        body.starts_with("POST http://shop/orders?x=1 HTTP/2.0\n") && body.ends_with("hello"),
        "{body}"
    );
    let versions: Vec<_> = side
        .spans(2)
        .await
        .iter()
        .map(|span| says(span, "network.protocol.version").unwrap())
        .collect();
    assert_eq!(versions, ["1.1", "2"]);
}

#[tokio::test]
async fn http2_goes_on_as_http1_to_a_service_that_speaks_no_other() {
    let route = |service: std::net::SocketAddr, protocol| Route::Service {
        address: service.to_string().parse().unwrap(),
        protocol,
    };
    let side = Side::start(listening(route(echo().await, Protocol::Http1))).await;
    let request = Request::builder()
        .uri("http://shop/a")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(empty())
        .unwrap();
    let (_, body) = read(side.http2().await.send_request(request).await.unwrap()).await;
    assert!(body.starts_with("GET /a HTTP/1.1\n"), "{body}");
    assert!(
        body.contains("host: shop\n") && body.contains("cookie: a=1; b=2\n"),
        "{body}"
    );
    let side = Side::start(listening(route(echo().await, Protocol::Http2))).await;
    let (_, body) = read(side.http1().await.send_request(get("/a")).await.unwrap()).await;
    assert!(body.starts_with("GET http://shop/a HTTP/2.0\n"), "{body}");
}

#[tokio::test]
async fn a_body_passes_whatever_the_method() {
    let side = Side::start(inbound(echo().await)).await;
    for method in ["GET", "DELETE", "HEAD-LIKE", "PUT"] {
        let answer = side
            .raw(format!("{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nquery\r\n0\r\n\r\n"))
            .await;
        assert!(answer.ends_with("query"), "{answer}");
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
async fn connections_to_the_service_are_used_again() {
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
    let side = Side::start(inbound(address)).await;
    let mut sender = side.http1().await;
    for _ in 0..20 {
        sender.ready().await.unwrap();
        assert_eq!(
            read(sender.send_request(get("/")).await.unwrap()).await,
            (200, "ok".to_owned())
        );
    }
    let mut other = side.http1().await;
    assert_eq!(
        read(other.send_request(get("/")).await.unwrap()).await.0,
        200
    );
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_the_service_has_closed_is_no_harm_to_the_next_request() {
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
    let side = Side::start(inbound(address)).await;
    let mut sender = side.http1().await;
    assert_eq!(
        read(sender.send_request(get("/")).await.unwrap()).await.0,
        200
    );
    was_closed.await.unwrap();
    for _ in 0..10 {
        sender.ready().await.unwrap();
        let post = Request::post("/")
            .header("host", "shop")
            .body(text("x"))
            .unwrap();
        assert_eq!(read(sender.send_request(post).await.unwrap()).await.0, 200);
    }
}

#[tokio::test]
async fn an_http_proxy_asks_whom_it_is_told() {
    let to = echo().await;
    let side = Side::start(named(false)).await;
    let request = Request::get(format!("http://{to}/a?b=1"))
        .header("host", "other")
        .header("proxy-connection", "keep-alive")
        .body(empty())
        .unwrap();
    let (status, body) = read(side.http1().await.send_request(request).await.unwrap()).await;
    assert_eq!(status, 200);
    assert!(
        body.starts_with("GET /a?b=1 HTTP/1.1\n") && body.contains(&format!("host: {to}\n")),
        "{body}"
    );
    assert!(!body.contains("proxy-connection"), "{body}");
    let [span] = &side.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(
        says(span, "url.full").unwrap(),
        format!("http://{to}/a?b=1")
    );
    assert_eq!(says(span, "network.peer.address").unwrap(), "127.0.0.1");
}

#[tokio::test]
async fn a_fixed_origin_is_asked_by_its_own_name() {
    let to = echo().await;
    let side = Side::start(fixed(&format!("localhost:{}", to.port()), false)).await;
    let (_, body) = read(side.http1().await.send_request(get("/a")).await.unwrap()).await;
    assert!(
        body.contains(&format!("host: localhost:{}\n", to.port())),
        "{body}"
    );
}

#[tokio::test]
async fn an_upgraded_connection_passes_bytes_both_ways() {
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
        let mut answer = Response::new(empty());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        answer
            .headers_mut()
            .insert("connection", "Upgrade".parse().unwrap());
        answer
            .headers_mut()
            .insert("upgrade", request.headers()["upgrade"].clone());
        answer
    })
    .await;
    let side = Side::start(inbound(to)).await;
    let mut request = get("/chat");
    request
        .headers_mut()
        .insert("connection", "keep-alive, Upgrade".parse().unwrap());
    request
        .headers_mut()
        .insert("upgrade", "websocket".parse().unwrap());
    let mut answer = side.http1().await.send_request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(answer.headers()["upgrade"], "websocket");
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
    stream.write_all(b"hello").await.unwrap();
    let mut heard = String::new();
    within(stream.read_to_string(&mut heard)).await.unwrap();
    assert_eq!(heard, "HELLO");
    let [span] = &side.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(says(span, "http.response.status_code").unwrap(), "Int(101)");
}

#[tokio::test]
async fn connect_is_refused_unless_it_is_allowed() {
    let (listener, to) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(b"pong").await.unwrap();
    });
    let side = Side::start(named(false)).await;
    let answer = side
        .raw(format!(
            "CONNECT {to} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n\r\n"
        ))
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 405 ") && answer.contains("error=http_request_denied"),
        "{answer}"
    );
    let side = Side::start(named(true)).await;
    let mut stream = TcpStream::connect(side.address()).await.unwrap();
    stream
        .write_all(format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n\r\nping").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("pong"),
        "{answer}"
    );
    let [span] = &side.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(span.name, "CONNECT");
}

#[tokio::test]
async fn trailers_pass_in_both_http() {
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
        let answer = Response::builder().header("trailer", "x-sum");
        let answer = if is_http2 {
            answer
        } else {
            answer.header("transfer-encoding", "chunked")
        };
        answer
            .body(body.map_err(|never| match never {}).boxed())
            .unwrap()
    })
    .await;
    let side = Side::start(inbound(to)).await;
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
    let answer = side
        .http1()
        .await
        .send_request(request(Version::HTTP_11, "/"))
        .await
        .unwrap();
    assert_eq!(
        answer
            .into_body()
            .collect()
            .await
            .unwrap()
            .trailers()
            .unwrap()["x-sum"],
        "7"
    );
    let answer = side
        .http2()
        .await
        .send_request(request(Version::HTTP_2, "http://a/"))
        .await
        .unwrap();
    assert_eq!(
        answer
            .into_body()
            .collect()
            .await
            .unwrap()
            .trailers()
            .unwrap()["x-sum"],
        "7"
    );
}

#[tokio::test]
async fn what_has_no_body_has_its_length_still() {
    let to = service(|request| async move {
        let status = if request.method() == Method::HEAD {
            200
        } else {
            204
        };
        let answer = Response::builder().status(status);
        let answer = if status == 200 {
            answer.header("content-length", "1234")
        } else {
            answer
        };
        answer.body(empty()).unwrap()
    })
    .await;
    let side = Side::start(inbound(to)).await;
    let mut sender = side.http1().await;
    for method in [Method::HEAD, Method::GET, Method::HEAD] {
        sender.ready().await.unwrap();
        let mut request = get("/");
        *request.method_mut() = method.clone();
        let answer = sender.send_request(request).await.unwrap();
        let length = answer
            .headers()
            .get("content-length")
            .map(|length| length.to_str().unwrap());
        assert_eq!(length, (method == Method::HEAD).then_some("1234"));
        assert!(answer.body().is_end_stream());
    }
    side.spans(3).await;
}

#[tokio::test]
async fn what_is_refused_of_a_head_request_has_no_body_in_either_http() {
    let (listener, address) = listen().await;
    drop(listener);
    let side = Side::start(inbound(address)).await;
    let request = |uri: &str| {
        Request::head(uri)
            .header("host", "shop")
            .body(empty())
            .unwrap()
    };
    let answer = side.http1().await.send_request(request("/")).await.unwrap();
    assert_eq!(read(answer).await, (503, String::new()));
    let answer = side
        .http2()
        .await
        .send_request(request("http://shop/"))
        .await
        .unwrap();
    assert_eq!(read(answer).await, (503, String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_body_passes_without_being_held() {
    const CHUNK: usize = 64 << 10;
    const CHUNKS: usize = 16 << 10;
    let to = service(|request| async move { Response::new(request.into_body().boxed()) }).await;
    let side = Side::start(inbound(to)).await;
    for is_http2 in [false, true] {
        let before = resident();
        let chunk = Bytes::from(vec![7; CHUNK]);
        let frames = (0..CHUNKS).map(move |_| Ok(Frame::data(chunk.clone())));
        let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
        let answer = if is_http2 {
            side.http2()
                .await
                .send_request(Request::post("http://a/").body(body).unwrap())
                .await
                .unwrap()
        } else {
            http1_to(side.address())
                .await
                .send_request(Request::post("/").header("host", "a").body(body).unwrap())
                .await
                .unwrap()
        };
        let (mut body, mut count, mut most) = (answer.into_body(), 0, 0);
        while let Some(frame) = within(body.frame()).await {
            count += frame.unwrap().into_data().unwrap().len();
            most = most.max(resident());
        }
        assert_eq!(count, CHUNK * CHUNKS);
        let grown = most.saturating_sub(before);
        assert!(
            grown < 64 << 20,
            "{} MiB more for a GiB, HTTP/2: {is_http2}",
            grown >> 20
        );
    }
}

/// Bytes that this process has in memory: both ends of each connection, and the proxy between them.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

async fn here_or_never(
    request: Request<Incoming>,
) -> Result<Response<Body>, std::convert::Infallible> {
    if request.uri().path() == "/never" {
        std::future::pending::<()>().await;
    }
    Ok(Response::new(text("here")))
}

/// A server that allows one stream a connection, which one client holds: another has a connection of its own.
#[tokio::test]
async fn a_client_of_http2_that_takes_all_streams_takes_them_from_nobody_else() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = service_fn(here_or_never);
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(1);
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), answer));
        }
    });
    let side = Side::start(inbound(address)).await;
    let ask = |path: &str| {
        Request::get(format!("http://shop{path}"))
            .body(empty())
            .unwrap()
    };
    let mut one = side.http2().await;
    let waiting = tokio::spawn(one.send_request(ask("/never")));
    side.proxy
        .until_metric("throughline_http_upstream_connections_total{direction=\"inbound\"} 1")
        .await;
    let mut other = side.http2().await;
    let (status, body) = read(within(other.send_request(ask("/"))).await.unwrap()).await;
    assert_eq!((status, body.as_str()), (200, "here"));
    waiting.abort();
}
