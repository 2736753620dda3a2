//! Spans, contexts and correlation.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use throughline_intercept::correlate::{CorrelationKey, SingleInFlightPolicy, TokenLocation};
use throughline_intercept::http::{Settings, TrustPolicy};
use throughline_model::{SpanKind, Status};
use throughline_proxy::http::{Config, ConnectPorts, HttpRoute};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use crate::fixture::{
    Body, HttpFixture, attribute_text, echo, empty_body, forward_proxy, get, inbound, listening,
    read_response, service, text_body, with_limits,
};
use crate::support::{closed_port, listen, within};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn server_span_continues_the_context_of_the_client() {
    let fixture = HttpFixture::start(inbound(echo().await)).await;
    let mut request = get("/orders/17?sig=secret");
    request
        .headers_mut()
        .insert("traceparent", PARENT.parse().unwrap());
    let (_, body) = read_response(fixture.http1().await.send_request(request).await.unwrap()).await;
    let [span] = &fixture.spans(1).await[..] else {
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
        assert_eq!(attribute_text(span, key).as_deref(), Some(value), "{key}");
    }
    assert!(span.end > span.start);
    fixture
        .proxy
        .until_metric("throughline_http_requests_total{direction=\"inbound\",status=\"2xx\"} 1")
        .await;
    fixture
        .proxy
        .until_metric("throughline_http_spans_total 1")
        .await;
}

#[tokio::test]
async fn connection_field_cannot_remove_the_written_context() {
    let fixture = HttpFixture::start(inbound(echo().await)).await;
    let mut request = get("/");
    request
        .headers_mut()
        .insert("connection", "traceparent, x-request-id".parse().unwrap());
    let (_, body) = read_response(fixture.http1().await.send_request(request).await.unwrap()).await;
    assert!(
        body.contains("traceparent: 00-") && body.contains("x-request-id: "),
        "{body}"
    );
}

#[tokio::test]
async fn untrusted_contexts_are_linked_and_not_continued() {
    let settings = Arc::new(Settings {
        trust: TrustPolicy::From(vec!["10.0.0.0/8".parse().unwrap()]),
        ..Settings::default()
    });
    let fixture = HttpFixture::start(Config {
        settings,
        ..inbound(echo().await)
    })
    .await;
    let mut request = get("/");
    request
        .headers_mut()
        .insert("traceparent", PARENT.parse().unwrap());
    read_response(fixture.http1().await.send_request(request).await.unwrap()).await;
    let [span] = &fixture.spans(1).await[..] else {
        panic!("one span")
    };
    assert!(span.parent_span_id.is_none());
    assert_eq!(span.links[0].span_id.to_string(), "b7ad6b7169203331");
}

