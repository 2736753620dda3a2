//! The collector as a whole: its listeners, the services behind them, and its shutdown.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use throughline_store::{MemoryStore, Store};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{CollectorEndpoint, CollectorLimits, Config};
use crate::ingest::IngestPipeline;
use crate::metrics::{self, Metrics};
use crate::{accept_loop, otlp_grpc, otlp_http, query, zipkin};

/// A collector whose listeners are open; it answers once it runs.
#[derive(Debug)]
pub struct CollectorServer {
    listeners: Vec<(CollectorEndpoint, TcpListener)>,
    addresses: CollectorAddresses,
    config: Config,
}

/// The addresses of the listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectorAddresses {
    /// OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
    /// Zipkin v2 JSON.
    pub zipkin: SocketAddr,
    /// Queries and the UI.
    pub query: SocketAddr,
}

/// A listener that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {}", endpoint.label())]
pub struct CollectorBindError {
    /// Endpoint of the listener.
    pub endpoint: CollectorEndpoint,
    /// Address of the listener.
    pub address: SocketAddr,
    /// Error of the operating system.
    pub source: std::io::Error,
}

impl CollectorServer {
    /// Opens all listeners. From then on the operating system accepts connections; they are
    /// answered once [`CollectorServer::run`] runs.
    ///
    /// # Errors
    ///
    /// Returns [`CollectorBindError`] for the first listener that cannot be opened; the others are
    /// closed again.
    pub async fn bind(config: Config) -> Result<Self, CollectorBindError> {
        // An error drops the listeners that are open already, which closes them.
        let (grpc, otlp_grpc) = bind(&config, CollectorEndpoint::OtlpGrpc).await?;
        let (http, otlp_http) = bind(&config, CollectorEndpoint::OtlpHttp).await?;
        let (zipkin, zipkin_address) = bind(&config, CollectorEndpoint::Zipkin).await?;
        let (query, query_address) = bind(&config, CollectorEndpoint::Query).await?;
        Ok(Self {
            listeners: vec![grpc, http, zipkin, query],
            addresses: CollectorAddresses {
                otlp_grpc,
                otlp_http,
                zipkin: zipkin_address,
                query: query_address,
            },
            config,
        })
    }

    /// Returns the addresses of the listeners, with the ports that the operating system chose.
    #[must_use]
    pub const fn addresses(&self) -> CollectorAddresses {
        self.addresses
    }

    /// Serves all listeners until `stop` completes, then drains requests in flight within
    /// [`CollectorLimits::drain_timeout`].
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        // The only place that knows which store it is.
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(self.config.max_store_bytes));
        let metrics = Arc::new(Metrics::default());
        let pipeline = Arc::new(IngestPipeline::new(
            Arc::clone(&store),
            Arc::clone(&metrics),
            self.config.limits.clone(),
        ));
        let stopping = CancellationToken::new();
        let mut loops = JoinSet::new();
        for (endpoint, listener) in self.listeners {
            let router = match endpoint {
                CollectorEndpoint::OtlpGrpc => otlp_grpc::router(Arc::clone(&pipeline)),
                CollectorEndpoint::OtlpHttp => otlp_http::router(Arc::clone(&pipeline)),
                CollectorEndpoint::Zipkin => zipkin::router(Arc::clone(&pipeline)),
                CollectorEndpoint::Query => {
                    query::router(Arc::clone(&store), Arc::clone(&metrics), &self.config)
                }
            };
            // The outermost layer, so that responses of other layers are counted too.
            let router = metrics::count_requests(router, endpoint, Arc::clone(&metrics));
            loops.spawn(serve_endpoint(
                endpoint,
                listener,
                router,
                self.config.limits.clone(),
                stopping.clone(),
            ));
        }
        stop.await;
        stopping.cancel();
        // All listeners drain at the same time, so the drain timeout holds for the whole.
        while loops.join_next().await.is_some() {}
    }
}

async fn serve_endpoint(
    endpoint: CollectorEndpoint,
    listener: TcpListener,
    router: Router,
    limits: CollectorLimits,
    stopping: CancellationToken,
) {
    let protocol = if endpoint == CollectorEndpoint::OtlpGrpc {
        accept_loop::HttpProtocol::Http2
    } else {
        accept_loop::HttpProtocol::Http1
    };
    accept_loop::serve(listener, router, protocol, limits, stopping).await;
    tracing::debug!(endpoint = endpoint.label(), "listener closed");
}

async fn bind(
    config: &Config,
    endpoint: CollectorEndpoint,
) -> Result<((CollectorEndpoint, TcpListener), SocketAddr), CollectorBindError> {
    let address = config.address(endpoint);
    let error = |source| CollectorBindError {
        endpoint,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    // Port 0 asks the operating system to choose one.
    let bound = listener.local_addr().map_err(error)?;
    Ok(((endpoint, listener), bound))
}
