//! The collector as a whole: its doors, what is behind them, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use throughline_store::{MemoryStore, Store};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Door, Limits};
use crate::intake::Intake;
use crate::metrics::{self, Metrics};
use crate::{grpc, otlp_http, query, serve, zipkin};

/// A collector with all its doors open, not yet answering.
#[derive(Debug)]
pub struct Collector {
    listeners: Vec<(Door, TcpListener)>,
    addresses: Addresses,
    config: Config,
}

/// Where the doors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
    /// Zipkin v2 JSON.
    pub zipkin: SocketAddr,
    /// Queries and the UI.
    pub query: SocketAddr,
}

/// A door that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {}", door.label())]
pub struct BindError {
    /// Which door.
    pub door: Door,
    /// Where it should be.
    pub address: SocketAddr,
    /// Why it cannot be there.
    pub source: std::io::Error,
}

impl Collector {
    /// Opens all doors. From here on connections are accepted by the system and answered once [`Collector::run`] runs.
    ///
    /// # Errors
    ///
    /// [`BindError`] for the first door that cannot be opened; the others are closed again.
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        let (grpc, otlp_grpc) = bind(&config, Door::OtlpGrpc).await?;
        let (http, otlp_http) = bind(&config, Door::OtlpHttp).await?;
        let (zipkin, zipkin_address) = bind(&config, Door::Zipkin).await?;
        let (query, query_address) = bind(&config, Door::Query).await?;
        Ok(Self {
            listeners: vec![grpc, http, zipkin, query],
            addresses: Addresses {
                otlp_grpc,
                otlp_http,
                zipkin: zipkin_address,
                query: query_address,
            },
            config,
        })
    }

    /// Where the doors are, with the ports that the system chose.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves all doors until `stop` is over, then lets requests under way end, within [`Limits::drain_deadline`].
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(self.config.store_memory));
        let metrics = Arc::new(Metrics::default());
        let intake = Arc::new(Intake::new(
            Arc::clone(&store),
            Arc::clone(&metrics),
            self.config.limits.clone(),
        ));
        let stopping = CancellationToken::new();
        let mut doors = JoinSet::new();
        for (door, listener) in self.listeners {
            let router = match door {
                Door::OtlpGrpc => grpc::router(Arc::clone(&intake)),
                Door::OtlpHttp => otlp_http::router(Arc::clone(&intake)),
                Door::Zipkin => zipkin::router(Arc::clone(&intake)),
                Door::Query => {
                    query::router(Arc::clone(&store), Arc::clone(&metrics), &self.config)
                }
            };
            let router = metrics::counted(router, door, Arc::clone(&metrics));
            doors.spawn(serve_door(
                door,
                listener,
                router,
                self.config.limits.clone(),
                stopping.clone(),
            ));
        }
        stop.await;
        stopping.cancel();
        while doors.join_next().await.is_some() {}
    }
}

async fn serve_door(
    door: Door,
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stopping: CancellationToken,
) {
    let protocol = if door == Door::OtlpGrpc {
        serve::Protocol::Http2
    } else {
        serve::Protocol::Http1
    };
    serve::serve(listener, router, protocol, limits, stopping).await;
    tracing::debug!(door = door.label(), "door closed");
}

async fn bind(config: &Config, door: Door) -> Result<((Door, TcpListener), SocketAddr), BindError> {
    let address = config.address(door);
    let error = |source| BindError {
        door,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let bound = listener.local_addr().map_err(error)?;
    Ok(((door, listener), bound))
}
