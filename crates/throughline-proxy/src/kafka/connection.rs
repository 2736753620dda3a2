//! One connection of a client, from its acceptance to its end: whose it is, TLS, the broker, then its bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use throughline_intercept::kafka::{Peer, Settings};
use throughline_intercept::{KafkaSession, Side};
use throughline_model::SpanSink;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::address::Address;
use crate::address::plain;
use crate::clock::Clock;
use crate::kafka::cluster::{Aim, Knowledge, Target, View};
use crate::kafka::driver::{Ended, Parts, Pump};
use crate::switch::{Switch, Watch};
use crate::telemetry::metrics::Failure;
use crate::telemetry::reporter::Herald;
use crate::transport::dial::{DialError, Dialer, Dialled, Tcp};
use crate::transport::drain::Stop;
use crate::transport::own_connections::Ends;
use crate::transport::stream::{self, Stream};
use crate::transport::tls::Acceptor;

/// What all connections need.
pub(crate) struct Service {
    pub(crate) dialer: Dialer,
    pub(crate) client_tls: Option<Acceptor>,
    pub(crate) settings: Arc<Switch<Settings>>,
    pub(crate) sink: Arc<dyn SpanSink>,
    pub(crate) herald: Arc<Herald>,
    pub(crate) clock: Clock,
    pub(crate) stop: Stop,
}

/// Where the connections of one port go: to a broker that is known by the port, or to one of several that will do.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) target: Arc<Target>,
    pub(crate) knowledge: Arc<Knowledge>,
    pub(crate) advertise: Option<Arc<str>>,
}

/// A connection that the system turned towards us.
#[derive(Debug)]
pub(crate) struct Redirected {
    pub(crate) stream: TcpStream,
    pub(crate) client: SocketAddr,
    /// Where it was to go.
    pub(crate) wanted: SocketAddr,
}

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
struct Failed {
    failure: Failure,
    error: String,
}

/// Counts a connection as open as long as it lives, also when it ends by an error of ours.
struct Counted(Arc<Herald>);

// === impl Service ===

impl Service {
    /// Serves a connection to its end.
    pub(crate) async fn serve(self: Arc<Self>, stream: TcpStream, client: SocketAddr, way: Way) {
        let _counted = Counted::new(&self.herald);
        let client = plain(client);
        let opened = tokio::select! {
            opened = self.open(stream, client, way) => opened,
            // Nothing has been said on it yet, so nothing is lost.
            () = self.stop.begun() => return,
        };
        self.run(client, opened).await;
    }

    /// Serves a connection to the broker that it wants, to which a connection stands, or cannot be had.
    pub(crate) async fn serve_redirected(
        self: Arc<Self>,
        redirected: Redirected,
        knowledge: &Arc<Knowledge>,
        broker: io::Result<Tcp>,
    ) {
        let _counted = Counted::new(&self.herald);
        let client = redirected.client;
        let opened = self.open_redirected(redirected, knowledge, broker).await;
        self.run(client, opened).await;
    }

    async fn run(&self, client: SocketAddr, opened: Result<(Pump<Stream, Stream>, Stop), Failed>) {
        match opened {
            Ok((pump, stop)) => self.tell(client, &pump.run(&stop).await),
            Err(Failed { failure, error }) => {
                tracing::debug!(%client, %error, "a connection did not come about");
                self.herald.failed(failure, &error);
            }
        }
    }

    /// Finds the broker and connects the two. Gives what ends the connection, too.
    async fn open(
        &self,
        stream: TcpStream,
        client: SocketAddr,
        way: Way,
    ) -> Result<(Pump<Stream, Stream>, Stop), Failed> {
        stream::tune(&stream);
        let local = stream
            .local_addr()
            .map_err(|error| Failed::new(Failure::Client, &error))?;
        let Way {
            target,
            knowledge,
            advertise,
        } = way;
        let Aim { candidates, stop } = target.aim();
        if self.dialer.outgoing.has(Ends::new(client, local)) {
            return Err(Failed::new(Failure::Loop, &client));
        }
        let to_client = self.accept(stream).await?;
        let dialled = self.dialer.dial(&candidates).await;
        let host = advertise.unwrap_or_else(|| plain(local).ip().to_string().into());
        Ok((
            self.pump(to_client, dialled, client, knowledge.view(host))?,
            stop,
        ))
    }

