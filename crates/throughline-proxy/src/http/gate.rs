//! Requests on connections that the system redirected: the way to where they go is known for each connection.

use std::sync::Arc;

use bytes::Bytes;
use throughline_intercept::http::Direction;

use super::config::{Origin, Protocol, Route};
use super::connection::{Counted, serve};
use super::intake::{Activity, Intake, Spoken};
use super::refusal::Refusal;
use super::service::{Caller, Service};
use super::upstream::{Opened, Own};
use crate::address::Address;
use crate::kafka::connection::Redirected;
use crate::transport::dial::Tcp;
use crate::transport::stream::Stream;

/// Serves connections of which it is known that they speak HTTP.
#[derive(Clone)]
pub(crate) struct Gate(pub(super) Arc<Service>);

// === impl Gate ===

impl Gate {
    /// Serves a connection to its end. `upstream` is what its requests go out on, or why they cannot.
    pub(crate) async fn serve(
        &self,
        direction: Direction,
        redirected: Redirected,
        is_http2: bool,
        upstream: std::io::Result<Tcp>,
    ) {
        let Redirected {
            stream,
            client,
            wanted,
        } = redirected;
        let address = Address {
            host: wanted.ip().to_string().into(),
            port: wanted.port(),
        };
        let own = match upstream {
            Ok(Tcp { stream, listed }) => {
                let own = Own::redirected(None);
                let opened = Opened {
                    stream: Stream::Plain(stream),
                    listed,
                };
                let origin = Origin {
                    address: address.clone(),
                    tls: false,
                };
                self.0
                    .upstream_of(direction)
                    .adopt(&origin, opened, is_http2, &own)
                    .await;
                own
            }
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                Own::redirected(Some(Refusal::ConnectTimeout))
            }
            Err(_) => Own::redirected(Some(Refusal::Unreachable)),
        };
        let route = match direction {
            Direction::Inbound => Route::Service {
                address,
                protocol: Protocol::Same,
            },
            Direction::Outbound => Route::Original(wanted),
        };
        let activity = Activity::new();
        let _counted = Counted::new(self.0.tracing.metrics.connection(direction));
        let caller = Caller {
            route,
            client,
            local: wanted,
            is_tls: false,
            activity: activity.clone(),
            own: Arc::new(own),
        };
        let intake = Intake::new(Bytes::new(), Stream::Plain(stream), activity);
        let spoken = if is_http2 {
            Spoken::Http2
        } else {
            Spoken::Http1
        };
        serve(Arc::clone(&self.0), Arc::new(caller), intake, spoken).await;
    }
}
