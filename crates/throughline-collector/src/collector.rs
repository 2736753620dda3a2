//! The collector as a whole: its listeners, the services behind them, and its shutdown.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use socket2::SockRef;
use throughline_store::{MemoryStore, Store};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::accept_loop::HttpAcceptLoop;
use crate::config::{CollectorEndpoint, Config, ListenerPort, WeavingMode};
use crate::ingest::{IngestPipeline, RecordIngest, RecordSource, SpanDestination};
use crate::metrics::{self, Metrics};
use crate::query::{self, QueryState};
use crate::weaving::{WeavingFeed, WeavingLinks, WeavingTask};
use crate::{cors, jaeger_receiver, otlp_grpc, otlp_http, token_layer, zipkin};

/// Memory of a UDP socket for datagrams that were not read yet.
const UDP_RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// A collector whose listeners are open; it answers once it runs.
#[derive(Debug)]
pub struct CollectorServer {
    listeners: Vec<(CollectorEndpoint, CollectorListener)>,
    addresses: CollectorAddresses,
    config: Config,
}

/// All that the listeners share.
struct CollectorServices {
    pipeline: Arc<IngestPipeline>,
    /// One state: the limits hold for both ports of queries together. None without a store.
    queries: Option<QueryState>,
    metrics: Arc<Metrics>,
    config: Config,
    stopping: CancellationToken,
}

/// An open port.
#[derive(Debug)]
enum CollectorListener {
    Http(TcpListener),
    Datagrams(UdpSocket),
}

/// The addresses of the listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectorAddresses {
    /// OTLP over gRPC; its port is 0 where it is closed, here and below
    /// ([`Config::is_query_only`]).
    pub otlp_grpc: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
    /// Zipkin v2 JSON.
    pub zipkin: SocketAddr,
    /// Queries and the UI.
    pub query: SocketAddr,
    /// Queries over gRPC; `None` when closed, here and below.
    pub query_grpc: Option<SocketAddr>,
    /// Jaeger's Thrift over HTTP.
    pub jaeger_http: Option<SocketAddr>,
    /// Jaeger's Thrift over UDP, on the port for the compact protocol.
    pub jaeger_compact: Option<SocketAddr>,
    /// Jaeger's Thrift over UDP, on the port for the binary protocol.
    pub jaeger_binary: Option<SocketAddr>,
    /// Jaeger's remote sampling.
    pub jaeger_sampling: Option<SocketAddr>,
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
    pub source: io::Error,
}

/// The source of records has ended, and with it the collector.
#[derive(Debug, thiserror::Error)]
#[error("records are not read any more; the log has the reason")]
pub struct RecordSourceEnd;

impl CollectorServer {
    /// Opens all listeners. From then on the operating system accepts connections; they are
    /// answered once [`CollectorServer::run`] runs.
    ///
    /// # Errors
    ///
    /// Returns [`CollectorBindError`] for the first listener that cannot be opened; the others are
    /// closed again.
    pub async fn bind(config: Config) -> Result<Self, CollectorBindError> {
        let mut listeners = Vec::new();
        // An error drops the listeners that are open already, which closes them.
        let addresses = CollectorAddresses {
            otlp_grpc: bind(&config, CollectorEndpoint::OtlpGrpc, &mut listeners).await?,
            otlp_http: bind(&config, CollectorEndpoint::OtlpHttp, &mut listeners).await?,
            zipkin: bind(&config, CollectorEndpoint::Zipkin, &mut listeners).await?,
            query: bind(&config, CollectorEndpoint::Query, &mut listeners).await?,
            query_grpc: bind_optional(&config, CollectorEndpoint::QueryGrpc, &mut listeners)
                .await?,
            jaeger_http: bind_optional(&config, CollectorEndpoint::JaegerHttp, &mut listeners)
                .await?,
            jaeger_compact: bind_optional(
                &config,
                CollectorEndpoint::JaegerCompact,
                &mut listeners,
            )
            .await?,
            jaeger_binary: bind_optional(&config, CollectorEndpoint::JaegerBinary, &mut listeners)
                .await?,
            jaeger_sampling: bind_optional(
                &config,
                CollectorEndpoint::JaegerSampling,
                &mut listeners,
            )
            .await?,
        };
        Ok(Self {
            listeners,
            addresses,
            config,
        })
    }

