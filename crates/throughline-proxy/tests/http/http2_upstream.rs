//! HTTP/2 upstream: limits of streams, refusals, GOAWAY, and connections that do not answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::fixture::{Body, HttpFixture, empty_body, inbound, read_response, text_body};
use crate::support::{listen, within};

type ServerConnection = Connection<TcpStream, Bytes>;
type Exchange = (Request<RecvStream>, SendResponse<Bytes>);

/// Starts a service that handles each connection with its number, from 0.
async fn service<F, R>(max_streams: Option<u32>, serve: F) -> SocketAddr
where
    F: Fn(usize, ServerConnection) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let mut builder = h2::server::Builder::new();
            if let Some(max_streams) = max_streams {
                builder.max_concurrent_streams(max_streams);
            }
            let connection = builder.handshake(stream).await.unwrap();
            tokio::spawn(serve(number, connection));
        }
    });
    address
}

/// Reads the request and responds with its path and body.
async fn echo((request, mut respond): Exchange) {
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    let mut text = path.into_bytes();
    while let Some(Ok(data)) = body.data().await {
        text.extend_from_slice(&data);
    }
    if let Ok(mut stream) = respond.send_response(Response::new(()), false) {
        drop(stream.send_data(text.into(), true));
    }
}

fn get(path: &str) -> Request<Body> {
    Request::get(format!("http://shop{path}"))
        .body(empty_body())
        .unwrap()
}

fn post(path: &str, body: &str) -> Request<Body> {
    Request::post(format!("http://shop{path}"))
        .body(text_body(body.to_owned()))
        .unwrap()
}

/// Sends requests at the same time, and asserts that each gets its own response.
async fn send_all(client: &SendRequest<Body>, count: usize) {
    let exchanges = (0..count).map(|number| {
        let mut client = client.clone();
        async move {
            let (path, is_get) = (format!("/{number}"), number % 2 == 0);
            let request = if is_get {
                get(&path)
            } else {
                post(&path, "+body")
            };
            let response = within(client.send_request(request)).await.unwrap();
            let body = if is_get { path } else { format!("{path}+body") };
            assert_eq!(read_response(response).await, (200, body));
        }
    });
    join_all(exchanges).await;
}

/// Returns the error code with which the stream of a request was reset.
fn reset_reason(result: hyper::Result<Response<Incoming>>) -> Option<Reason> {
    let error = result.unwrap_err();
    let source = std::error::Error::source(&error)?;
    source.downcast_ref::<h2::Error>()?.reason()
}

#[tokio::test]
async fn requests_beyond_the_limit_of_streams_wait() {
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let address = service(Some(10), move |_, mut connection| {
        let (seen, open) = (Arc::clone(&seen), Arc::new(AtomicUsize::new(0)));
        async move {
            while let Some(Ok(exchange)) = connection.accept().await {
                let (seen, open) = (Arc::clone(&seen), Arc::clone(&open));
                seen.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::spawn(async move {
                    sleep(Duration::from_millis(5)).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                    echo(exchange).await;
                });
            }
        }
    })
    .await;
    let fixture = HttpFixture::start(inbound(address)).await;
    send_all(&fixture.http2().await, 200).await;
    let most = most.load(Ordering::SeqCst);
    assert!((1..=10).contains(&most), "{most} streams of a connection");
}

#[tokio::test]
async fn streams_that_stay_open_get_further_connections() {
    let opened = Arc::new(Semaphore::new(0));
    let count = Arc::clone(&opened);
    let address = service(Some(100), move |_, mut connection| {
        let count = Arc::clone(&count);
        async move {
            let mut held = Vec::new();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                held.push(respond.send_response(Response::new(()), false).unwrap());
                count.add_permits(1);
            }
        }
    })
    .await;
    let fixture = HttpFixture::start(inbound(address)).await;
    let client = fixture.http2().await;
    let open = (0..300).map(|_| {
        let mut client = client.clone();
        async move { within(client.send_request(get("/"))).await.unwrap() }
    });
    let responses = join_all(open).await;
    assert_eq!(responses.len(), 300);
    assert_eq!(opened.available_permits(), 300);
}

