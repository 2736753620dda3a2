//! The spans that come of it, and what the requests say of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use throughline_intercept::correlate::{CorrelationKey, SingleInFlightPolicy, TokenLocation};
use throughline_intercept::http::{Settings, Trust};
use throughline_model::{SpanKind, Status};
use throughline_proxy::http::{Config, Route};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use crate::side::{
    Body, Side, echo, empty, get, inbound, limited, listening, named, read, says, service, text,
};
use crate::support::{listen, nobody, within};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn a_span_is_between_the_one_who_asks_and_the_service() {
    let side = Side::start(inbound(echo().await)).await;
    let mut request = get("/orders/17?sig=secret");
    request
        .headers_mut()
        .insert("traceparent", PARENT.parse().unwrap());
    let (_, body) = read(side.http1().await.send_request(request).await.unwrap()).await;
    let [span] = &side.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!((span.kind, span.name.as_str()), (SpanKind::Server, "GET"));
    assert_eq!(
        span.trace_id.to_string(),
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(span.parent_span_id.unwrap().to_string(), "b7ad6b7169203331");
    assert!(
        body.contains(&format!(
            "traceparent: 00-{}-{}-01\n",
            span.trace_id, span.span_id
        )),
        "{body}"
    );
    assert!(body.contains("x-request-id: "), "{body}");
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/orders/17"),
        ("url.query", "sig=REDACTED"),
        ("url.scheme", "http"),
        ("server.address", "shop"),
        ("client.address", "127.0.0.1"),
        ("http.response.status_code", "Int(200)"),
        ("network.protocol.version", "1.1"),
    ] {
        assert_eq!(says(span, key).as_deref(), Some(value), "{key}");
    }
    assert!(span.end > span.start);
    side.proxy
        .until_metric("throughline_http_requests_total{direction=\"inbound\",status=\"2xx\"} 1")
        .await;
    side.proxy
        .until_metric("throughline_http_spans_total 1")
        .await;
}

#[tokio::test]
async fn what_connection_names_cannot_take_our_context_out() {
    let side = Side::start(inbound(echo().await)).await;
    let mut request = get("/");
    request
        .headers_mut()
        .insert("connection", "traceparent, x-request-id".parse().unwrap());
    let (_, body) = read(side.http1().await.send_request(request).await.unwrap()).await;
    assert!(
        body.contains("traceparent: 00-") && body.contains("x-request-id: "),
        "{body}"
    );
}

#[tokio::test]
async fn contexts_of_strangers_are_linked_and_not_continued() {
    let settings = Arc::new(Settings {
        trust: Trust::From(vec!["10.0.0.0/8".parse().unwrap()]),
        ..Settings::default()
    });
    let side = Side::start(Config {
        settings,
        ..inbound(echo().await)
    })
    .await;
    let mut request = get("/");
    request
        .headers_mut()
        .insert("traceparent", PARENT.parse().unwrap());
    read(side.http1().await.send_request(request).await.unwrap()).await;
    let [span] = &side.spans(1).await[..] else {
        panic!("one span")
    };
    assert!(span.parent_span_id.is_none());
    assert_eq!(span.links[0].span_id.to_string(), "b7ad6b7169203331");
}

