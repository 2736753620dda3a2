//! The HTTP server of a proxy: its listeners, and what their connections share.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use throughline_intercept::TokenBucket;
use throughline_intercept::correlate::CorrelatorAccess as _;
use throughline_intercept::http::{Direction, Settings};
use throughline_model::SpanSink;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::config::{Config, HttpListenerConfig, HttpRoute, UpstreamProtocol};
use super::connect::ListenAddresses;
use super::connection::ConnectionServer;
use super::metrics::HttpMetrics;
use super::redirected::RedirectedHttpServer;
use super::service::ProxyService;
use super::span::ExchangeContext;
use super::tunnel_server;
use super::upstream::UpstreamClient;
use crate::correlator::SharedCorrelator;
use crate::listener::accept::AcceptLoop;
use crate::telemetry::log_throttle::LogThrottle;
use crate::telemetry::propagation_log::PropagationLog;
use crate::transport::drain::Drain;
use crate::transport::own_connections::OwnConnections;

/// Interval between sweeps of idle upstream connections.
/// A short one also shows more exactly when servers close theirs.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The HTTP part of a proxy.
pub(crate) struct HttpServer {
    service: Arc<ProxyService>,
    listeners: Vec<BoundHttpListener>,
    pub(crate) settings: watch::Sender<Arc<Settings>>,
    pub(crate) metrics: Arc<HttpMetrics>,
}

/// A bound listener and its configuration.
pub(crate) struct BoundHttpListener {
    pub(crate) listener: TcpListener,
    pub(crate) config: HttpListenerConfig,
}

// === impl HttpServer ===

impl HttpServer {
    pub(crate) fn new(
        config: Config,
        listeners: Vec<BoundHttpListener>,
        sink: Arc<dyn SpanSink>,
        correlator: SharedCorrelator,
        own_connections: &OwnConnections,
        listen_addresses: Vec<SocketAddr>,
        drain: Drain,
    ) -> Self {
        let Config {
            settings,
            outbound_tls,
            pool,
            limits,
            ..
        } = config;
        let metrics = Arc::new(HttpMetrics::new());
        let max_searched_body_bytes = correlator.token_extractor().max_body_bytes();
        // A reload replaces the settings of the exchanges that start after it.
        let settings = watch::Sender::new(settings);
        let tracing = ExchangeContext {
            settings: settings.subscribe(),
            correlator,
            sink,
            metrics: Arc::clone(&metrics),
            drain,
            dropped_span_log: LogThrottle::default(),
            propagation_log: PropagationLog::default(),
            refused_tunnel_log: LogThrottle::default(),
            span_rate: Mutex::new(TokenBucket::full()),
            max_spans_per_second: limits.max_spans_per_second,
        };
        let upstream = |direction, tls| {
            UpstreamClient::new(
                direction,
                limits.clone(),
                Arc::clone(&metrics),
                own_connections.clone(),
                tls,
                pool,
            )
        };
        let service = ProxyService {
            tracing: Arc::new(tracing),
            // The service is beside the proxy and reached in clear text.
            inbound: upstream(Direction::Inbound, None),
            outbound: upstream(Direction::Outbound, outbound_tls.as_ref()),
            limits: limits.clone(),
            max_searched_body_bytes,
            serve_tunnel: tunnel_server::serve,
            listen_addresses: ListenAddresses(listen_addresses),
            tunnels: TaskTracker::new(),
        };
        Self {
            service: Arc::new(service),
            listeners,
            settings,
            metrics,
        }
    }

    /// Returns the server of redirected connections.
    pub(crate) fn redirected(&self) -> RedirectedHttpServer {
        RedirectedHttpServer(Arc::clone(&self.service))
    }

    /// Accepts connections on all listeners until the drain starts.
    pub(crate) fn spawn(self, accepting: &TaskTracker, accept_loop: &AcceptLoop) {
        let Self {
            service, listeners, ..
        } = self;
        accepting.spawn(sweep_idle_connections(Arc::clone(&service)));
        let tunnels = service.tunnels.clone();
        // A closed tracker still takes tasks; `wait` would not end without it.
        tunnels.close();
        // The drain waits for tunnels as for connections. It does so from its start only: before,
        // the tracker of tunnels is empty now and then, and the wait would be over.
        let drain = service.tracing.drain.clone();
        let connections = accept_loop.connections.clone();
        accepting.spawn(async move {
            drain.draining().await;
            connections.spawn(async move { tunnels.wait().await });
        });
        for BoundHttpListener { listener, config } in listeners {
            let HttpListenerConfig { route, tls, .. } = config;
            let tls = tls.map(|tls| tls.with_alpn(alpn_protocols(&route)));
            let server = Arc::new(ConnectionServer {
                service: Arc::clone(&service),
                route,
                tls,
            });
            let serve = move |stream, client| {
                let server = Arc::clone(&server);
                async move { server.serve(stream, client).await }
            };
            accepting.spawn(accept_loop.clone().run(listener, serve));
        }
    }
}

/// Closes upstream connections that have been idle for too long, until the drain starts.
async fn sweep_idle_connections(service: Arc<ProxyService>) {
    loop {
        tokio::select! {
            () = service.tracing.drain.draining() => return,
            () = tokio::time::sleep(SWEEP_INTERVAL) => {}
        }
        for upstream in [&service.inbound, &service.outbound] {
            upstream.sweep(Instant::now());
        }
    }
}

/// Returns the protocols to offer in TLS, the preferred one first. HTTP/2 is not offered for a
/// service that may not support it: most clients would select it.
const fn alpn_protocols(route: &HttpRoute) -> &'static [&'static [u8]] {
    match route {
        HttpRoute::Service {
            protocol: UpstreamProtocol::Http2,
            ..
        } => &[b"h2", b"http/1.1"],
        HttpRoute::Service { .. }
        | HttpRoute::Fixed(_)
        | HttpRoute::Named { .. }
        | HttpRoute::Original(_) => &[b"http/1.1"],
    }
}