#[tokio::test]
async fn streams_above_the_last_of_a_goaway_are_sent_again() {
    let address = service(None, |_, mut connection| async move {
        // The first five streams are served, and the others are ignored.
        for _ in 0..5 {
            match connection.accept().await {
                Some(Ok(exchange)) => drop(tokio::spawn(echo(exchange))),
                _ => return,
            }
        }
        connection.graceful_shutdown();
        while let Some(Ok(exchange)) = connection.accept().await {
            tokio::spawn(echo(exchange));
        }
    })
    .await;
    let fixture = HttpFixture::start(inbound(address)).await;
    let client = fixture.http2().await;
    for _ in 0..10 {
        send_all(&client, 30).await;
    }
}

#[tokio::test]
async fn refused_streams_are_sent_again_and_then_passed_on() {
    let refusals = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refusals);
    let address = service(None, move |_, mut connection| {
        let count = Arc::clone(&count);
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let is_first = count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
                if is_first || request.uri().path() == "/never" {
                    respond.send_reset(Reason::REFUSED_STREAM);
                } else {
                    tokio::spawn(echo((request, respond)));
                }
            }
        }
    })
    .await;
    let fixture = HttpFixture::start(inbound(address)).await;
    let mut client = fixture.http2().await;
    for number in 0..4 {
        let path = format!("/{number}");
        let response = within(client.send_request(post(&path, "+body")))
            .await
            .unwrap();
        assert_eq!(read_response(response).await, (200, format!("{path}+body")));
    }
    let before = refusals.load(Ordering::SeqCst);
    let result = within(client.send_request(post("/never", "x"))).await;
    assert_eq!(reset_reason(result), Some(Reason::REFUSED_STREAM));
    assert!(refusals.load(Ordering::SeqCst) - before > 3);
    // Too long to be kept: the client itself has to send it again.
    let long = "x".repeat(200 << 10);
    let before = refusals.load(Ordering::SeqCst);
    if before % 2 == 1 {
        within(client.send_request(get("/"))).await.unwrap();
    }
    let result = within(client.send_request(post("/never", &long))).await;
    assert_eq!(reset_reason(result), Some(Reason::REFUSED_STREAM));
}

#[tokio::test]
async fn other_resets_are_passed_on_with_their_code() {
    let address = service(None, |_, mut connection| async move {
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_reset(Reason::ENHANCE_YOUR_CALM);
        }
    })
    .await;
    let fixture = HttpFixture::start(inbound(address)).await;
    let result = within(fixture.http2().await.send_request(get("/"))).await;
    assert_eq!(reset_reason(result), Some(Reason::ENHANCE_YOUR_CALM));
}

/// The first connection goes silent, as after a route has been lost.
#[tokio::test]
async fn connection_that_does_not_answer_is_left() {
    let address = service(None, |number, mut connection| async move {
        let mut count = 0;
        while let Some(Ok(exchange)) = connection.accept().await {
            count += 1;
            if number == 0 && count == 2 {
                // Neither reads nor writes any more, and stays open.
                std::future::pending::<()>().await;
            }
            tokio::spawn(echo(exchange));
        }
    })
    .await;
    let fixture = HttpFixture::start(inbound(address)).await;
    let mut client = fixture.http2().await;
    let response = within(client.send_request(get("/first"))).await.unwrap();
    assert_eq!(read_response(response).await.0, 200);
    let begin = Instant::now();
    let mut lost = client.clone();
    let lost = tokio::spawn(async move { lost.send_request(post("/lost", "x")).await });
    let mut again = client.clone();
    let again = tokio::spawn(async move { again.send_request(get("/again")).await });
    // New requests are served as soon as the connection has been left.
    let next = loop {
        let request = client.send_request(post("/next", "x"));
        if let Ok(response) = tokio::time::timeout(Duration::from_secs(1), request).await {
            break response.unwrap();
        }
    };
    assert_eq!(read_response(next).await, (200, "/nextx".to_owned()));
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    // A request that may be repeated moves after a while.
    let response = within(again).await.unwrap().unwrap();
    assert_eq!(read_response(response).await, (200, "/again".to_owned()));
    lost.abort();
}

#[tokio::test]
async fn slow_service_that_answers_pings_keeps_its_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let address = service(None, move |_, mut connection| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            while let Some(Ok(exchange)) = connection.accept().await {
                tokio::spawn(async move {
                    sleep(Duration::from_secs(3)).await;
                    echo(exchange).await;
                });
            }
        }
    })
    .await;
    let fixture = HttpFixture::start(inbound(address)).await;
    let mut client = fixture.http2().await;
    for _ in 0..2 {
        let response = within(client.send_request(post("/slow", "x")))
            .await
            .unwrap();
        assert_eq!(read_response(response).await, (200, "/slowx".to_owned()));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}