/// A service that knows nothing of tracing asks another through the proxy, and copies the request id as it comes.
#[tokio::test]
async fn a_request_that_a_request_caused_is_its_child() {
    let asked = echo().await;
    let proxy: Arc<Mutex<Option<std::net::SocketAddr>>> = Arc::default();
    let known = Arc::clone(&proxy);
    let to = service(move |request| {
        let proxy = known.lock().unwrap().unwrap();
        async move {
            let mut sender = crate::side::http1_to(proxy).await;
            let id = request.headers()["x-request-id"].clone();
            let request = Request::get(format!("http://{asked}/stock"))
                .header("host", "x")
                .header("x-request-id", id)
                .body(empty());
            let (_, body) = read(sender.send_request(request.unwrap()).await.unwrap()).await;
            Response::new(text(body))
        }
    })
    .await;
    let mut http = inbound(to);
    http.listeners.extend(named(false).listeners);
    let side = Side::start(http).await;
    *proxy.lock().unwrap() = Some(side.proxy.addresses.http[1]);
    let (status, body) = read(
        side.http1()
            .await
            .send_request(get("/checkout"))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(status, 200, "{body}");
    let [client, server] = &side.spans(2).await[..] else {
        panic!("two spans")
    };
    assert_eq!(
        (client.kind, server.kind),
        (SpanKind::Client, SpanKind::Server)
    );
    assert_eq!(
        (client.trace_id, client.parent_span_id),
        (server.trace_id, Some(server.span_id))
    );
    assert_eq!(
        says(client, "throughline.parent.evidence").as_deref(),
        Some("request-id")
    );
    assert!(
        body.contains(&format!(
            "traceparent: 00-{}-{}-01\n",
            client.trace_id, client.span_id
        )),
        "{body}"
    );
}

/// Two requests at a time for orders that stand in their bodies, and calls that name an order in a header.
#[tokio::test]
async fn a_value_in_a_body_tells_which_request_a_call_is_for() {
    let key = CorrelationKey {
        name: "order".to_owned(),
        locations: vec![
            TokenLocation::Body("/order/id".to_owned()),
            TokenLocation::Header("x-order".to_owned()),
        ],
    };
    let asked = echo().await;
    let go_on = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&go_on);
    let to = service(move |request| {
        let wait = Arc::clone(&wait);
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            wait.acquire().await.unwrap().forget();
            Response::new(text(String::from_utf8_lossy(&body).into_owned()))
        }
    })
    .await;
    let mut http = inbound(to);
    http.correlate.keys.push(key);
    http.correlate.single_in_flight = SingleInFlightPolicy::Never;
    http.listeners.extend(named(false).listeners);
    let side = Side::start(http).await;
    let post = |order: u32| {
        let body = format!("{{\"order\":{{\"id\":{order}}}}}");
        Request::post("/")
            .header("host", "shop")
            .header("content-type", "application/json")
            .body(text(body))
            .unwrap()
    };
    let (mut one, mut two) = (side.http1().await, side.http2().await);
    let mut two_post = post(18);
    *two_post.uri_mut() = "http://shop/".parse().unwrap();
    let (one, two) = (
        tokio::spawn(one.send_request(post(17))),
        tokio::spawn(two.send_request(two_post)),
    );
    side.proxy
        .until_metric("throughline_http_upstream_connections_total{direction=\"inbound\"} 2")
        .await;
    let mut caller = crate::side::http1_to(side.proxy.addresses.http[1]).await;
    let call = Request::get(format!("http://{asked}/stock"))
        .header("x-order", "18")
        .body(empty())
        .unwrap();
    read(caller.send_request(call).await.unwrap()).await;
    go_on.add_permits(2);
    let (_, first) = read(one.await.unwrap().unwrap()).await;
    assert_eq!(
        first, "{\"order\":{\"id\":17}}",
        "what was looked into goes on whole"
    );
    read(two.await.unwrap().unwrap()).await;
    let spans = side.spans(3).await;
    let call = spans
        .iter()
        .find(|span| span.kind == SpanKind::Client)
        .unwrap();
    assert_eq!(
        says(call, "throughline.parent.evidence").as_deref(),
        Some("request-id")
    );
    let parent = spans
        .iter()
        .find(|span| Some(span.span_id) == call.parent_span_id)
        .unwrap();
    assert_eq!(
        says(parent, "network.protocol.version").as_deref(),
        Some("2"),
        "the one for order 18"
    );
}

/// Two parts, with something to wait for between them.
fn two_parts(wait: Arc<Notify>) -> Body {
    let frames = futures_util::stream::unfold((0, wait), async |(step, wait)| {
        if step == 1 {
            wait.notified().await;
        }
        (step < 2).then(|| {
            (
                Ok(Frame::data(Bytes::from_static(b"part"))),
                (step + 1, wait),
            )
        })
    });
    StreamBody::new(frames).boxed()
}

