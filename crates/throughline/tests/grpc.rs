//! Calls of gRPC, with tonic on both sides, and the tower layer of clients.
#![cfg(feature = "axum")]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::convert::Infallible;

use axum::Router;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use opentelemetry::metrics::noop::NoopMeterProvider;
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use throughline::Telemetry;
use throughline::http::{ClientLayer, ServerLayer, UrlTemplate};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tower::{Layer as _, ServiceExt as _};

const SERVICE: &str = "opentelemetry.proto.collector.trace.v1.TraceService";

/// A service that answers every call with this status.
struct Answering(Code);

#[async_trait::async_trait]
impl TraceService for Answering {
    async fn export(
        &self,
        _: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        if self.0 == Code::Ok {
            Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
        } else {
            Err(tonic::Status::new(self.0, "as the test wants"))
        }
    }
}

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

    /// Returns the only finished span of this kind.
    fn span(&self, kind: &SpanKind) -> SpanData {
        let all = self.spans.get_finished_spans().unwrap();
        let mut found: Vec<_> = all.into_iter().filter(|it| it.span_kind == *kind).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }
}

/// Starts a server, and returns a channel to it.
async fn serve(app: Router) -> Channel {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::task::spawn(async move { axum::serve(listener, app).await });
    let endpoint: Endpoint = address.parse().unwrap();
    endpoint.connect().await.unwrap()
}

fn texts(span: &SpanData) -> Vec<String> {
    span.attributes
        .iter()
        .map(|one| format!("{}={}", one.key, one.value))
        .collect()
}

#[tokio::test]
async fn call_is_named_by_its_method_and_has_the_status_of_its_trailers() {
    for (code, server_fails, client_fails) in [
        (Code::Ok, false, false),
        // The client's mistake, and so no error of the server.
        (Code::NotFound, false, true),
        (Code::Internal, true, true),
    ] {
        let traced = Traced::new();
        let service = TraceServiceServer::new(Answering(code));
        let app = Router::new()
            .route_service(&format!("/{SERVICE}/Export"), service)
            .layer(ServerLayer::new().telemetry(traced.telemetry.clone()));
        let layer = ClientLayer::new()
            .telemetry(traced.telemetry.clone())
            .server("collector", 4317);
        let mut client = TraceServiceClient::new(layer.layer(serve(app).await));
        let answer = client.export(ExportTraceServiceRequest::default()).await;
        assert_eq!(
            answer.map_or_else(|status| status.code(), |_| Code::Ok),
            code
        );

        let (server, client) = (
            traced.span(&SpanKind::Server),
            traced.span(&SpanKind::Client),
        );
        assert_eq!(server.parent_span_id, client.span_context.span_id());
        for (span, fails) in [(&server, server_fails), (&client, client_fails)] {
            assert_eq!(span.name, format!("{SERVICE}/Export"));
            let attributes = texts(span);
            for expected in [
                "rpc.system=grpc".to_owned(),
                format!("rpc.service={SERVICE}"),
                "rpc.method=Export".to_owned(),
                format!("rpc.grpc.status_code={}", i32::from(code)),
            ] {
                assert!(
                    attributes.contains(&expected),
                    "{code}: {expected} in {attributes:?}"
                );
            }
            let is_error = matches!(span.status, Status::Error { .. });
            assert_eq!(is_error, fails, "{code}: {:?}", span.span_kind);
            let has_type = attributes.iter().any(|it| it.starts_with("error.type="));
            assert_eq!(has_type, fails, "{code}: {attributes:?}");
        }
        assert!(texts(&client).contains(&"server.address=collector".to_owned()));
    }
}

