//! What the services do, as in the article: the same paths, the same answers.

mod billing;
mod checkout;
mod consumer;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rdkafka::error::KafkaError;
use tokio::sync::oneshot;

use crate::delay::Delays;
use crate::options::{Service, Settings};
use crate::wiring::Wiring;

/// A service that has been started.
pub(crate) struct Started {
    routes: Router,
    assigned: Option<oneshot::Receiver<()>>,
}

/// A request that could not be served: a service behind this one failed.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

/// Makes the service that the settings name.
pub(crate) fn start(settings: &Settings, wiring: &Wiring) -> Result<Started, KafkaError> {
    let delays = Arc::new(Delays::new(settings));
    let routes = match settings.service {
        Service::Eshop => checkout::routes(settings, wiring)?,
        Service::Inventory => one_step("/createOrder", "Your order has been created!", delays),
        Service::Billing => billing::routes(delays),
        Service::Delivery => one_step("/arrangeDelivery", "Your order is on the way!", delays),
        Service::Notification => one_step("/sendEmail", "Email sent out!", delays),
        Service::KafkaConsumer => {
            let assigned = consumer::start(settings, wiring)?;
            return Ok(Started {
                routes: Router::new(),
                assigned: Some(assigned),
            });
        }
    };
    Ok(Started {
        routes,
        assigned: None,
    })
}

/// A service that takes a while and says that it is done.
fn one_step(path: &'static str, answer: &'static str, delays: Arc<Delays>) -> Router {
    Router::new().route(
        path,
        get(async move || {
            delays.work().await;
            answer
        }),
    )
}

/// The URL for this order; as it is, where no order was named.
fn for_order(url: &str, order: Option<&str>) -> String {
    order.map_or_else(|| url.to_owned(), |order| format!("{url}?order={order}"))
}

// === impl Started ===

impl Started {
    /// What it answers by HTTP, once it can do its work: the consumer when the broker has given it partitions.
    pub(crate) async fn ready(self) -> Router {
        if let Some(assigned) = self.assigned {
            // An error means that the consumer is gone, and it has said why.
            assigned.await.unwrap_or_default();
        }
        self.routes
    }
}

// === impl Failure ===

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, self.0).into_response()
    }
}