/// The service has no tracing: it only copies `x-request-id` into its own request.
#[tokio::test]
async fn outbound_request_becomes_a_child_of_the_inbound_one() {
    let upstream = echo().await;
    let proxy: Arc<Mutex<Option<std::net::SocketAddr>>> = Arc::default();
    let known = Arc::clone(&proxy);
    let to = service(move |request| {
        let proxy = known.lock().unwrap().unwrap();
        async move {
            let mut sender = crate::fixture::http1_to(proxy).await;
            let id = request.headers()["x-request-id"].clone();
            let request = Request::get(format!("http://{upstream}/stock"))
                .header("host", "x")
                .header("x-request-id", id)
                .body(empty_body());
            let (_, body) =
                read_response(sender.send_request(request.unwrap()).await.unwrap()).await;
            Response::new(text_body(body))
        }
    })
    .await;
    let mut http = inbound(to);
    http.listeners
        .extend(forward_proxy(ConnectPorts::default()).listeners);
    let fixture = HttpFixture::start(http).await;
    *proxy.lock().unwrap() = Some(fixture.proxy.addresses.http[1]);
    let (status, body) = read_response(
        fixture
            .http1()
            .await
            .send_request(get("/checkout"))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(status, 200, "{body}");
    let [client, server] = &fixture.spans(2).await[..] else {
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
        attribute_text(client, "throughline.parent.evidence").as_deref(),
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

fn order_request(order: u32) -> Request<Body> {
    let body = format!("{{\"order\":{{\"id\":{order}}}}}");
    Request::post("/")
        .header("host", "shop")
        .header("content-type", "application/json")
        .body(text_body(body))
        .unwrap()
}

/// Two concurrent requests have an order number in the body; the call has it in a header.
#[tokio::test]
async fn value_in_a_body_correlates_a_call_with_its_request() {
    let key = CorrelationKey {
        name: "order".to_owned(),
        locations: vec![
            TokenLocation::Body("/order/id".to_owned()),
            TokenLocation::Header("x-order".to_owned()),
        ],
    };
    let upstream = echo().await;
    let responses_allowed = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&responses_allowed);
    let to = service(move |request| {
        let wait = Arc::clone(&wait);
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            wait.acquire().await.unwrap().forget();
            Response::new(text_body(String::from_utf8_lossy(&body).into_owned()))
        }
    })
    .await;
    let mut http = inbound(to);
    http.correlate.keys.push(key);
    http.correlate.single_in_flight = SingleInFlightPolicy::Never;
    http.listeners
        .extend(forward_proxy(ConnectPorts::default()).listeners);
    let fixture = HttpFixture::start(http).await;
    let (mut one, mut two) = (fixture.http1().await, fixture.http2().await);
    let mut second = order_request(18);
    *second.uri_mut() = "http://shop/".parse().unwrap();
    let (one, two) = (
        tokio::spawn(one.send_request(order_request(17))),
        tokio::spawn(two.send_request(second)),
    );
    fixture
        .proxy
        .until_metric("throughline_http_upstream_connections_total{direction=\"inbound\"} 2")
        .await;
    let mut caller = crate::fixture::http1_to(fixture.proxy.addresses.http[1]).await;
    let call = Request::get(format!("http://{upstream}/stock"))
        .header("x-order", "18")
        .body(empty_body())
        .unwrap();
    read_response(caller.send_request(call).await.unwrap()).await;
    responses_allowed.add_permits(2);
    let (_, first) = read_response(one.await.unwrap().unwrap()).await;
    assert_eq!(
        first, "{\"order\":{\"id\":17}}",
        "a searched body is forwarded completely"
    );
    read_response(two.await.unwrap().unwrap()).await;
    let spans = fixture.spans(3).await;
    let call = spans
        .iter()
        .find(|span| span.kind == SpanKind::Client)
        .unwrap();
    assert_eq!(
        attribute_text(call, "throughline.parent.evidence").as_deref(),
        Some("request-id")
    );
    let parent = spans
        .iter()
        .find(|span| Some(span.span_id) == call.parent_span_id)
        .unwrap();
    assert_eq!(
        attribute_text(parent, "network.protocol.version").as_deref(),
        Some("2"),
        "the one for order 18"
    );
}

/// A body of two parts, the second of which waits for a notification.
fn two_part_body(wait: Arc<Notify>) -> Body {
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
async fn span_lasts_to_the_end_of_the_response() {
    let responses_allowed = Arc::new(Notify::new());
    let wait = Arc::clone(&responses_allowed);
    let to = service(move |_| {
        let wait = Arc::clone(&wait);
        async move { Response::new(two_part_body(wait)) }
    })
    .await;
    let fixture = HttpFixture::start(inbound(to)).await;
    let mut body = fixture
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
        fixture.spans.0.lock().unwrap().is_empty(),
        "the response is incomplete"
    );
    responses_allowed.notify_one();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "part");
    let [span] = &fixture.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(span.status, Status::Unset);
}

#[tokio::test]
async fn unreachable_service_gets_503_with_the_reason() {
    let fixture = HttpFixture::start(inbound(closed_port())).await;
    let response = fixture.http1().await.send_request(get("/")).await.unwrap();
    assert_eq!(
        response.headers()["proxy-status"],
        "throughline; error=destination_unavailable"
    );
    assert_eq!(
        read_response(response).await,
        (503, "upstream connect failed\n".to_owned())
    );
    let [span] = &fixture.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(
        attribute_text(span, "error.type").as_deref(),
        Some("connect")
    );
    assert_eq!(
        attribute_text(span, "http.response.status_code").as_deref(),
        Some("Int(503)")
    );
    fixture
        .proxy
        .until_metric(
            "throughline_http_refusals_total{direction=\"inbound\",reason=\"unreachable\"} 1",
        )
        .await;
}

