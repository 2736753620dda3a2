//! The server layer and the client middleware.
#![cfg(all(feature = "axum", feature = "reqwest"))]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{any, get};
use futures_util::FutureExt as _;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use opentelemetry::metrics::noop::NoopMeterProvider;
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use throughline::Telemetry;
use throughline::http::{ClientTracing, MatchedRoute, ServerLayer};
use tower::{Layer as _, ServiceExt as _};

const SENDER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct Traced {
    telemetry: Telemetry,
    spans: InMemorySpanExporter,
}

impl Traced {
    fn new() -> Self {
        let spans = InMemorySpanExporter::default();
        let tracers = SdkTracerProvider::builder()
            .with_simple_exporter(spans.clone())
            .build();
        Self {
            telemetry: Telemetry::new(&tracers, &NoopMeterProvider::new(), None),
            spans,
        }
    }

    fn layer(&self) -> ServerLayer {
        ServerLayer::new().telemetry(self.telemetry.clone())
    }

    fn client(&self) -> ClientWithMiddleware {
        let tracing = ClientTracing::new().telemetry(self.telemetry.clone());
        ClientBuilder::new(reqwest::Client::new())
            .with(tracing)
            .build()
    }

    fn only(&self) -> SpanData {
        let mut all = self.spans.get_finished_spans().unwrap();
        assert_eq!(
            all.len(),
            1,
            "{:?}",
            all.iter().map(|span| &span.name).collect::<Vec<_>>()
        );
        all.remove(0)
    }

    fn count(&self) -> usize {
        self.spans.get_finished_spans().unwrap().len()
    }

    /// Handles a request with a plain service below the layer.
    #[expect(clippy::future_not_send, reason = "stays on the test's thread")]
    async fn answer<B: http_body::Body>(
        &self,
        request: Request<String>,
        response: Response<B>,
    ) -> Response<impl http_body::Body<Data = B::Data, Error = B::Error>> {
        let response = std::cell::Cell::new(Some(response));
        let service = tower::service_fn(|_| {
            std::future::ready(Ok::<_, Infallible>(response.take().unwrap()))
        });
        self.layer().layer(service).oneshot(request).await.unwrap()
    }
}

fn texts(span: &SpanData) -> Vec<String> {
    let mut all: Vec<_> = span
        .attributes
        .iter()
        .map(|one| format!("{}={}", one.key, one.value))
        .collect();
    all.sort();
    all
}

fn request(uri: &str) -> Request<Body> {
    Request::builder().uri(uri).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn request_span_has_stable_attributes_and_the_route_in_its_name() {
    let traced = Traced::new();
    let app: Router = Router::new()
        .route("/orders/{id}", get(|| async { "ok" }))
        .layer(traced.layer());
    let mut asked = request("/orders/7?sig=s3cret&q=1");
    for (name, value) in [
        ("host", "shop:8080"),
        ("user-agent", "curl/8"),
        ("traceparent", SENDER),
    ] {
        asked.headers_mut().insert(name, value.parse().unwrap());
    }
    let answer = app.oneshot(asked).await.unwrap();
    assert_eq!(traced.count(), 0, "the body is still to come");
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
    let span = traced.only();
    assert_eq!(
        (span.name.as_ref(), span.span_kind.clone(), &span.status),
        ("GET /orders/{id}", SpanKind::Server, &Status::Unset)
    );
    assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
    let expected = [
        "http.request.method=GET",
        "http.response.status_code=200",
        "http.route=/orders/{id}",
        "network.protocol.version=1.1",
        "server.address=shop",
        "server.port=8080",
        "url.path=/orders/7",
        "url.query=sig=REDACTED&q=1",
        "url.scheme=http",
        "user_agent.original=curl/8",
    ];
    assert_eq!(texts(&span), expected);
}

#[tokio::test]
async fn only_5xx_is_the_servers_error() {
    for (status, failed) in [
        (StatusCode::NOT_FOUND, false),
        (StatusCode::SERVICE_UNAVAILABLE, true),
    ] {
        let traced = Traced::new();
        let response = Response::builder()
            .status(status)
            .body(String::new())
            .unwrap();
        drop(traced.answer(Request::new(String::new()), response).await);
        let span = traced.only();
        assert_eq!(
            matches!(span.status, Status::Error { .. }),
            failed,
            "{status}"
        );
        assert_eq!(
            texts(&span).contains(&format!("error.type={}", status.as_str())),
            failed
        );
    }
}

#[tokio::test]
async fn unknown_method_is_not_part_of_the_name() {
    let traced = Traced::new();
    let asked = Request::builder()
        .method("BREW")
        .uri("/pot")
        .body(String::new())
        .unwrap();
    drop(traced.answer(asked, Response::new(String::new())).await);
    let span = traced.only();
    assert_eq!(span.name, "HTTP");
    let attributes = texts(&span);
    assert!(attributes.contains(&"http.request.method=_OTHER".to_owned()));
    assert!(attributes.contains(&"http.request.method_original=BREW".to_owned()));
}

#[tokio::test]
async fn route_of_the_response_names_the_span() {
    let traced = Traced::new();
    let mut response = Response::new(String::new());
    response
        .extensions_mut()
        .insert(MatchedRoute("/pots/{id}".into()));
    drop(traced.answer(Request::new(String::new()), response).await);
    assert_eq!(traced.only().name, "GET /pots/{id}");
}

#[tokio::test]
async fn dropped_body_is_cancelled_and_failed_body_is_an_error() {
    let traced = Traced::new();
    let endless = || {
        StreamBody::new(futures_util::stream::pending::<
            Result<http_body::Frame<&[u8]>, std::io::Error>,
        >())
    };
    drop(
        traced
            .answer(Request::new(String::new()), Response::new(endless()))
            .await,
    );
    let span = traced.only();
    assert_eq!(span.status, Status::Unset);
    assert!(texts(&span).contains(&"error.type=cancelled".to_owned()));

    let traced = Traced::new();
    let broken = std::io::Error::other("disk");
    let broken = StreamBody::new(futures_util::stream::iter([Err::<
        http_body::Frame<&[u8]>,
        _,
    >(broken)]));
    let answer = traced
        .answer(Request::new(String::new()), Response::new(broken))
        .await;
    assert!(answer.into_body().collect().await.is_err());
    assert!(matches!(traced.only().status, Status::Error { .. }));
}

#[tokio::test]
async fn body_of_known_length_is_complete_after_its_last_byte() {
    let traced = Traced::new();
    let frames = [
        http_body::Frame::data(&b"ab"[..]),
        http_body::Frame::data(&b"c"[..]),
    ];
    let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, Infallible>)));
    let response = Response::builder()
        .header("content-length", "3")
        .body(body)
        .unwrap();
    let mut answer = traced.answer(Request::new(String::new()), response).await;
    answer.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(traced.count(), 0);
    // A server stops here: it does not poll for the end of a body of known length.
    answer.body_mut().frame().await.unwrap().unwrap();
    drop(answer);
    assert!(
        !texts(&traced.only())
            .iter()
            .any(|one| one.starts_with("error.type"))
    );
}

