//! A service of a stranger: uses the published packages alone, one feature at a time, and prints
//! the spans of its trace, one line each: name, and the name of the parent.

use opentelemetry_sdk::trace::{InMemorySpanExporter, SimpleSpanProcessor, SpanData};
use throughline::Guard;

#[tokio::main]
async fn main() {
    let spans = InMemorySpanExporter::default();
    let telemetry = throughline::builder()
        .environment(|_| None)
        .service_name("stranger")
        .span_processor(SimpleSpanProcessor::new(spans.clone()))
        .init();
    work(&telemetry).await;
    let finished = spans.get_finished_spans().unwrap();
    for span in &finished {
        println!("{} < {}", span.name, parent(span, &finished));
    }
}

fn parent<'a>(span: &SpanData, all: &'a [SpanData]) -> &'a str {
    let is_parent = |other: &&SpanData| other.span_context.span_id() == span.parent_span_id;
    all.iter().find(is_parent).map_or("-", |parent| parent.name.as_ref())
}

#[tracing::instrument]
async fn method() {}

#[cfg(not(any(feature = "kafka", feature = "tower", feature = "axum", feature = "reqwest")))]
async fn work(_: &Guard) {
    method().await;
    // The exporters are built in, or a warning names the feature.
    let build = |protocol: &str, endpoint: &str| {
        let telemetry = throughline::builder()
            .environment(|_| None)
            .variable("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .variable("OTEL_TRACES_EXPORTER", "otlp")
            .endpoint(endpoint)
            .build();
        telemetry.warnings().is_empty()
    };
    assert_eq!(build("http/protobuf", "http://127.0.0.1:1"), cfg!(feature = "export"));
    assert_eq!(build("grpc", "http://127.0.0.1:1"), cfg!(feature = "export-grpc"));
    assert_eq!(build("http/protobuf", "https://127.0.0.1:1"), cfg!(feature = "export-tls"));
    #[cfg(feature = "signal")]
    drop(throughline::builder().environment(|_| None).build().shutdown_on_signal());
}

#[cfg(feature = "kafka")]
async fn work(_: &Guard) {
    use rdkafka::config::ClientConfig;
    use rdkafka::consumer::{Consumer as _, StreamConsumer};
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{FutureProducer, FutureRecord};
    use std::time::Duration;
    use throughline::kafka::{Consumer, Producer, Settings};

    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", 1, 1).unwrap();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "stranger")
        .set("auto.offset.reset", "earliest");
    let settings = Settings::from(&config);
    let producer = Producer::new(config.create::<FutureProducer>().unwrap(), settings.clone());
    let record = FutureRecord::<str, str>::to("orders").payload("created");
    producer.send(record, Duration::from_secs(20)).await.unwrap();
    let consumer = Consumer::new(config.create::<StreamConsumer>().unwrap(), settings);
    consumer.subscribe(&["orders"]).unwrap();
    let delivery = consumer.recv().await.unwrap();
    let handler = async {
        method().await;
        Ok::<_, std::io::Error>(())
    };
    delivery.handle(handler).await.unwrap();
}

#[cfg(all(feature = "tower", not(feature = "axum")))]
async fn work(_: &Guard) {
    use std::convert::Infallible;
    use throughline::http::{ClientLayer, ServerLayer};
    use throughline::reexport::http::{Request, Response};
    use tower::{Layer as _, ServiceExt as _, service_fn};

    let remote = service_fn(|_: Request<String>| async {
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let client = ClientLayer::new().layer(remote);
    let handler = service_fn(move |_: Request<String>| {
        let client = client.clone();
        async move {
            method().await;
            client.oneshot(Request::post("http://billing/").body(String::new()).unwrap()).await
        }
    });
    let server = ServerLayer::new().layer(handler);
    drop(server.oneshot(Request::new(String::new())).await.unwrap());
}

#[cfg(feature = "axum")]
async fn work(_: &Guard) {
    use axum::{Router, body::Body, http::Request, routing::get};
    use throughline::http::ServerLayer;
    use tower::ServiceExt as _;

    let app = Router::new().route("/orders/{id}", get(method)).layer(ServerLayer::new());
    let request = Request::get("/orders/7").body(Body::empty()).unwrap();
    drop(app.oneshot(request).await.unwrap());
}

#[cfg(feature = "reqwest")]
async fn work(_: &Guard) {
    use throughline::http::ClientTracing;

    let client = reqwest::Client::new();
    // Nobody listens on port 1.
    let call = ClientTracing::new().send(client.get("http://127.0.0.1:1/"));
    call.await.unwrap_err();
    method().await;
}
