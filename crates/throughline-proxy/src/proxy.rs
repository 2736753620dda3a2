//! The proxy as a whole: its listeners, the ports of brokers as they appear, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use throughline_intercept::http::{Direction, Settings as HttpSettings};
use throughline_intercept::kafka::Settings;
use throughline_model::SpanSink;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{Addressed, Config, Route};
use crate::correlator::Process;
use crate::http::{self, Http};
use crate::kafka::cluster::{Clients, Knowledge, Opened, Target};
use crate::kafka::connection::{Service, Way};
use crate::listener::accept::Doors;
use crate::listener::detect_server::{self, Gate};
use crate::switch::Switch;
use crate::telemetry::admin::{self, ExportCounts, Status};
use crate::telemetry::metrics::{Exported, Metrics};
use crate::telemetry::reporter::Herald;
use crate::transport::dial::Dialer;
use crate::transport::drain::Stop;
use crate::transport::own_connections::Outgoing;

/// A proxy with its listeners open, not yet serving.
pub struct Proxy {
    doors: Vec<Door>,
    admin: Option<TcpListener>,
    addresses: Addresses,
    service: Arc<Service>,
    places: Arc<Semaphore>,
    drain_deadline: Duration,
    http: Http,
    process: Process,
    gates: Arc<detect_server::Metrics>,
    knowledge: Vec<Arc<Knowledge>>,
    exported: Option<ExportCounts>,
}

/// Where the proxy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Of the listeners, in their order.
    pub listeners: Vec<SocketAddr>,
    /// Of the listeners for HTTP, in their order.
    pub http: Vec<SocketAddr>,
    /// Of `/metrics`, `/ready` and `/live`.
    pub admin: Option<SocketAddr>,
}

/// What can be changed while the proxy runs.
#[derive(Debug, Clone)]
pub struct Control {
    kafka: Arc<Switch<Settings>>,
    http: Arc<Switch<HttpSettings>>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {}", purpose.label())]
pub struct BindError {
    /// What for.
    pub purpose: Purpose,
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    pub source: std::io::Error,
}

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Clients of Kafka.
    Kafka,
    /// Requests.
    Http,
    /// Metrics and health.
    Admin,
}

/// A listener, who serves its connections, and the ports that open as brokers are heard of.
struct Door {
    listener: TcpListener,
    server: Server,
    opened: Option<mpsc::Receiver<Opened>>,
}

/// Who serves the connections of a listener.
#[derive(Clone)]
enum Server {
    Brokers(Way),
    Redirected(Arc<Gate>),
}

/// Everything that listens.
struct Sockets {
    listeners: Vec<(TcpListener, Route)>,
    requests: Vec<http::Door>,
    admin: Option<TcpListener>,
    addresses: Addresses,
}

// === impl Proxy ===

impl Proxy {
    /// Opens all listeners. From here on connections are accepted by the system and served once [`Proxy::run`] runs.
    ///
    /// # Errors
    /// [`BindError`] for the first address that cannot be had; the others are closed again.
    pub async fn bind(mut config: Config, sink: Arc<dyn SpanSink>) -> Result<Self, BindError> {
        let Sockets {
            listeners,
            requests,
            admin,
            addresses,
        } = Sockets::open(&mut config).await?;
        let (stop, clock, outgoing) = (Stop::default(), Clock::new(), Outgoing::default());
        let process = Process::new(std::mem::take(&mut config.http.correlate), clock);
        let is_redirected = listeners
            .iter()
            .any(|(_, route)| matches!(route, Route::Redirected(_)));
        // Kafka alone may have clients of many processes, and what one of them does says nothing about another.
        let of_clients = (is_redirected || !requests.is_empty()).then(|| process.clone());
        let clients = Clients {
            capacity: config.capacity,
            process: of_clients,
        };
        let http = Http::new(
            config.http,
            requests,
            Arc::clone(&sink),
            process.clone(),
            &outgoing,
            stop.clone(),
        );
        let service = Arc::new(Service {
            dialer: Dialer {
                tls: config.broker_tls,
                deadline: config.limits.connect_deadline,
                outgoing,
            },
            client_tls: config.client_tls,
            settings: Arc::new(Switch::new(config.settings)),
            sink,
            herald: Arc::new(Herald::new(Arc::new(Metrics::new()))),
            clock,
            stop,
        });
        let redirected = Redirection::new(
            &service,
            http.gate(),
            Knowledge::transparent(clients.clone()),
        );
        let (mut doors, mut knowledge) = (Vec::new(), Vec::new());
        for (listener, route) in listeners {
            let (known, door) = match route {
                Route::Addressed(addressed) => {
                    addressed_door(listener, addressed, clients.clone(), &service.stop)?
                }
                Route::Redirected(direction) => redirected.door(listener, direction),
            };
            if !knowledge.iter().any(|other| Arc::ptr_eq(other, &known)) {
                knowledge.push(known);
            }
            doors.push(door);
        }
        let places = Arc::new(Semaphore::new(config.limits.connections_max));
        let drain_deadline = config.limits.drain_deadline;
        let gates = redirected.metrics;
        Ok(Self {
            doors,
            admin,
            addresses,
            service,
            places,
            drain_deadline,
            http,
            process,
            gates,
            knowledge,
            exported: None,
        })
    }

