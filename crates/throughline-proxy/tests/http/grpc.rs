//! gRPC: tonic's client and server with the proxy between them.

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

use crate::side::{Side, inbound, says};
use crate::support::{closed_port, listen, within};

type Answers = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

/// Tells when a call that waits is let go.
struct Waiting(mpsc::Sender<()>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.try_send(()).unwrap_or_default();
    }
}

/// Answers each word in capitals; "fail" ends the call with a status, "wait" never comes to an answer.
fn answer(
    word: Result<String, Status>,
    gone: &mpsc::Sender<()>,
) -> Pin<Box<dyn Future<Output = Result<String, Status>> + Send>> {
    match word.as_deref() {
        Ok("fail") => Box::pin(async { Err(Status::resource_exhausted("too many words")) }),
        Ok("wait") => {
            let waiting = Waiting(gone.clone());
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
    let (gone, was_gone) = mpsc::channel(8);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(TokioIo::new(stream), gone.clone()));
        }
    });
    (address, was_gone)
}

async fn serve(stream: TokioIo<tokio::net::TcpStream>, gone: mpsc::Sender<()>) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let gone = gone.clone();
        let calls = tower::service_fn(move |request: Request<Streaming<String>>| {
            let gone = gone.clone();
            if let Some(deadline) = request.metadata().get("grpc-timeout") {
                let deadline = deadline.to_str().unwrap().to_owned();
                let answers: Answers = Box::pin(stream::iter([Ok(deadline)]));
                return std::future::ready(Ok(Response::new(answers)));
            }
            let answers = request.into_inner().then(move |word| answer(word, &gone));
            let answers: Answers = Box::pin(answers);
            std::future::ready(Ok::<_, Status>(Response::new(answers)))
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
async fn calls_of_all_kinds_pass() {
    let (address, _gone) = server().await;
    let side = Side::start(inbound(address)).await;
    let mut client = client(side.address()).await;
    let one = client
        .unary(Request::new("one".to_owned()), path(), codec())
        .await
        .unwrap();
    assert_eq!(one.into_inner(), "ONE");

    client.ready().await.unwrap();
    let words = stream::iter(["a".to_owned(), "b".to_owned(), "c".to_owned()]);
    let said = client
        .streaming(Request::new(words), path(), codec())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        said.map(Result::unwrap).collect::<Vec<_>>().await,
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

    for span in side.spans(4).await {
        assert_eq!(
            (span.name.as_str(), &span.status),
            ("words.Words/Say", &SpanStatus::Unset)
        );
        assert_eq!(says(&span, "rpc.service").as_deref(), Some("words.Words"));
        assert_eq!(
            says(&span, "rpc.grpc.status_code").as_deref(),
            Some("Int(0)"),
            "from the trailers"
        );
    }
}

/// Each word is answered before the next is said.
#[tokio::test]
async fn both_sides_of_a_call_talk_at_once() {
    let (address, _gone) = server().await;
    let side = Side::start(inbound(address)).await;
    let mut client = client(side.address()).await;
    let (say, words) = mpsc::channel::<String>(1);
    let words = stream::unfold(words, async |mut words| {
        words.recv().await.map(|word| (word, words))
    });
    let mut said = within(client.streaming(Request::new(Box::pin(words)), path(), codec()))
        .await
        .unwrap()
        .into_inner();
    for word in ["ping", "pong"] {
        say.send(word.to_owned()).await.unwrap();
        assert_eq!(
            within(said.next()).await.unwrap().unwrap(),
            word.to_uppercase()
        );
    }
    assert!(
        side.spans.0.lock().unwrap().is_empty(),
        "the call has not ended"
    );
    drop(say);
    assert!(within(said.next()).await.is_none());
    side.spans(1).await;
}

#[tokio::test]
async fn a_status_passes_and_stands_on_the_span() {
    let (address, _gone) = server().await;
    let side = Side::start(inbound(address)).await;
    let mut client = client(side.address()).await;
    let status = client
        .unary(Request::new("fail".to_owned()), path(), codec())
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::ResourceExhausted, "too many words")
    );
    let [span] = &side.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(
        says(span, "rpc.grpc.status_code").as_deref(),
        Some("Int(8)")
    );
}

#[tokio::test]
async fn a_deadline_and_a_cancel_come_to_the_server() {
    let (address, mut gone) = server().await;
    let side = Side::start(inbound(address)).await;
    let mut first = client(side.address()).await;
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
    within(gone.recv()).await.unwrap();

    let mut second = client(side.address()).await;
    let words = stream::iter(["a".to_owned(), "wait".to_owned()]);
    let mut said = second
        .streaming(Request::new(words), path(), codec())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(within(said.next()).await.unwrap().unwrap(), "A");
    drop(said);
    within(gone.recv()).await.unwrap();
    let errors: Vec<_> = side
        .spans(3)
        .await
        .iter()
        .map(|span| says(span, "error.type"))
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
async fn who_asks_by_grpc_is_answered_in_grpc() {
    let side = Side::start(inbound(closed_port().await)).await;
    let mut client = client(side.address()).await;
    let status = client
        .unary(Request::new("one".to_owned()), path(), codec())
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "who is asked cannot be connected to")
    );
}

/// Many calls at once on one connection, and one connection to the server for all of them.
#[tokio::test]
async fn many_calls_share_a_connection() {
    let (address, _gone) = server().await;
    let side = Side::start(inbound(address)).await;
    let client = client(side.address()).await;
    let calls = (0..100).map(|number| {
        let mut client = client.clone();
        async move {
            client.ready().await.unwrap();
            let said = client
                .unary(Request::new(format!("n{number}")), path(), codec())
                .await
                .unwrap();
            assert_eq!(said.into_inner(), format!("N{number}"));
        }
    });
    within(futures_util::future::join_all(calls)).await;
    side.spans(100).await;
    side.proxy
        .until_metric("throughline_http_upstream_connections_total{direction=\"inbound\"} 1")
        .await;
}