    async fn open_redirected(
        &self,
        redirected: Redirected,
        knowledge: &Arc<Knowledge>,
        broker: io::Result<Tcp>,
    ) -> Result<(Pump<Stream, Stream>, Stop), Failed> {
        let Redirected {
            stream,
            client,
            wanted,
        } = redirected;
        let to_client = Stream::Plain(stream);
        let address = Address {
            host: wanted.ip().to_string().into(),
            port: wanted.port(),
        };
        let view = knowledge.view(Arc::clone(&address.host));
        let dialled = match broker {
            Ok(tcp) => self.dialer.take(address.clone(), tcp).await,
            Err(error) => Err(error),
        };
        let dialled = dialled.map_err(|error| DialError::of(address, error));
        Ok((
            self.pump(to_client, dialled, client, view)?,
            self.stop.clone(),
        ))
    }

    fn pump(
        &self,
        to_client: Stream,
        dialled: Result<Dialled, DialError>,
        client: SocketAddr,
        view: View,
    ) -> Result<Pump<Stream, Stream>, Failed> {
        let dialled = dialled.map_err(|error| {
            refuse(&to_client);
            Failed::new(Failure::Connect, &error)
        })?;
        let peer = Peer {
            address: Some(client.ip()),
            broker: Some((dialled.broker.host, dialled.broker.port)),
        };
        let (settings, watch) = Watch::new(&self.settings);
        let parts = Parts {
            session: KafkaSession::new(settings, view, peer, fastrand::u64(..)),
            settings: watch,
            sink: Arc::clone(&self.sink),
            herald: Arc::clone(&self.herald),
            clock: self.clock,
            listed: Some(dialled.listed),
        };
        Ok(Pump::new(parts, to_client, dialled.stream))
    }

    async fn accept(&self, stream: TcpStream) -> Result<Stream, Failed> {
        let Some(tls) = &self.client_tls else {
            return Ok(Stream::Plain(stream));
        };
        let late = |_| Err(io::ErrorKind::TimedOut.into());
        let accepted = timeout(HANDSHAKE, tls.accept(stream))
            .await
            .unwrap_or_else(late);
        accepted.map_err(|error| Failed::new(Failure::ClientTls, &error))
    }

    fn tell(&self, client: SocketAddr, ended: &Ended) {
        let failure = match ended {
            Ended::By(side) => return tracing::debug!(%client, ?side, "a connection ended"),
            Ended::Drained => {
                return tracing::debug!(%client, "ended a connection between two exchanges");
            }
            Ended::Cut => Failure::Cut,
            Ended::Broken(side, error) => {
                tracing::debug!(%client, ?side, %error, "a connection broke");
                if *side == Side::Client {
                    Failure::Client
                } else {
                    Failure::Broker
                }
            }
        };
        self.herald.metrics.failed(failure);
    }
}

// === impl Failed ===

impl Failed {
    fn new(failure: Failure, error: &dyn std::fmt::Display) -> Self {
        Self {
            failure,
            error: error.to_string(),
        }
    }
}

// === impl Counted ===

impl Counted {
    fn new(herald: &Arc<Herald>) -> Self {
        herald.metrics.connections.inc();
        herald.metrics.open.inc();
        Self(Arc::clone(herald))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.open.dec();
        if std::thread::panicking() {
            self.0.metrics.failed(Failure::Panic);
            tracing::error!(
                "a connection ended by an error of ours; its client will connect again. Please report it"
            );
        }
    }
}

/// Has the client hear that nobody is there.
fn refuse(client: &Stream) {
    match client {
        Stream::Plain(stream) => stream::refuse(stream),
        Stream::Tls(stream) => stream::refuse(stream.get_ref().0),
    }
}

/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
