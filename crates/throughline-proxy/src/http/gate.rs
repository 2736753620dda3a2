//! Requests on connections that the system redirected: the way to where they go is known for each connection.

use std::sync::Arc;

use bytes::Bytes;
use throughline_intercept::http::Direction;

use super::config::{Origin, Protocol, Route};
use super::connection::{Counted, serve};
use super::intake::{Activity, Intake};
use super::refusal::Refusal;
use super::service::{Caller, Service};
use super::upstream::{Opened, Own};
use crate::address::HostPort;
use crate::listener::original_destination::RedirectedConnection;
use crate::listener::protocol::DetectedProtocol;
use crate::transport::dial::DialedSocket;
use crate::transport::stream::MaybeTlsStream;

/// Serves connections of which it is known that they speak HTTP.
#[derive(Clone)]
pub(crate) struct Gate(pub(super) Arc<Service>);

// === impl Gate ===

impl Gate {
    /// Serves a connection to its end. `upstream` is what its requests go out on, or why they cannot.
    pub(crate) async fn serve(
        &self,
        direction: Direction,
        redirected: RedirectedConnection,
        spoken: DetectedProtocol,
        upstream: std::io::Result<DialedSocket>,
    ) {
        let RedirectedConnection {
            stream,
            client,
            destination: wanted,
        } = redirected;
        let address = HostPort::from(wanted);
        let is_http2 = spoken == DetectedProtocol::Http2;
        let own = match upstream {
            Ok(DialedSocket { stream, own_guard }) => {
                let own = Own::redirected(None);
                let opened = Opened {
                    stream: MaybeTlsStream::Plain(stream),
                    listed: own_guard,
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
        let intake = Intake::new(Bytes::new(), MaybeTlsStream::Plain(stream), activity);
        serve(Arc::clone(&self.0), Arc::new(caller), intake, spoken).await;
    }
}
