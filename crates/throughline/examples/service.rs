//! A service with axum, rdkafka and reqwest: a request sends a record, and handling the record
//! calls another service. All of it is one trace.
//!
//! `cargo run --example service --features axum,kafka,reqwest,signal -- localhost:9092`, with a
//! broker that has the topic `orders` (`cargo xtask kafka --topic orders` starts one), then
//! `curl -X POST http://127.0.0.1:8080/orders/7`.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::{Router, http::StatusCode, routing::post};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use throughline::http::{ClientTracing, ServerLayer};
use throughline::kafka::{Consumer, Producer, Settings};

type Orders = Arc<Producer<FutureProducer>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let _telemetry = throughline::init("orders").shutdown_on_signal();
    let servers = std::env::args().nth(1);
    let servers = servers.unwrap_or_else(|| "localhost:9092".to_owned());
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("group.id", "mailer");
    let settings = Settings::from(&config);
    let consumer = Consumer::new(config.create::<StreamConsumer>()?, settings.clone());
    consumer.subscribe(&["orders"])?;
    tokio::task::spawn(send_mails(consumer));

    let orders = Producer::new(config.create::<FutureProducer>()?, settings);
    let app = Router::new()
        .route("/orders/{id}", post(place))
        .with_state(Arc::new(orders))
        .layer(ServerLayer::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    axum::serve(listener, app).await?;
    Ok(())
}

async fn place(State(orders): State<Orders>, Path(id): Path<String>) -> StatusCode {
    let record = FutureRecord::to("orders").key(&id).payload("placed");
    match orders.send(record, Duration::from_secs(5)).await {
        Ok(_) => StatusCode::ACCEPTED,
        Err((error, _)) => {
            tracing::warn!(%error, "order not sent");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

async fn send_mails(consumer: Consumer<StreamConsumer>) {
    let client = reqwest::Client::new();
    let calls = ClientTracing::new();
    loop {
        let delivery = match consumer.recv().await {
            Ok(delivery) => delivery,
            Err(error) => {
                tracing::warn!(%error, "no record received");
                continue;
            }
        };
        let call = calls.send(client.post("http://127.0.0.1:8081/mails"));
        if delivery.handle(call).await.is_ok() {
            consumer.settle(&delivery, CommitMode::Async).ok();
        }
    }
}
