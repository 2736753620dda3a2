//! gRPC, with tonic's client and server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use throughline_model::Status as SpanStatus;
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::fixture::{HttpFixture, attribute_text, inbound};
use crate::support::{closed_port, listen, within};

type WordStream = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

/// Reports on drop that a waiting call was cancelled.
struct CancelNotice(mpsc::Sender<()>);

impl Drop for CancelNotice {
    fn drop(&mut self) {
        self.0.try_send(()).unwrap_or_default();
    }
}

/// Responds to a word with its capitals; "fail" ends the call with a status, "wait" never responds.
fn respond(
    word: Result<String, Status>,
    cancelled: &mpsc::Sender<()>,
) -> Pin<Box<dyn Future<Output = Result<String, Status>> + Send>> {
    match word.as_deref() {
        Ok("fail") => Box::pin(async { Err(Status::resource_exhausted("too many words")) }),
        Ok("wait") => {
            let waiting = CancelNotice(cancelled.clone());
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(waiting);
                Err(Status::internal("never"))
            })
        }
        _ => Box::pin(async { word.map(|word| word.to_uppercase()) }),
    }
}

async fn server() -> (SocketAddr, mpsc::Receiver<()>) {
    let (listener, address) = listen().await;
    let (cancelled, cancellations) = mpsc::channel(8);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(TokioIo::new(stream), cancelled.clone()));
        }
    });
    (address, cancellations)
}

async fn serve(stream: TokioIo<tokio::net::TcpStream>, cancelled: mpsc::Sender<()>) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let cancelled = cancelled.clone();
        let calls = tower::service_fn(move |request: Request<Streaming<String>>| {
            let cancelled = cancelled.clone();
            if let Some(deadline) = request.metadata().get("grpc-timeout") {
                let deadline = deadline.to_str().unwrap().to_owned();
                let responses: WordStream = Box::pin(stream::iter([Ok(deadline)]));
                return std::future::ready(Ok(Response::new(responses)));
            }
            let responses = request
                .into_inner()
                .then(move |word| respond(word, &cancelled));
            let responses: WordStream = Box::pin(responses);
            std::future::ready(Ok::<_, Status>(Response::new(responses)))
        });
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, String>::default());
        async move { Ok::<_, Infallible>(grpc.streaming(calls, request).await) }
    });
    drop(
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(stream, service)
            .await,
    );
}

async fn client(address: SocketAddr) -> Grpc<Channel> {
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    client
}

fn path() -> PathAndQuery {
    PathAndQuery::from_static("/words.Words/Say")
}

fn codec() -> ProstCodec<String, String> {
    ProstCodec::default()
}

#[tokio::test]
async fn calls_of_all_four_kinds_are_forwarded() {
    let (address, _cancelled) = server().await;
    let fixture = HttpFixture::start(inbound(address)).await;
    let mut client = client(fixture.address()).await;
    let one = client
        .unary(Request::new("one".to_owned()), path(), codec())
        .await
        .unwrap();
    assert_eq!(one.into_inner(), "ONE");

    client.ready().await.unwrap();
    let words = stream::iter(["a".to_owned(), "b".to_owned(), "c".to_owned()]);
    let received = client
        .streaming(Request::new(words), path(), codec())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        received.map(Result::unwrap).collect::<Vec<_>>().await,
        ["A", "B", "C"]
    );

    client.ready().await.unwrap();
    let many = client
        .server_streaming(Request::new("many".to_owned()), path(), codec())
        .await
        .unwrap();
    assert_eq!(
        many.into_inner()
            .map(Result::unwrap)
            .collect::<Vec<_>>()
            .await,
        ["MANY"]
    );

    client.ready().await.unwrap();
    let last = client
        .client_streaming(
            Request::new(stream::iter(["last".to_owned()])),
            path(),
            codec(),
        )
        .await
        .unwrap();
    assert_eq!(last.into_inner(), "LAST");

    for span in fixture.spans(4).await {
        assert_eq!(
            (span.name.as_str(), &span.status),
            ("words.Words/Say", &SpanStatus::Unset)
        );
        assert_eq!(
            attribute_text(&span, "rpc.service").as_deref(),
            Some("words.Words")
        );
        assert_eq!(
            attribute_text(&span, "rpc.grpc.status_code").as_deref(),
            Some("Int(0)"),
            "from the trailers"
        );
    }
}

