//! eshop: a checkout asks three services in turn and sends a record, for whose arrival it does not wait.
//!
//! `/checkout?order=17` says which order it is; so do then the requests that it makes and the key of the record. Whoever compares traces
//! with what really belongs together reads it there; nothing that makes traces does.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::routing::get;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::{Failure, for_order};
use crate::options::Settings;
use crate::wiring::{Client, Producer, Wiring};

struct Checkout {
    client: Client,
    producer: Producer,
    /// What is asked, in this order.
    steps: [String; 3],
    topic: String,
}

pub(super) fn routes(settings: &Settings, wiring: &Wiring) -> Result<Router, KafkaError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.kafka);
    let checkout = Checkout {
        client: wiring.client(),
        producer: wiring.producer(&config)?,
        steps: [
            format!("{}/createOrder", settings.inventory),
            format!("{}/payment", settings.billing),
            format!("{}/arrangeDelivery", settings.delivery),
        ],
        topic: settings.topic.clone(),
    };
    Ok(Router::new()
        .route("/checkout", get(answer))
        .with_state(Arc::new(checkout)))
}

async fn answer(
    State(checkout): State<Arc<Checkout>>,
    RawQuery(query): RawQuery,
) -> Result<String, Failure> {
    let order = query.as_deref().and_then(|query| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix("order="))
    });
    let mut answers = Vec::with_capacity(checkout.steps.len());
    for step in &checkout.steps {
        answers.push(
            checkout
                .client
                .get(&for_order(step, order))
                .await
                .map_err(Failure)?,
        );
    }
    checkout
        .producer
        .send(&checkout.topic, order, "send email confirmation");
    Ok(answers.join("<BR>"))
}
