//! A consumer of batches: one span for the batch, and one for each record, in the trace of its
//! sender.
//!
//! `cargo run --example batch --features kafka -- localhost:9092 orders`

use std::error::Error;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use throughline::kafka::{Consumer, Settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let servers = arguments
        .next()
        .unwrap_or_else(|| "localhost:9092".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "orders".to_owned());
    let _telemetry = throughline::init("archive");
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("group.id", "archive")
        .set("enable.auto.commit", "false");
    let consumer = Consumer::new(config.create::<StreamConsumer>()?, Settings::from(&config));
    consumer.subscribe(&[&topic])?;
    loop {
        let batch = consumer.recv_batch(500, Duration::from_millis(20)).await?;
        for delivery in batch.deliveries() {
            let size = delivery.payload().map_or(0, <[u8]>::len);
            delivery.handle(store(size)).await?;
        }
        // Or handle the batch as a whole, under its own span: `batch.handle(..)`.
        consumer.settle_batch(&batch, CommitMode::Async)?;
    }
}

#[tracing::instrument(err)]
async fn store(size: usize) -> Result<(), std::io::Error> {
    tracing::info!(size, "record stored");
    Ok(())
}
