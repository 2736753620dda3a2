//! The HTTP routes of a service.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::RawQuery;
use axum::http::StatusCode;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::handler::BackendCalls;
use crate::options::{ServiceOptions, ServiceShape};
use crate::reference;

/// Longest delay of the backend, in microseconds.
const MAX_DELAY: u64 = 10_000;

/// Returns the routes: every path of a backend and a front, `/order` of all others.
pub(crate) fn routes(
    options: &ServiceOptions,
    pattern: Arc<BackendCalls>,
) -> Result<Router, KafkaError> {
    if options.shape == ServiceShape::Backend {
        return Ok(Router::new().fallback(backend));
    }
    if options.shape == ServiceShape::Front {
        return front(options);
    }
    let order = async move |RawQuery(query): RawQuery| {
        if let Some(request) = reference::from_query(query.as_deref()) {
            pattern.handle(request).await;
        }
        "done"
    };
    Ok(Router::new().fallback(order))
}

async fn backend(RawQuery(query): RawQuery) -> StatusCode {
    tokio::time::sleep(Duration::from_micros(fastrand::u64(500..=MAX_DELAY))).await;
    let is_flaky = query.is_some_and(|query| query.contains("flaky="));
    if is_flaky && fastrand::u8(0..20) == 0 {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    }
}

fn front(options: &ServiceOptions) -> Result<Router, KafkaError> {
    let producer = producer(&options.kafka)?;
    Ok(
        Router::new().fallback(async move |RawQuery(query): RawQuery| {
            let request = reference::from_query(query.as_deref()).unwrap_or_default();
            send(&producer, "in", &reference::encode(request, 5, 0)).await;
            "sent"
        }),
    )
}

pub(crate) fn producer(bootstrap: &str) -> Result<FutureProducer, KafkaError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).create()
}

/// Sends a record; a failure shows as a missing span.
pub(crate) async fn send(producer: &FutureProducer, topic: &str, key: &str) {
    let record = FutureRecord::to(topic).key(key).payload("order");
    drop(producer.send(record, Duration::from_secs(10)).await);
}
