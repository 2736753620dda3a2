//! The six services of the article, with its paths and responses.

mod billing;
mod call;
mod checkout;
mod consumer;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use rdkafka::error::KafkaError;
use tokio::sync::oneshot;

use crate::delay::RandomDelays;
use crate::options::{ServiceName, Settings};
use crate::wiring::ServiceWiring;

/// A started service.
pub(crate) struct StartedService {
    routes: Router,
    assigned: Option<oneshot::Receiver<()>>,
}

/// Starts the service that the settings name.
pub(crate) fn start(
    settings: &Settings,
    wiring: &ServiceWiring,
) -> Result<StartedService, KafkaError> {
    let delays = Arc::new(RandomDelays::new(settings));
    let routes = match settings.service {
        ServiceName::Eshop => checkout::routes(settings, wiring)?,
        ServiceName::Inventory => one_step("/createOrder", "Your order has been created!", delays),
        ServiceName::Billing => billing::routes(delays),
        ServiceName::Delivery => one_step("/arrangeDelivery", "Your order is on the way!", delays),
        ServiceName::Notification => one_step("/sendEmail", "Email sent out!", delays),
        ServiceName::KafkaConsumer => {
            let assigned = consumer::start(settings, wiring)?;
            return Ok(StartedService {
                routes: Router::new(),
                assigned: Some(assigned),
            });
        }
    };
    Ok(StartedService {
        routes,
        assigned: None,
    })
}

/// Returns the routes of a service that works for a while and responds.
fn one_step(path: &'static str, response: &'static str, delays: Arc<RandomDelays>) -> Router {
    Router::new().route(
        path,
        get(async move || {
            delays.work().await;
            response
        }),
    )
}

// === impl StartedService ===

impl StartedService {
    /// Waits until the service can work and returns its routes. The consumer can work once the
    /// broker has assigned partitions to it.
    pub(crate) async fn ready(self) -> Router {
        if let Some(assigned) = self.assigned {
            // The sender is dropped only with the consumer, which has logged the reason.
            assigned.await.unwrap_or_default();
        }
        self.routes
    }
}
