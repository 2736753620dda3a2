//! The README's example of the SDK compiles as it is printed.

use std::time::Duration;

use axum::Router;
use axum::routing::post;
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use reqwest_middleware::ClientBuilder;
use throughline::http::{ClientTracing, ServerLayer};
use throughline::kafka::{Consumer, Producer, Settings};

#[rustfmt::skip] // The lines must equal those of the README.
async fn example(config: ClientConfig, url: &str, timeout: Duration) -> anyhow::Result<Router> {
let routes = Router::new().route("/orders", post(order));
let record = FutureRecord::to("orders").key("7").payload("...");
let _telemetry = throughline::init("orders");
let app = routes.layer(ServerLayer::new());
let http = ClientBuilder::new(reqwest::Client::new()).with(ClientTracing::new()).build();
let producer = Producer::new(config.create::<FutureProducer>()?, Settings::from(&config));
producer.send(record, timeout).await.map_err(|(error, _)| error)?;
let consumer = Consumer::new(config.create::<StreamConsumer>()?, Settings::from(&config));
consumer.subscribe(&["orders"])?;
let delivery = consumer.recv().await?;
delivery.handle(async { http.get(url).send().await }).await?;
Ok(app)
}

async fn order() {}

#[test]
fn readme_example_compiles() {
    // Never polled: the test needs the example to compile only.
    drop(example(
        ClientConfig::new(),
        "http://127.0.0.1:1",
        Duration::ZERO,
    ));
    let readme = include_str!("../../README.md");
    let block = readme
        .split("```rust,ignore\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let here = include_str!("readme.rs");
    for line in block
        .lines()
        .map(|line| line.split(" //").next().unwrap().trim())
    {
        assert!(
            here.lines().any(|own| own == line),
            "only in the README: {line}"
        );
    }
}