#[tokio::test]
async fn a_span_lasts_to_the_end_of_the_answer() {
    let go_on = Arc::new(Notify::new());
    let wait = Arc::clone(&go_on);
    let to = service(move |_| {
        let wait = Arc::clone(&wait);
        async move { Response::new(two_parts(wait)) }
    })
    .await;
    let side = Side::start(inbound(to)).await;
    let mut body = side
        .http1()
        .await
        .send_request(get("/"))
        .await
        .unwrap()
        .into_body();
    assert_eq!(
        within(body.frame())
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap(),
        "part"
    );
    assert!(
        side.spans.0.lock().unwrap().is_empty(),
        "the answer has not ended"
    );
    go_on.notify_one();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "part");
    let [span] = &side.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(span.status, Status::Unset);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_told_with_the_reason() {
    let side = Side::start(inbound(nobody().await)).await;
    let answer = side.http1().await.send_request(get("/")).await.unwrap();
    assert_eq!(
        answer.headers()["proxy-status"],
        "throughline; error=destination_unavailable"
    );
    assert_eq!(
        read(answer).await,
        (503, "who is asked cannot be connected to\n".to_owned())
    );
    let [span] = &side.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(says(span, "error.type").as_deref(), Some("connect"));
    assert_eq!(
        says(span, "http.response.status_code").as_deref(),
        Some("Int(503)")
    );
    side.proxy
        .until_metric(
            "throughline_http_refusals_total{direction=\"inbound\",reason=\"unreachable\"} 1",
        )
        .await;
}

#[tokio::test]
async fn a_reset_before_the_answer_is_told_and_one_within_it_passes_on() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        for answer in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
            b"nonsense\r\n\r\n",
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
            stream.write_all(answer).await.unwrap();
        }
    });
    let side = Side::start(inbound(address)).await;
    let answer = side.http1().await.send_request(get("/")).await.unwrap();
    assert_eq!(
        answer.headers()["proxy-status"],
        "throughline; error=connection_terminated"
    );
    assert_eq!(read(answer).await.0, 502);
    let answer = side.http1().await.send_request(get("/")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(
        within(answer.into_body().collect()).await.is_err(),
        "half an answer is none"
    );
    let answer = side.http1().await.send_request(get("/")).await.unwrap();
    assert_eq!(
        answer.headers()["proxy-status"],
        "throughline; error=http_protocol_error"
    );
    let spans = side.spans(3).await;
    let errors: Vec<_> = spans
        .iter()
        .map(|span| says(span, "error.type").unwrap())
        .collect();
    assert_eq!(errors, ["reset", "reset", "protocol"]);
    assert!(
        spans
            .iter()
            .all(|span| matches!(span.status, Status::Error(_)))
    );
}

#[tokio::test]
async fn who_goes_away_cancels_the_request_to_the_service() {
    let (listener, address) = listen().await;
    let side = Side::start(inbound(address)).await;
    let mut streams = Vec::new();
    for is_http2 in [false, true] {
        let asking = if is_http2 {
            let mut sender = side.http2().await;
            tokio::spawn(async move {
                drop(
                    sender
                        .send_request(Request::get("http://a/").body(empty()).unwrap())
                        .await,
                )
            })
        } else {
            let mut sender = side.http1().await;
            tokio::spawn(async move { drop(sender.send_request(get("/")).await) })
        };
        let (mut stream, _) = within(listener.accept()).await.unwrap();
        let mut buffer = [0; 4096];
        assert!(within(stream.read(&mut buffer)).await.unwrap() > 0);
        asking.abort();
        streams.push(stream);
    }
    let spans = side.spans(2).await;
    assert!(
        spans
            .iter()
            .all(|span| says(span, "error.type").as_deref() == Some("cancelled")),
        "{spans:#?}"
    );
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up() {
    let (_listener, address) = listen().await;
    let http = limited(inbound(address), |limits| {
        limits.answer_deadline = Some(Duration::from_millis(50))
    });
    let side = Side::start(http).await;
    let answer = side.http1().await.send_request(get("/")).await.unwrap();
    assert_eq!(
        answer.headers()["proxy-status"],
        "throughline; error=http_response_timeout"
    );
    assert_eq!(read(answer).await.0, 504);
    let [span] = &side.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(says(span, "error.type").as_deref(), Some("timeout"));
}

#[tokio::test]
async fn our_own_requests_that_come_back_go_no_further() {
    let (listener, address) = listen().await;
    drop(listener);
    let mut http = listening(Route::Named { connect: false });
    http.listeners[0].address = address;
    let side = Side::start(http).await;
    // The proxy is asked for itself.
    let request = Request::get(format!("http://{address}/"))
        .header("host", "x")
        .body(empty())
        .unwrap();
    let answer = side.http1().await.send_request(request).await.unwrap();
    assert_eq!(answer.status().as_u16(), 508);
    let stream = TcpStream::connect(address).await;
    assert!(stream.is_ok(), "it serves still");
}
