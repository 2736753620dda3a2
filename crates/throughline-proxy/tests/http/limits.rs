//! Limits, timeouts and shutdown.

use std::time::Duration;

use http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fixture::{
    HttpFixture, attribute_text, echo, get, inbound, read_response, service, text_body, with_limits,
};
use crate::support::{listen, read_end, within};

#[tokio::test]
async fn oversized_request_heads_are_rejected() {
    let fixture = HttpFixture::start(with_limits(inbound(echo().await), |limits| {
        limits.max_head_bytes = 16 << 10;
    }))
    .await;
    let long = "x".repeat(20 << 10);
    let response = fixture
        .raw(format!(
            "GET / HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n"
        ))
        .await;
    assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
    let many: String = (0..600)
        .map(|number| format!("x-{number}: 1\r\n"))
        .collect();
    let response = fixture
        .raw(format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"))
        .await;
    assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
    let mut sender = fixture.http2().await;
    let response = sender.send_request(
        Request::get("http://a/")
            .header("x-long", long)
            .body(crate::fixture::empty_body())
            .unwrap(),
    );
    assert!(
        within(response)
            .await
            .map_or(true, |response| response.status() == 431)
    );
}

#[tokio::test]
async fn slow_request_head_times_out_and_an_idle_connection_does_not() {
    let fixture = HttpFixture::start(with_limits(inbound(echo().await), |limits| {
        limits.head_timeout = Duration::from_millis(200);
    }))
    .await;
    let mut silent = TcpStream::connect(fixture.address()).await.unwrap();
    let mut used = fixture.http1().await;
    assert_eq!(
        read_response(used.send_request(get("/")).await.unwrap())
            .await
            .0,
        200
    );
    let mut slow = TcpStream::connect(fixture.address()).await.unwrap();
    slow.write_all(b"G").await.unwrap();
    let mut slower = TcpStream::connect(fixture.address()).await.unwrap();
    slower
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx: ")
        .await
        .unwrap();
    read_end(&mut slow).await;
    read_end(&mut slower).await;
    silent
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut response = String::new();
    within(silent.read_to_string(&mut response)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    used.ready().await.unwrap();
    assert_eq!(
        read_response(used.send_request(get("/")).await.unwrap())
            .await
            .0,
        200,
        "the head timeout does not apply between requests"
    );
}

#[tokio::test]
async fn stalled_request_body_times_out() {
    let fixture = HttpFixture::start(with_limits(inbound(echo().await), |limits| {
        limits.body_idle_timeout = Duration::from_millis(100);
    }))
    .await;
    let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
        .await
        .unwrap();
    let mut response = String::new();
    within(stream.read_to_string(&mut response)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    let [span] = &fixture.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(
        attribute_text(span, "error.type").as_deref(),
        Some("timeout")
    );
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let http = with_limits(inbound(echo().await), |limits| {
        limits.idle_timeout = Duration::from_millis(100);
        limits.upstream_idle_timeout = Duration::from_millis(50);
    });
    let fixture = HttpFixture::start(http).await;
    read_end(&mut TcpStream::connect(fixture.address()).await.unwrap()).await;
    let mut sender = fixture.http1().await;
    assert_eq!(
        read_response(sender.send_request(get("/")).await.unwrap())
            .await
            .0,
        200
    );
    while !sender.is_closed() {
        within(tokio::time::sleep(Duration::from_millis(5))).await;
    }
    let mut sender = fixture.http2().await;
    let request = || {
        Request::get("http://a/")
            .body(crate::fixture::empty_body())
            .unwrap()
    };
    assert_eq!(
        read_response(sender.send_request(request()).await.unwrap())
            .await
            .0,
        200
    );
    while within(sender.send_request(request())).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn requests_in_flight_finish_before_the_proxy_stops() {
    let (request_sender, mut requests) = tokio::sync::mpsc::channel(4);
    let responses_allowed = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let wait = std::sync::Arc::clone(&responses_allowed);
    let to = service(move |_| {
        let (wait, request_sender) = (std::sync::Arc::clone(&wait), request_sender.clone());
        async move {
            request_sender.send(()).await.unwrap();
            wait.acquire().await.unwrap().forget();
            Response::new(text_body("done"))
        }
    })
    .await;
    let mut fixture = HttpFixture::start(inbound(to)).await;
    let (mut first, mut second, mut idle) = (
        fixture.http1().await,
        fixture.http2().await,
        TcpStream::connect(fixture.address()).await.unwrap(),
    );
    let first = tokio::spawn(async move { first.send_request(get("/")).await.unwrap() });
    let second = tokio::spawn(async move {
        second
            .send_request(
                Request::get("http://a/")
                    .body(crate::fixture::empty_body())
                    .unwrap(),
            )
            .await
            .unwrap()
    });
    for _ in 0..2 {
        within(requests.recv()).await.unwrap();
    }
    fixture.proxy.begin_stop();
    read_end(&mut idle).await;
    responses_allowed.add_permits(2);
    let response = within(first).await.unwrap();
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(read_response(response).await, (200, "done".to_owned()));
    assert_eq!(
        read_response(within(second).await.unwrap()).await,
        (200, "done".to_owned())
    );
    fixture.spans(2).await;
    fixture.proxy.ended().await;
}

#[tokio::test]
async fn request_that_outlasts_the_drain_is_aborted() {
    let (listener, address) = listen().await;
    let spans = std::sync::Arc::new(crate::support::Spans::default());
    let mut config = throughline_proxy::Config {
        http: inbound(address),
        ..crate::support::config(Vec::new())
    };
    config.limits.drain_timeout = Duration::from_millis(50);
    let sink: std::sync::Arc<crate::support::Spans> = std::sync::Arc::clone(&spans);
    let proxy = crate::support::Running::start_with(config, sink).await;
    let mut fixture = HttpFixture { proxy, spans };
    let mut sender = fixture.http1().await;
    tokio::spawn(async move { drop(sender.send_request(get("/")).await) });
    let (mut stream, _) = within(listener.accept()).await.unwrap();
    assert!(within(stream.read(&mut [0; 64])).await.unwrap() > 0);
    fixture.proxy.begin_stop();
    let [span] = &fixture.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(
        attribute_text(span, "error.type").as_deref(),
        Some("shutdown")
    );
    fixture.proxy.ended().await;
}

#[tokio::test]
async fn spans_above_the_rate_are_dropped_and_counted() {
    const REQUESTS: usize = 20;
    let fixture = HttpFixture::start(with_limits(inbound(echo().await), |limits| {
        limits.max_spans_per_second = 1;
    }))
    .await;
    let begin = std::time::Instant::now();
    let mut sender = fixture.http1().await;
    for _ in 0..REQUESTS {
        sender.ready().await.unwrap();
        let response = sender.send_request(get("/")).await.unwrap();
        assert_eq!(read_response(response).await.0, 200);
    }
    // The first second's worth is there at the start.
    let most = 1 + usize::try_from(begin.elapsed().as_secs()).unwrap();
    let metrics = fixture.proxy.get("/metrics").await.1;
    let value = |name: &str| -> usize {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    };
    let spans = value("throughline_http_spans_total ");
    let over_rate = value("throughline_http_spans_over_rate_total ");
    assert!(spans >= 1 && spans <= most, "{spans}, at most {most}");
    assert!(
        spans + over_rate + 1 >= REQUESTS,
        "the last one may be unfinished: {over_rate}"
    );
}