#[tokio::test]
async fn close_before_the_response_or_within_it_is_forwarded() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        for response in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
            b"nonsense\r\n\r\n",
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
            stream.write_all(response).await.unwrap();
        }
    });
    let fixture = HttpFixture::start(inbound(address)).await;
    let error = fixture.http1().await.send_request(get("/")).await;
    assert!(error.unwrap_err().is_incomplete_message());
    let response = fixture.http1().await.send_request(get("/")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(
        within(response.into_body().collect()).await.is_err(),
        "the response is incomplete"
    );
    let response = fixture.http1().await.send_request(get("/")).await.unwrap();
    assert_eq!(
        response.headers()["proxy-status"],
        "throughline; error=http_protocol_error"
    );
    let spans = fixture.spans(3).await;
    let errors: Vec<_> = spans
        .iter()
        .map(|span| attribute_text(span, "error.type").unwrap())
        .collect();
    assert_eq!(errors, ["reset", "reset", "protocol"]);
    assert!(
        spans
            .iter()
            .all(|span| matches!(span.status, Status::Error(_)))
    );
}

#[tokio::test]
async fn client_disconnect_cancels_the_upstream_request() {
    let (listener, address) = listen().await;
    let fixture = HttpFixture::start(inbound(address)).await;
    let mut streams = Vec::new();
    for is_http2 in [false, true] {
        let asking = if is_http2 {
            let mut sender = fixture.http2().await;
            tokio::spawn(async move {
                let request = Request::get("http://a/").body(empty_body()).unwrap();
                drop(sender.send_request(request).await);
            })
        } else {
            let mut sender = fixture.http1().await;
            tokio::spawn(async move { drop(sender.send_request(get("/")).await) })
        };
        let (mut stream, _) = within(listener.accept()).await.unwrap();
        let mut buffer = [0; 4096];
        assert!(within(stream.read(&mut buffer)).await.unwrap() > 0);
        asking.abort();
        if is_http2 {
            streams.push(stream);
        } else {
            // The server sees the close, as it does without the proxy, and gives up.
            assert_eq!(within(stream.read(&mut buffer)).await.unwrap(), 0);
        }
    }
    let spans = fixture.spans(2).await;
    assert!(
        spans
            .iter()
            .all(|span| attribute_text(span, "error.type").as_deref() == Some("cancelled")),
        "{spans:#?}"
    );
}

#[tokio::test]
async fn late_response_times_out() {
    let (_listener, address) = listen().await;
    let http = with_limits(inbound(address), |limits| {
        limits.response_timeout = Some(Duration::from_millis(50));
    });
    let fixture = HttpFixture::start(http).await;
    let response = fixture.http1().await.send_request(get("/")).await.unwrap();
    assert_eq!(
        response.headers()["proxy-status"],
        "throughline; error=http_response_timeout"
    );
    assert_eq!(read_response(response).await.0, 504);
    let [span] = &fixture.spans(1).await[..] else {
        panic!("one span")
    };
    assert_eq!(
        attribute_text(span, "error.type").as_deref(),
        Some("timeout")
    );
}

#[tokio::test]
async fn proxy_loop_is_rejected() {
    let (listener, address) = listen().await;
    drop(listener);
    let mut http = listening(HttpRoute::Named {
        connect: ConnectPorts::default(),
    });
    http.listeners[0].address = address;
    let fixture = HttpFixture::start(http).await;
    // The target is the proxy itself.
    let request = Request::get(format!("http://{address}/"))
        .header("host", "x")
        .body(empty_body())
        .unwrap();
    let response = fixture.http1().await.send_request(request).await.unwrap();
    assert_eq!(response.status().as_u16(), 508);
    let stream = TcpStream::connect(address).await;
    assert!(stream.is_ok(), "the proxy still accepts connections");
}
