//! What is bounded, and how it ends.

use std::time::Duration;

use http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::side::{Side, echo, get, inbound, limited, read, says, service, text};
use crate::support::{listen, read_end, within};

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let side = Side::start(limited(inbound(echo().await), |limits| {
        limits.head_bytes_max = 16 << 10
    }))
    .await;
    let long = "x".repeat(20 << 10);
    let answer = side
        .raw(format!(
            "GET / HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many: String = (0..200)
        .map(|number| format!("x-{number}: 1\r\n"))
        .collect();
    let answer = side
        .raw(format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let mut sender = side.http2().await;
    let answer = sender.send_request(
        Request::get("http://a/")
            .header("x-long", long)
            .body(crate::side::empty())
            .unwrap(),
    );
    assert!(
        within(answer)
            .await
            .map_or(true, |answer| answer.status() == 431)
    );
}

#[tokio::test]
async fn who_sends_a_head_too_slowly_is_closed_and_who_is_silent_is_not() {
    let side = Side::start(limited(inbound(echo().await), |limits| {
        limits.head_deadline = Duration::from_millis(200)
    }))
    .await;
    let mut silent = TcpStream::connect(side.address()).await.unwrap();
    let mut used = side.http1().await;
    assert_eq!(
        read(used.send_request(get("/")).await.unwrap()).await.0,
        200
    );
    let mut slow = TcpStream::connect(side.address()).await.unwrap();
    slow.write_all(b"G").await.unwrap();
    let mut slower = TcpStream::connect(side.address()).await.unwrap();
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
    let mut answer = String::new();
    within(silent.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    used.ready().await.unwrap();
    assert_eq!(
        read(used.send_request(get("/")).await.unwrap()).await.0,
        200,
        "between two requests one may wait"
    );
}

#[tokio::test]
async fn a_body_that_makes_no_progress_is_given_up() {
    let side = Side::start(limited(inbound(echo().await), |limits| {
        limits.body_idle = Duration::from_millis(100)
    }))
    .await;
    let mut stream = TcpStream::connect(side.address()).await.unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
        .await
        .unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let [span] = &side.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(says(span, "error.type").as_deref(), Some("timeout"));
}

#[tokio::test]
async fn connections_that_are_idle_for_long_are_closed() {
    let http = limited(inbound(echo().await), |limits| {
        limits.idle = Duration::from_millis(100);
        limits.upstream_idle = Duration::from_millis(50);
    });
    let side = Side::start(http).await;
    read_end(&mut TcpStream::connect(side.address()).await.unwrap()).await;
    let mut sender = side.http1().await;
    assert_eq!(
        read(sender.send_request(get("/")).await.unwrap()).await.0,
        200
    );
    while !sender.is_closed() {
        within(tokio::time::sleep(Duration::from_millis(5))).await;
    }
    let mut sender = side.http2().await;
    let request = || {
        Request::get("http://a/")
            .body(crate::side::empty())
            .unwrap()
    };
    assert_eq!(
        read(sender.send_request(request()).await.unwrap()).await.0,
        200
    );
    while within(sender.send_request(request())).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn what_is_under_way_ends_before_the_proxy_does() {
    let (asked, mut was_asked) = tokio::sync::mpsc::channel(4);
    let go_on = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let wait = std::sync::Arc::clone(&go_on);
    let to = service(move |_| {
        let (wait, asked) = (std::sync::Arc::clone(&wait), asked.clone());
        async move {
            asked.send(()).await.unwrap();
            wait.acquire().await.unwrap().forget();
            Response::new(text("done"))
        }
    })
    .await;
    let mut side = Side::start(inbound(to)).await;
    let (mut first, mut second, mut idle) = (
        side.http1().await,
        side.http2().await,
        TcpStream::connect(side.address()).await.unwrap(),
    );
    let first = tokio::spawn(async move { first.send_request(get("/")).await.unwrap() });
    let second = tokio::spawn(async move {
        second
            .send_request(
                Request::get("http://a/")
                    .body(crate::side::empty())
                    .unwrap(),
            )
            .await
            .unwrap()
    });
    for _ in 0..2 {
        within(was_asked.recv()).await.unwrap();
    }
    side.proxy.begin_stop();
    read_end(&mut idle).await;
    go_on.add_permits(2);
    let answer = within(first).await.unwrap();
    assert_eq!(answer.headers()["connection"], "close");
    assert_eq!(read(answer).await, (200, "done".to_owned()));
    assert_eq!(
        read(within(second).await.unwrap()).await,
        (200, "done".to_owned())
    );
    side.spans(2).await;
    side.proxy.ended().await;
}

#[tokio::test]
async fn what_does_not_end_is_cut_and_its_span_says_so() {
    let (listener, address) = listen().await;
    let spans = std::sync::Arc::new(crate::support::Spans::default());
    let mut config = throughline_proxy::Config {
        http: inbound(address),
        ..crate::support::config(Vec::new())
    };
    config.limits.drain_timeout = Duration::from_millis(50);
    let sink: std::sync::Arc<crate::support::Spans> = std::sync::Arc::clone(&spans);
    let proxy = crate::support::Running::start_with(config, sink).await;
    let mut side = Side { proxy, spans };
    let mut sender = side.http1().await;
    tokio::spawn(async move { drop(sender.send_request(get("/")).await) });
    let (mut stream, _) = within(listener.accept()).await.unwrap();
    assert!(within(stream.read(&mut [0; 64])).await.unwrap() > 0);
    side.proxy.begin_stop();
    let [span] = &side.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(says(span, "error.type").as_deref(), Some("shutdown"));
    side.proxy.ended().await;
}