    /// Returns the addresses of the listeners, with the ports that the operating system chose.
    #[must_use]
    pub const fn addresses(&self) -> CollectorAddresses {
        self.addresses
    }

    /// Serves all listeners until `stop` completes, then drains requests in flight within
    /// [`CollectorLimits::drain_timeout`](crate::CollectorLimits::drain_timeout).
    ///
    /// Traces are kept in memory.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let store = Arc::new(MemoryStore::new(self.config.max_store_bytes));
        self.run_with_store(store, stop).await;
    }

    /// Does the same with traces in this store.
    pub async fn run_with_store(
        self,
        store: Arc<dyn Store>,
        stop: impl Future<Output = ()> + Send,
    ) {
        let destination = SpanDestination::Store(store);
        let ran = self.run_with(destination, None, stop).await;
        // Without a source of records, none can end.
        ran.unwrap_or_default();
    }

    /// Does the same with spans that go to this destination, and records that are read besides.
    ///
    /// # Errors
    /// The source of records ended before `stop`.
    pub async fn run_with(
        self,
        destination: SpanDestination,
        records: Option<Box<dyn RecordSource>>,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), RecordSourceEnd> {
        let metrics = Arc::new(Metrics::default());
        let (weaving, mut weaver) = self.weaving(&destination, &metrics);
        let queries = match &destination {
            SpanDestination::Store(store) => Some(QueryState::new(
                Arc::clone(store),
                Arc::clone(&metrics),
                &self.config.limits,
            )),
            SpanDestination::Forwarder(_) => None,
        };
        let services = CollectorServices {
            pipeline: Arc::new(IngestPipeline::new(
                destination,
                Arc::clone(&metrics),
                self.config.limits.clone(),
                weaving,
            )),
            queries,
            metrics,
            config: self.config,
            stopping: CancellationToken::new(),
        };
        let stopping = &services.stopping;
        let mut loops = JoinSet::new();
        if let Some(reader) = weaver.decision_reader() {
            let stopping = stopping.clone();
            loops.spawn_blocking(move || reader(stopping));
        }
        // Stopped last: spans are acknowledged until the listeners are drained.
        let (mut weavers, weaver_stopping) = (JoinSet::new(), CancellationToken::new());
        weavers.spawn(weaver.run(weaver_stopping.clone()));
        for (endpoint, listener) in self.listeners {
            services.serve(endpoint, listener, &mut loops);
        }
        let reader_ended = CancellationToken::new();
        if let Some(records) = records {
            let ingest = RecordIngest::new(Arc::clone(&services.pipeline));
            let (stopping, ended) = (stopping.clone(), reader_ended.clone());
            loops.spawn_blocking(move || {
                let _ended = ended.drop_guard();
                records.run(ingest, stopping);
            });
        }
        let ended = tokio::select! {
            () = stop => Ok(()),
            () = reader_ended.cancelled() => Err(RecordSourceEnd),
        };
        stopping.cancel();
        // All listeners drain at the same time, so the drain timeout holds for the whole.
        while loops.join_next().await.is_some() {}
        weaver_stopping.cancel();
        while weavers.join_next().await.is_some() {}
        ended
    }

    /// Returns the weaver of spans that are stored here; those that pass through have none.
    fn weaving(
        &self,
        destination: &SpanDestination,
        metrics: &Arc<Metrics>,
    ) -> (WeavingFeed, WeavingTask) {
        let mut settings = self.config.weaving.clone();
        let store: Arc<dyn Store> = match destination {
            SpanDestination::Store(store) => Arc::clone(store),
            SpanDestination::Forwarder(_) => {
                settings.mode = WeavingMode::Off;
                Arc::new(MemoryStore::new(0))
            }
        };
        let links = WeavingLinks {
            sink: self.config.forward.clone(),
            decisions: self.config.decisions.clone(),
            tracker: None,
        };
        WeavingTask::new(store, Arc::clone(metrics), settings, links)
    }
}

// === impl CollectorServices ===

