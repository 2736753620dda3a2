//! Consumers of topic `in`: record by record with a record in reply, or in batches.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message as _};

use crate::handler::BackendCalls;
use crate::options::{ServiceOptions, ServiceShape};
use crate::reference;
use crate::server::{producer, send};

/// Records of a batch, and the wait for them.
const MAX_BATCH: usize = 10;
const BATCH_TIMEOUT: Duration = Duration::from_millis(20);

/// Starts the consumer in a task.
pub(crate) fn start(
    options: &ServiceOptions,
    pattern: Arc<BackendCalls>,
) -> Result<(), KafkaError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.kafka)
        .set("group.id", "weave-service")
        .set("auto.offset.reset", "earliest")
        .set("auto.commit.interval.ms", "500")
        .set("fetch.wait.max.ms", "10");
    let consumer: StreamConsumer = config.create()?;
    consumer.subscribe(&["in"])?;
    let producer = producer(&options.kafka)?;
    let is_batch = options.shape == ServiceShape::BatchConsumer;
    tokio::spawn(async move {
        loop {
            let requests = receive(&consumer, if is_batch { MAX_BATCH } else { 1 }).await;
            for request in requests {
                pattern.handle(request).await;
                if !is_batch {
                    send(&producer, "out", &reference::encode(request, 6, 0)).await;
                }
            }
        }
    });
    Ok(())
}

/// Returns the requests of the next records, at least one unless an error is reported.
async fn receive(consumer: &StreamConsumer, count: usize) -> Vec<u64> {
    let mut requests = Vec::new();
    requests.extend(next(consumer).await);
    while requests.len() < count {
        match tokio::time::timeout(BATCH_TIMEOUT, next(consumer)).await {
            Ok(request) => requests.extend(request),
            Err(_) => break,
        }
    }
    requests
}

async fn next(consumer: &StreamConsumer) -> Option<u64> {
    let message = consumer.recv().await.ok()?;
    reference::request(std::str::from_utf8(message.key()?).ok()?)
}