#[tokio::test]
async fn response_to_head_ends_without_a_body() {
    let traced = Traced::new();
    let asked = Request::builder()
        .method("HEAD")
        .body(String::new())
        .unwrap();
    drop(
        traced
            .answer(asked, Response::new("never sent".to_owned()))
            .await,
    );
    assert!(
        !texts(&traced.only())
            .iter()
            .any(|one| one.starts_with("error.type"))
    );
}

#[tokio::test]
async fn panic_and_cancelled_request_end_the_span() {
    let traced = Traced::new();
    let panicking = tower::service_fn(|_: Request<String>| async {
        if true {
            panic!("on purpose");
        }
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let asked = traced
        .layer()
        .layer(panicking)
        .oneshot(Request::new(String::new()));
    assert!(AssertUnwindSafe(asked).catch_unwind().await.is_err());
    assert!(texts(&traced.only()).contains(&"error.type=panic".to_owned()));

    let traced = Traced::new();
    let endless = tower::service_fn(|_: Request<String>| {
        std::future::pending::<Result<Response<String>, Infallible>>()
    });
    let asked = traced
        .layer()
        .layer(endless)
        .oneshot(Request::new(String::new()));
    assert!(
        tokio::time::timeout(Duration::from_millis(10), asked)
            .await
            .is_err()
    );
    assert!(texts(&traced.only()).contains(&"error.type=cancelled".to_owned()));
}

#[tokio::test]
async fn client_and_server_record_durations() {
    let exporter = InMemoryMetricExporter::default();
    let meters = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(exporter.clone()).build())
        .build();
    let telemetry = Telemetry::new(&SdkTracerProvider::default(), &meters, None);
    let app = Router::new().route("/orders/{id}", get(|| async { StatusCode::BAD_GATEWAY }));
    let address = serve(app.layer(ServerLayer::new().telemetry(telemetry.clone()))).await;
    let tracing = ClientTracing::new().telemetry(telemetry);
    let client = ClientBuilder::new(reqwest::Client::new())
        .with(tracing)
        .build();
    client
        .get(format!("{address}/orders/7"))
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    meters.force_flush().unwrap();

    let metrics = exporter.get_finished_metrics().unwrap();
    let all: Vec<_> = metrics
        .iter()
        .flat_map(|one| one.scope_metrics())
        .flat_map(|scope| scope.metrics())
        .collect();
    let attributes = |name: &str| {
        let metric = all.iter().find(|metric| metric.name() == name).unwrap();
        assert_eq!(metric.unit(), "s");
        let AggregatedMetrics::F64(MetricData::Histogram(histogram)) = metric.data() else {
            panic!("no histogram")
        };
        let point = histogram.data_points().next().unwrap();
        assert_eq!(point.count(), 1);
        let mut all: Vec<_> = point
            .attributes()
            .map(|one| format!("{}={}", one.key, one.value))
            .collect();
        all.sort();
        all
    };
    let shared = |more: &[&str]| {
        let mut all = vec![
            "error.type=502",
            "http.request.method=GET",
            "http.response.status_code=502",
        ];
        all.extend(more);
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let server = shared(&[
        "http.route=/orders/{id}",
        "network.protocol.version=1.1",
        "url.scheme=http",
    ]);
    assert_eq!(attributes("http.server.request.duration"), server);
    let port = format!("server.port={}", address.rsplit_once(':').unwrap().1);
    let client = shared(&[
        "network.protocol.version=1.1",
        "server.address=127.0.0.1",
        &port,
    ]);
    assert_eq!(attributes("http.client.request.duration"), client);
}

/// Serves on a free loopback port until the test's runtime ends.
async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

#[tokio::test]
async fn call_propagates_its_context_to_the_server() {
    let traced = Traced::new();
    let echo =
        |headers: HeaderMap| async move { headers["traceparent"].to_str().unwrap().to_owned() };
    let address = serve(Router::new().route("/echo", any(echo))).await;
    let port = address.rsplit_once(':').unwrap().1.to_owned();
    let url = format!("http://127.0.0.1:{port}/echo");
    let sent = traced
        .client()
        .get(&url)
        .header("traceparent", "old")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let span = traced.only();
    assert_eq!(
        sent,
        format!(
            "00-{}-{}-01",
            span.span_context.trace_id(),
            span.span_context.span_id()
        )
    );
    assert_eq!(
        (span.name.as_ref(), span.span_kind.clone(), &span.status),
        ("GET", SpanKind::Client, &Status::Unset)
    );
    let expected = [
        "http.request.method=GET".to_owned(),
        "http.response.status_code=200".to_owned(),
        "network.protocol.version=1.1".to_owned(),
        "server.address=127.0.0.1".to_owned(),
        format!("server.port={port}"),
        format!("url.full=http://127.0.0.1:{port}/echo"),
    ];
    assert_eq!(texts(&span), expected);
}

#[tokio::test]
async fn the_client_calls_4xx_an_error() {
    let traced = Traced::new();
    let address = serve(Router::new()).await;
    traced
        .client()
        .get(format!("{address}/nothing"))
        .send()
        .await
        .unwrap();
    let span = traced.only();
    assert!(matches!(span.status, Status::Error { .. }));
    assert!(texts(&span).contains(&"error.type=404".to_owned()));
}

#[tokio::test]
async fn failed_call_is_an_error_without_the_url() {
    let traced = Traced::new();
    traced
        .client()
        .get("http://127.0.0.1:1/?sig=s3cret")
        .send()
        .await
        .unwrap_err();
    let span = traced.only();
    assert_eq!(span.status, Status::error("connect"));
    assert!(!format!("{span:?}").contains("s3cret"));
}

#[tokio::test]
async fn cancelled_call_is_recorded_but_not_a_failure() {
    let traced = Traced::new();
    let address = serve(Router::new().route("/", get(std::future::pending::<()>))).await;
    let call = traced.client().get(&address).send();
    assert!(
        tokio::time::timeout(Duration::from_millis(50), call)
            .await
            .is_err()
    );
    let span = traced.only();
    assert_eq!(span.status, Status::Unset);
    assert!(texts(&span).contains(&"error.type=cancelled".to_owned()));
}

/// Sends every request twice.
struct Twice;

#[async_trait::async_trait]
impl Middleware for Twice {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        let again = request.try_clone().unwrap();
        next.clone().run(request, extensions).await?;
        next.run(again, extensions).await
    }
}

#[tokio::test]
async fn every_attempt_has_its_own_span_and_resend_count() {
    let traced = Traced::new();
    let address = serve(Router::new().route("/", get(|| async { "ok" }))).await;
    let tracing = ClientTracing::new().telemetry(traced.telemetry.clone());
    let client = ClientBuilder::new(reqwest::Client::new())
        .with(Twice)
        .with(tracing)
        .build();
    client.get(&address).send().await.unwrap();
    let spans = traced.spans.get_finished_spans().unwrap();
    let count = |span| {
        texts(span)
            .into_iter()
            .find(|one| one.starts_with("http.request.resend_count"))
    };
    assert_eq!(count(&spans[0]), None);
    assert_eq!(
        count(&spans[1]).as_deref(),
        Some("http.request.resend_count=1")
    );
}