    /// Where it listens, with the ports that the system chose.
    #[must_use]
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Has `/metrics` tell what the exporter behind the sink has counted, which is asked each time.
    #[must_use]
    pub fn with_exported(mut self, counts: impl Fn() -> Exported + Send + Sync + 'static) -> Self {
        self.exported = Some(Arc::new(counts));
        self
    }

    /// What changes it while it runs.
    #[must_use]
    pub fn control(&self) -> Control {
        Control {
            kafka: Arc::clone(&self.service.settings),
            http: Arc::clone(&self.http.settings),
        }
    }

    /// Serves until `stop` is over. Then takes no more connections, lets each end what it is at, and cuts those that have not
    /// ended by the drain deadline.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let end = self.service.stop.clone();
        let admin_end = Stop::default();
        let (listening, connections) = (TaskTracker::new(), TaskTracker::new());
        let herald = Arc::clone(&self.service.herald);
        let doors = Doors {
            places: self.places,
            connections: connections.clone(),
            herald: Arc::clone(&herald),
            stop: end.clone(),
        };
        let requests = Arc::clone(&self.http.metrics);
        self.http.spawn(&listening, &doors);
        let ports = Ports {
            service: self.service,
            doors,
        };
        for Door {
            listener,
            server,
            opened,
        } in self.doors
        {
            if let (Some(opened), Server::Brokers(way)) = (opened, &server) {
                listening.spawn(ports.clone().open(opened, way.clone(), listening.clone()));
            }
            listening.spawn(ports.clone().listen(listener, server));
        }
        let status = Status {
            herald,
            http: requests,
            process: self.process,
            gates: self.gates,
            knowledge: self.knowledge,
            exported: self.exported,
            stop: end.clone(),
        };
        let admin = TaskTracker::new();
        if let Some(listener) = self.admin {
            admin.spawn(admin::serve(listener, status, admin_end.clone()));
        }

        stop.await;
        end.begin();
        listening.close();
        listening.wait().await;
        connections.close();
        if timeout(self.drain_deadline, connections.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = connections.len(),
                "cut the connections that did not end in time"
            );
        }
        end.finish();
        connections.wait().await;
        admin_end.finish();
        admin.close();
        admin.wait().await;
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

// === impl Control ===

impl Control {
    /// Has all connections go on with these settings, from their next request on.
    pub fn apply(&self, settings: Arc<Settings>) {
        self.kafka.set(settings);
    }

    /// Has all requests from here on traced with these settings.
    pub fn apply_http(&self, settings: Arc<HttpSettings>) {
        self.http.set(settings);
    }
}

// === impl Purpose ===

impl Purpose {
    const fn label(self) -> &'static str {
        match self {
            Self::Kafka => "clients of Kafka",
            Self::Http => "requests",
            Self::Admin => "metrics and health",
        }
    }
}

/// Accepts connections, on ports that are there from the beginning and on those that come.
#[derive(Clone)]
struct Ports {
    service: Arc<Service>,
    doors: Doors,
}

// === impl Ports ===

