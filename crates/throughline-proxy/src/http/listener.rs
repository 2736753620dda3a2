//! The listeners of HTTP, and what all of them share.

use std::sync::Arc;
use std::time::Duration;

use throughline_intercept::correlate::CorrelatorAccess as _;
use throughline_intercept::http::{Direction, Settings};
use throughline_model::SpanSink;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::config::{Config, Listener, Protocol, Route};
use super::connection::Connections;
use super::gate::Gate;
use super::metrics::Metrics;
use super::service::Service;
use super::traced::Tracing;
use super::upstream::Upstream;
use crate::correlator::SharedCorrelator;
use crate::listener::accept::AcceptLoop;
use crate::telemetry::log_throttle::LogThrottle;
use crate::transport::drain::Drain;
use crate::transport::own_connections::OwnConnections;

/// The HTTP part of a proxy.
pub(crate) struct Http {
    service: Arc<Service>,
    doors: Vec<Door>,
    pub(crate) settings: watch::Sender<Arc<Settings>>,
    pub(crate) metrics: Arc<Metrics>,
}

/// A listener and where its requests go.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) wanted: Listener,
}

// === impl Http ===

impl Http {
    pub(crate) fn new(
        config: Config,
        doors: Vec<Door>,
        sink: Arc<dyn SpanSink>,
        process: SharedCorrelator,
        outgoing: &OwnConnections,
        stop: Drain,
    ) -> Self {
        let Config {
            settings,
            outbound_tls,
            limits,
            ..
        } = config;
        let metrics = Arc::new(Metrics::new());
        let bodies_max = process.token_extractor().max_body_bytes();
        let settings = watch::Sender::new(settings);
        let tracing = Tracing {
            settings: settings.subscribe(),
            process,
            sink,
            metrics: Arc::clone(&metrics),
            stop,
            full: LogThrottle::default(),
        };
        let upstream = |direction, tls| {
            Arc::new(Upstream::new(
                direction,
                limits.clone(),
                Arc::clone(&metrics),
                outgoing.clone(),
                tls,
            ))
        };
        let service = Service {
            tracing: Arc::new(tracing),
            inbound: upstream(Direction::Inbound, None),
            outbound: upstream(Direction::Outbound, outbound_tls.as_ref()),
            limits: limits.clone(),
            bodies_max,
            tunnels: TaskTracker::new(),
        };
        Self {
            service: Arc::new(service),
            doors,
            settings,
            metrics,
        }
    }

    /// For connections that the system redirects.
    pub(crate) fn gate(&self) -> Gate {
        Gate(Arc::clone(&self.service))
    }

    /// Takes connections at all doors until the proxy is told to stop.
    pub(crate) fn spawn(self, listening: &TaskTracker, all: &AcceptLoop) {
        let Self { service, doors, .. } = self;
        listening.spawn(sweep(Arc::clone(&service)));
        let tunnels = service.tunnels.clone();
        tunnels.close();
        // What has been upgraded is a connection still.
        let stop = service.tracing.stop.clone();
        let tracked = all.connections.clone();
        listening.spawn(async move {
            stop.draining().await;
            tracked.spawn(async move { tunnels.wait().await });
        });
        for Door { listener, wanted } in doors {
            let Listener { route, tls, .. } = wanted;
            let tls = tls.map(|tls| tls.with_alpn(protocols(&route)));
            let shared = Arc::new(Connections {
                service: Arc::clone(&service),
                route,
                tls,
            });
            let serve = move |stream, client| {
                let shared = Arc::clone(&shared);
                async move { shared.serve(stream, client).await }
            };
            listening.spawn(all.clone().run(listener, serve));
        }
    }
}

/// Lets go of connections that nobody has used for long.
async fn sweep(service: Arc<Service>) {
    loop {
        tokio::select! {
            () = service.tracing.stop.draining() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        for upstream in [&service.inbound, &service.outbound] {
            upstream.sweep(Instant::now());
        }
    }
}

/// What is offered to those who speak TLS to us, the best first.
/// Not HTTP/2 to whom the service may not speak it: many clients would take it.
const fn protocols(route: &Route) -> &'static [&'static [u8]] {
    match route {
        Route::Service {
            protocol: Protocol::Http2,
            ..
        } => &[b"h2", b"http/1.1"],
        Route::Service { .. } | Route::Fixed(_) | Route::Named { .. } | Route::Original(_) => {
            &[b"http/1.1"]
        }
    }
}

const SWEEP: Duration = Duration::from_secs(10);
