//! eshop: a checkout calls three services in turn and sends a record without waiting for delivery.
//!
//! `/checkout?order=17` names the order. The calls and the record's key carry it on, so that a test
//! can compare traces with the requests that really belong together. No tracing code reads it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::routing::get;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::call::{UpstreamFailure, order_url};
use crate::options::Settings;
use crate::wiring::{HttpClient, OrderProducer, ServiceWiring};

struct CheckoutState {
    client: HttpClient,
    producer: OrderProducer,
    /// URLs to call, in this order.
    steps: [String; 3],
    topic: String,
}

pub(super) fn routes(settings: &Settings, wiring: &ServiceWiring) -> Result<Router, KafkaError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.kafka);
    let state = CheckoutState {
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
        .route("/checkout", get(checkout))
        .with_state(Arc::new(state)))
}

async fn checkout(
    State(state): State<Arc<CheckoutState>>,
    RawQuery(query): RawQuery,
) -> Result<String, UpstreamFailure> {
    let order = query.as_deref().and_then(|query| {
        query
            // The order is not decoded, because it goes on in the next URL as it came.
            .split('&')
            .find_map(|pair| pair.strip_prefix("order="))
    });
    let mut responses = Vec::with_capacity(state.steps.len());
    // One after the other, as in the article; a failed call ends the checkout.
    for step in &state.steps {
        responses.push(
            state
                .client
                .get(&order_url(step, order))
                .await
                .map_err(UpstreamFailure)?,
        );
    }
    // The delivery is not awaited: the response does not depend on the broker.
    state
        .producer
        .send(&state.topic, order, "send email confirmation");
    Ok(responses.join("<BR>"))
}