impl Ports {
    /// Listens on the ports of brokers as they are opened.
    async fn open(
        self,
        mut opened: mpsc::Receiver<Opened>,
        bootstrap: Way,
        listening: TaskTracker,
    ) {
        let Way {
            knowledge,
            advertise,
            ..
        } = bootstrap;
        loop {
            let Opened { listener, target } = tokio::select! {
                () = self.service.stop.begun() => return,
                opened = opened.recv() => match opened {
                    Some(opened) => opened,
                    None => return,
                },
            };
            let way = Way {
                target,
                knowledge: Arc::clone(&knowledge),
                advertise: advertise.clone(),
            };
            match TcpListener::from_std(listener) {
                Ok(listener) => {
                    drop(listening.spawn(self.clone().listen(listener, Server::Brokers(way))))
                }
                Err(error) => tracing::warn!(%error, "cannot listen on a broker's port"),
            }
        }
    }

    async fn listen(self, listener: TcpListener, server: Server) {
        let Self { service, doors } = self;
        let serve = move |stream, client| {
            let (service, server) = (Arc::clone(&service), server.clone());
            async move {
                match server {
                    Server::Brokers(way) => service.serve(stream, client, way).await,
                    Server::Redirected(gate) => gate.serve(stream, client).await,
                }
            }
        };
        doors.take(listener, serve).await;
    }
}

fn addressed_door(
    listener: TcpListener,
    addressed: Addressed,
    clients: Clients,
    stop: &Stop,
) -> Result<(Arc<Knowledge>, Door), BindError> {
    let address = local(&listener, Purpose::Kafka)?;
    let (knowledge, opened) = Knowledge::addressed(clients, address.ip(), &addressed, stop);
    let target = Arc::new(Target::new(addressed.bootstrap, stop.clone()));
    let way = Way {
        target,
        knowledge: Arc::clone(&knowledge),
        advertise: addressed.advertise,
    };
    Ok((
        knowledge,
        Door {
            listener,
            server: Server::Brokers(way),
            opened: Some(opened),
        },
    ))
}

/// What all listeners for redirected connections have in common.
struct Redirection<'a> {
    service: &'a Arc<Service>,
    http: http::Gate,
    knowledge: Arc<Knowledge>,
    metrics: Arc<detect_server::Metrics>,
}

// === impl Redirection ===

impl<'a> Redirection<'a> {
    fn new(service: &'a Arc<Service>, http: http::Gate, knowledge: Arc<Knowledge>) -> Self {
        Self {
            service,
            http,
            knowledge,
            metrics: Arc::new(detect_server::Metrics::new()),
        }
    }

    fn door(&self, listener: TcpListener, direction: Direction) -> (Arc<Knowledge>, Door) {
        let gate = Gate {
            direction,
            kafka: Arc::clone(self.service),
            knowledge: Arc::clone(&self.knowledge),
            http: self.http.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        (
            Arc::clone(&self.knowledge),
            Door {
                listener,
                server: Server::Redirected(Arc::new(gate)),
                opened: None,
            },
        )
    }
}

// === impl Sockets ===

impl Sockets {
    async fn open(config: &mut Config) -> Result<Self, BindError> {
        let mut addresses = Addresses {
            listeners: Vec::new(),
            http: Vec::new(),
            admin: None,
        };
        let (mut listeners, mut requests) = (Vec::new(), Vec::new());
        for wanted in std::mem::take(&mut config.listeners) {
            let listener = bind(wanted.address, Purpose::Kafka).await?;
            addresses.listeners.push(local(&listener, Purpose::Kafka)?);
            listeners.push((listener, wanted.route));
        }
        for wanted in std::mem::take(&mut config.http.listeners) {
            let listener = bind(wanted.address, Purpose::Http).await?;
            addresses.http.push(local(&listener, Purpose::Http)?);
            requests.push(http::Door { listener, wanted });
        }
        let mut admin = None;
        if let Some(wanted) = config.admin {
            let listener = bind(wanted, Purpose::Admin).await?;
            addresses.admin = Some(local(&listener, Purpose::Admin)?);
            admin = Some(listener);
        }
        Ok(Self {
            listeners,
            requests,
            admin,
            addresses,
        })
    }
}

async fn bind(address: SocketAddr, purpose: Purpose) -> Result<TcpListener, BindError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| BindError {
            purpose,
            address,
            source,
        })
}

fn local(listener: &TcpListener, purpose: Purpose) -> Result<SocketAddr, BindError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| BindError {
        purpose,
        address: unknown,
        source,
    })
}
