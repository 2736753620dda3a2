//! Requests on connections that the system redirected: the way to where they go is known for each connection.

use std::sync::Arc;

use bytes::Bytes;
use throughline_intercept::http::Direction;

use super::config::{Origin, Protocol, Route};
use super::connection::{Counted, serve};
use super::intake::{Activity, Intake, Spoken};
use super::service::{Caller, Service};
use super::upstream::{Opened, Streams};
use crate::address::Address;
use crate::connection::Redirected;
use crate::dial::Tcp;
use crate::stream::Stream;

/// Serves connections of which it is known that they speak HTTP.
#[derive(Clone)]
pub(crate) struct Gate(pub(super) Arc<Service>);

// === impl Gate ===

impl Gate {
    /// Serves a connection to its end. `upstream` is one that its first request can go out on.
    pub(crate) async fn serve(
        &self,
        direction: Direction,
        redirected: Redirected,
        is_http2: bool,
        upstream: Option<Tcp>,
    ) {
        let Redirected { stream, client, wanted } = redirected;
        let address = Address { host: wanted.ip().to_string().into(), port: wanted.port() };
        let streams = Streams::default();
        if let Some(Tcp { stream, listed }) = upstream {
            let opened = Opened { stream: Stream::Plain(stream), listed };
            let origin = Origin { address: address.clone(), tls: false };
            self.0.upstream_of(direction).adopt(origin, opened, is_http2.then_some(&streams)).await;
        }
        let route = match direction {
            Direction::Inbound => Route::Service { address, protocol: Protocol::Same },
            Direction::Outbound => Route::Original(wanted),
        };
        let activity = Activity::new();
        let _counted = Counted::new(self.0.tracing.metrics.connection(direction));
        let caller = Caller { route, client, local: wanted, is_tls: false, activity: activity.clone(), streams };
        let intake = Intake::new(Bytes::new(), Stream::Plain(stream), activity);
        let spoken = if is_http2 { Spoken::Http2 } else { Spoken::Http1 };
        serve(Arc::clone(&self.0), Arc::new(caller), intake, spoken).await;
    }
}