/// Each word gets its response before the next one is sent.
#[tokio::test]
async fn bidirectional_stream_is_forwarded_message_by_message() {
    let (address, _cancelled) = server().await;
    let fixture = HttpFixture::start(inbound(address)).await;
    let mut client = client(fixture.address()).await;
    let (sender, words) = mpsc::channel::<String>(1);
    let words = stream::unfold(words, async |mut words| {
        words.recv().await.map(|word| (word, words))
    });
    let mut received = within(client.streaming(Request::new(Box::pin(words)), path(), codec()))
        .await
        .unwrap()
        .into_inner();
    for word in ["ping", "pong"] {
        sender.send(word.to_owned()).await.unwrap();
        assert_eq!(
            within(received.next()).await.unwrap().unwrap(),
            word.to_uppercase()
        );
    }
    assert!(
        fixture.spans.0.lock().unwrap().is_empty(),
        "the call is in progress"
    );
    drop(sender);
    assert!(within(received.next()).await.is_none());
    fixture.spans(1).await;
}

#[tokio::test]
async fn grpc_status_is_forwarded_and_recorded_on_the_span() {
    let (address, _cancelled) = server().await;
    let fixture = HttpFixture::start(inbound(address)).await;
    let mut client = client(fixture.address()).await;
    let status = client
        .unary(Request::new("fail".to_owned()), path(), codec())
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::ResourceExhausted, "too many words")
    );
    let [span] = &fixture.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(
        attribute_text(span, "rpc.grpc.status_code").as_deref(),
        Some("Int(8)")
    );
}

#[tokio::test]
async fn deadline_and_cancellation_reach_the_server() {
    let (address, mut cancelled) = server().await;
    let fixture = HttpFixture::start(inbound(address)).await;
    let mut first = client(fixture.address()).await;
    let mut request = Request::new("how long".to_owned());
    request.set_timeout(Duration::from_secs(7));
    assert_eq!(
        within(first.unary(request, path(), codec()))
            .await
            .unwrap()
            .into_inner(),
        "7000000u"
    );
    first.ready().await.unwrap();
    let waiting = first.unary(Request::new("wait".to_owned()), path(), codec());
    assert!(
        tokio::time::timeout(Duration::from_millis(100), waiting)
            .await
            .is_err()
    );
    within(cancelled.recv()).await.unwrap();

    let mut second = client(fixture.address()).await;
    let words = stream::iter(["a".to_owned(), "wait".to_owned()]);
    let mut received = second
        .streaming(Request::new(words), path(), codec())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(within(received.next()).await.unwrap().unwrap(), "A");
    drop(received);
    within(cancelled.recv()).await.unwrap();
    let errors: Vec<_> = fixture
        .spans(3)
        .await
        .iter()
        .map(|span| attribute_text(span, "error.type"))
        .collect();
    assert_eq!(
        errors,
        [
            None,
            Some("cancelled".to_owned()),
            Some("cancelled".to_owned())
        ]
    );
}

#[tokio::test]
async fn grpc_client_gets_a_grpc_status() {
    let fixture = HttpFixture::start(inbound(closed_port())).await;
    let mut client = client(fixture.address()).await;
    let status = client
        .unary(Request::new("one".to_owned()), path(), codec())
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "upstream connect failed")
    );
    let [span] = &fixture.spans(1).await[..] else {
        panic!("one span")
    };
    for (key, value) in [
        ("http.response.status_code", "Int(200)"),
        ("rpc.grpc.status_code", "Int(14)"),
        ("error.type", "connect"),
    ] {
        assert_eq!(attribute_text(span, key).as_deref(), Some(value), "{key}");
    }
}

#[tokio::test]
async fn concurrent_calls_share_one_upstream_connection() {
    let (address, _cancelled) = server().await;
    let fixture = HttpFixture::start(inbound(address)).await;
    let client = client(fixture.address()).await;
    let calls = (0..100).map(|number| {
        let mut client = client.clone();
        async move {
            client.ready().await.unwrap();
            let received = client
                .unary(Request::new(format!("n{number}")), path(), codec())
                .await
                .unwrap();
            assert_eq!(received.into_inner(), format!("N{number}"));
        }
    });
    within(futures_util::future::join_all(calls)).await;
    fixture.spans(100).await;
    fixture
        .proxy
        .until_metric("throughline_http_upstream_connections_total{direction=\"inbound\"} 1")
        .await;
}