#[tokio::test]
async fn call_that_is_dropped_is_cancelled_on_both_sides() {
    let traced = Traced::new();
    let app = Router::new()
        .fallback(std::future::pending::<Response<String>>)
        .layer(ServerLayer::new().telemetry(traced.telemetry.clone()));
    let layer = ClientLayer::new().telemetry(traced.telemetry.clone());
    let mut client = TraceServiceClient::new(layer.layer(serve(app).await));
    let call = client.export(ExportTraceServiceRequest::default());
    let soon = std::time::Duration::from_millis(100);
    assert!(tokio::time::timeout(soon, call).await.is_err());
    drop(client);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    // The server learns of it when the stream is reset.
    while traced.spans.get_finished_spans().unwrap().len() < 2 {
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    for kind in [SpanKind::Client, SpanKind::Server] {
        let span = traced.span(&kind);
        assert_eq!(span.status, Status::Unset, "{kind:?}");
        assert!(
            texts(&span).contains(&"error.type=cancelled".to_owned()),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn client_layer_traces_plain_http_without_secrets() {
    let traced = Traced::new();
    let service = tower::service_fn(|request: Request<Empty<bytes::Bytes>>| async move {
        assert!(request.headers().contains_key("traceparent"));
        let mut response = Response::new("gone".to_owned());
        *response.status_mut() = http::StatusCode::GONE;
        Ok::<_, Infallible>(response)
    });
    let layer = ClientLayer::new().telemetry(traced.telemetry.clone());
    let request = Request::get("http://ann:pw@shop/orders/7?sig=s3cret&q=1")
        .extension(UrlTemplate("/orders/{id}".into()))
        .body(Empty::new())
        .unwrap();
    let response = layer.layer(service).oneshot(request).await.unwrap();
    let span = traced.span(&SpanKind::Client);
    assert_eq!(
        span.name, "GET /orders/{id}",
        "ends at the head of the response"
    );
    assert_eq!(span.status, Status::error(""));
    let attributes = texts(&span);
    for expected in [
        "url.full=http://REDACTED@shop/orders/7?sig=REDACTED&q=1",
        "url.template=/orders/{id}",
        "server.address=shop",
        "server.port=80",
        "http.response.status_code=410",
        "error.type=410",
    ] {
        assert!(
            attributes.contains(&expected.to_owned()),
            "{expected} in {attributes:?}"
        );
    }
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "gone"
    );
}

#[tokio::test]
async fn server_layer_follows_its_settings() {
    let traced = Traced::new();
    let layer = ServerLayer::new()
        .telemetry(traced.telemetry.clone())
        .untraced_paths(["/healthz", "/assets/*"])
        .filter(|head| head.header("x-probe").is_none())
        .span_name(|head| (head.uri.path() == "/named").then(|| "chosen".to_owned()))
        .attributes(|_, attributes| attributes.push(opentelemetry::KeyValue::new("shop", "north")))
        .request_headers(["x-tenant"])
        .response_headers(["x-cache"])
        .trust_forwarded_headers();
    let service = tower::service_fn(|_: Request<()>| async {
        let mut response = Response::new(String::new());
        response
            .headers_mut()
            .insert("x-cache", "hit".parse().unwrap());
        Ok::<_, Infallible>(response)
    });
    let request = |path: &str, headers: &[(&str, &str)]| {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    };
    for untraced in [
        request("/healthz", &[]),
        request("/assets/logo.png", &[]),
        request("/orders", &[("x-probe", "1")]),
    ] {
        drop(layer.layer(service).oneshot(untraced).await.unwrap());
    }
    assert_eq!(traced.spans.get_finished_spans().unwrap().len(), 0);
    let headers = [
        ("x-tenant", "a"),
        ("x-tenant", "b"),
        ("x-forwarded-for", "203.0.113.7, 10.0.0.1"),
        ("x-forwarded-proto", "https"),
    ];
    let traced_request = request("/named", &headers);
    drop(layer.layer(service).oneshot(traced_request).await.unwrap());
    let span = traced.span(&SpanKind::Server);
    assert_eq!(span.name, "chosen");
    let attributes = texts(&span);
    for expected in [
        "shop=north",
        "http.request.header.x-tenant=[\"a\",\"b\"]",
        "http.response.header.x-cache=[\"hit\"]",
        "client.address=203.0.113.7",
        "url.scheme=https",
    ] {
        assert!(
            attributes.contains(&expected.to_owned()),
            "{expected} in {attributes:?}"
        );
    }
}

#[tokio::test]
async fn peer_is_the_client_where_the_server_attached_it() {
    let traced = Traced::new();
    let app = Router::new()
        .route("/", axum::routing::get(|| async { "ok" }))
        .layer(ServerLayer::new().telemetry(traced.telemetry.clone()));
    let peer: std::net::SocketAddr = "192.0.2.1:4711".parse().unwrap();
    for extension in [true, false] {
        let mut request = Request::get("/").body(axum::body::Body::empty()).unwrap();
        if extension {
            let address = throughline::http::ClientAddress(peer);
            request.extensions_mut().insert(address);
        } else {
            let info = axum::extract::ConnectInfo(peer);
            request.extensions_mut().insert(info);
        }
        let response = app.clone().oneshot(request).await.unwrap();
        response.into_body().collect().await.unwrap();
        let span = traced.span(&SpanKind::Server);
        assert!(texts(&span).contains(&"client.address=192.0.2.1".to_owned()));
        assert!(texts(&span).contains(&"client.port=4711".to_owned()));
        traced.spans.reset();
    }
}
