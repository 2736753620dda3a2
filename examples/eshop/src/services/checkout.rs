//! eshop: a checkout calls three services in turn and sends a record without waiting for delivery.
//!
//! `/checkout?reference=17` names the checkout. The queries of the calls and the key of the record
//! carry references derived from it, so that a test can compare traces with the messages that
//! really belong together. No tracing code reads them.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::routing::get;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::call::{UpstreamFailure, call_url};
use crate::options::Settings;
use crate::reference::derive;
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
    config
        .set("bootstrap.servers", &settings.kafka)
        .set("compression.codec", &settings.compression);
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
    let reference = query.as_deref().and_then(|query| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix("reference="))
    });
    let mut responses = Vec::with_capacity(state.steps.len());
    // One after the other, as in the article; a failed call ends the checkout.
    for step in &state.steps {
        responses.push(
            state
                .client
                .get(&call_url(step, reference))
                .await
                .map_err(UpstreamFailure)?,
        );
    }
    // The delivery is not awaited: the response does not depend on the broker.
    let key = reference.map(|reference| derive(reference, &state.topic));
    state
        .producer
        .send(&state.topic, key.as_deref(), "send email confirmation");
    Ok(responses.join("<BR>"))
}