impl CollectorServices {
    /// Serves a listener in a task of its own.
    fn serve(
        &self,
        endpoint: CollectorEndpoint,
        listener: CollectorListener,
        loops: &mut JoinSet<()>,
    ) {
        let stopping = self.stopping.clone();
        let listener = match listener {
            CollectorListener::Http(listener) => listener,
            CollectorListener::Datagrams(socket) => {
                let pipeline = Arc::clone(&self.pipeline);
                let agent = jaeger_receiver::agent::serve(socket, endpoint, pipeline, stopping);
                loops.spawn(agent);
                return;
            }
        };
        let router = self.router(endpoint);
        let accept_loop = HttpAcceptLoop {
            endpoint,
            // The outermost layer, so that responses of other layers are counted too.
            router: metrics::count_requests(router, endpoint, Arc::clone(&self.metrics)),
            tls: self.config.tls.clone(),
            limits: self.config.limits.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        loops.spawn(async move {
            accept_loop.serve(listener, stopping).await;
            tracing::debug!(endpoint = endpoint.label(), "listener closed");
        });
    }

    fn router(&self, endpoint: CollectorEndpoint) -> Router {
        let (pipeline, config) = (&self.pipeline, &self.config);
        let guarded =
            |router| token_layer::require_ingest_token(router, endpoint, &config.access, pipeline);
        match endpoint {
            CollectorEndpoint::OtlpGrpc => guarded(otlp_grpc::router(Arc::clone(pipeline))),
            CollectorEndpoint::OtlpHttp => {
                // Outside of the tokens: a browser asks for permission without any.
                cors::allow_origins(guarded(otlp_http::router(Arc::clone(pipeline))), config)
            }
            CollectorEndpoint::Zipkin => {
                cors::allow_origins(guarded(zipkin::router(Arc::clone(pipeline))), config)
            }
            CollectorEndpoint::Query | CollectorEndpoint::QueryGrpc => match &self.queries {
                None => query::status_router(Arc::clone(&self.metrics), config),
                Some(queries) if endpoint == CollectorEndpoint::Query => {
                    query::router(queries.clone(), config)
                }
                Some(queries) => query::grpc::router(queries.clone(), config),
            },
            CollectorEndpoint::JaegerHttp
            | CollectorEndpoint::JaegerCompact
            | CollectorEndpoint::JaegerBinary => {
                guarded(jaeger_receiver::http::router(Arc::clone(pipeline)))
            }
            CollectorEndpoint::JaegerSampling => jaeger_receiver::sampling::router(),
        }
    }
}

/// Opens the port of an endpoint that always has one.
async fn bind(
    config: &Config,
    endpoint: CollectorEndpoint,
    listeners: &mut Vec<(CollectorEndpoint, CollectorListener)>,
) -> Result<SocketAddr, CollectorBindError> {
    let bound = bind_optional(config, endpoint, listeners).await?;
    // Missing only where spans are not received.
    Ok(bound.unwrap_or_else(|| SocketAddr::new(config.host, 0)))
}

/// Opens the port of an endpoint; `None` when it is to stay closed.
async fn bind_optional(
    config: &Config,
    endpoint: CollectorEndpoint,
    listeners: &mut Vec<(CollectorEndpoint, CollectorListener)>,
) -> Result<Option<SocketAddr>, CollectorBindError> {
    let (port, is_required) = match config.port(endpoint) {
        ListenerPort::Closed => return Ok(None),
        ListenerPort::IfFree(port) => (port, false),
        ListenerPort::Required(port) => (port, true),
    };
    let address = SocketAddr::new(config.host, port);
    match open(endpoint, address).await {
        Ok((listener, bound)) => {
            listeners.push((endpoint, listener));
            Ok(Some(bound))
        }
        Err(source) if is_required => Err(CollectorBindError {
            endpoint,
            address,
            source,
        }),
        Err(error) => {
            tracing::warn!(
                endpoint = endpoint.label(),
                %address,
                %error,
                "port not opened; its clients are not served"
            );
            Ok(None)
        }
    }
}

async fn open(
    endpoint: CollectorEndpoint,
    address: SocketAddr,
) -> io::Result<(CollectorListener, SocketAddr)> {
    // Port 0 asks the operating system to choose one.
    if endpoint.is_udp() {
        let socket = UdpSocket::bind(address).await?;
        // Spans that arrive while a datagram is decoded wait here. The system may grant less.
        SockRef::from(&socket)
            .set_recv_buffer_size(UDP_RECEIVE_BUFFER_BYTES)
            .unwrap_or_default();
        let bound = socket.local_addr()?;
        return Ok((CollectorListener::Datagrams(socket), bound));
    }
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((CollectorListener::Http(listener), bound))
}
