//! One connection of a client, from its acceptance to its end: whose it is, TLS, the broker, then its bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use throughline_intercept::kafka::{Peer, Settings};
use throughline_intercept::{KafkaSession, Side};
use throughline_model::SpanSink;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::address::Address;
use crate::clock::Clock;
use crate::dial::{Candidates, Dialer};
use crate::knowledge::{Aim, Knowledge, Target};
use crate::metrics::Failure;
use crate::notice::Herald;
use crate::pump::{Ended, Parts, Pump};
use crate::redirect::{Ends, original_destination, plain};
use crate::stop::Stop;
use crate::stream::{self, Stream};
use crate::switch::{Switch, Watch};
use crate::tls::Acceptor;

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

/// Where the connections of one port go.
#[derive(Clone)]
pub(crate) enum Way {
    /// To a broker that is known by the port, or to one of several that will do.
    To { target: Arc<Target>, knowledge: Arc<Knowledge>, advertise: Option<Arc<str>> },
    /// Where they wanted to go.
    Original { knowledge: Arc<Knowledge> },
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
        let local = stream.local_addr().map_err(|error| Failed::new(Failure::Client, &error))?;
        let (wanted, aim, knowledge, advertise) = match way {
            Way::To { target, knowledge, advertise } => (local, target.aim(), knowledge, advertise),
            Way::Original { knowledge } => {
                let wanted = original(&stream)?;
                (wanted, Aim { candidates: only(wanted), stop: self.stop.clone() }, knowledge, None)
            }
        };
        if self.dialer.outgoing.has(Ends::new(client, wanted)) {
            return Err(Failed::new(Failure::Loop, &client));
        }
        let to_client = self.accept(stream).await?;
        let dialled = self.dialer.dial(&aim.candidates).await.map_err(|error| {
            refuse(&to_client);
            Failed::new(Failure::Connect, &error)
        })?;
        let host = advertise.unwrap_or_else(|| plain(local).ip().to_string().into());
        let peer = Peer { address: Some(client.ip()), broker: Some((dialled.broker.host, dialled.broker.port)) };
        let (settings, watch) = Watch::new(&self.settings);
        let parts = Parts {
            session: KafkaSession::new(settings, knowledge.view(host), peer, fastrand::u64(..)),
            settings: watch,
            sink: Arc::clone(&self.sink),
            herald: Arc::clone(&self.herald),
            clock: self.clock,
            listed: Some(dialled.listed),
        };
        Ok((Pump::new(parts, to_client, dialled.stream), aim.stop))
    }

    async fn accept(&self, stream: TcpStream) -> Result<Stream, Failed> {
        let Some(tls) = &self.client_tls else { return Ok(Stream::Plain(stream)) };
        let late = |_| Err(io::ErrorKind::TimedOut.into());
        let accepted = timeout(HANDSHAKE, tls.accept(stream)).await.unwrap_or_else(late);
        accepted.map_err(|error| Failed::new(Failure::ClientTls, &error))
    }

    fn tell(&self, client: SocketAddr, ended: &Ended) {
        let failure = match ended {
            Ended::By(side) => return tracing::debug!(%client, ?side, "a connection ended"),
            Ended::Drained => return tracing::debug!(%client, "ended a connection between two exchanges"),
            Ended::Cut => Failure::Cut,
            Ended::Broken(side, error) => {
                tracing::debug!(%client, ?side, %error, "a connection broke");
                if *side == Side::Client { Failure::Client } else { Failure::Broker }
            }
        };
        self.herald.metrics.failed(failure);
    }
}

// === impl Failed ===

impl Failed {
    fn new(failure: Failure, error: &dyn std::fmt::Display) -> Self {
        Self { failure, error: error.to_string() }
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
            tracing::error!("a connection ended by an error of ours; its client will connect again. Please report it");
        }
    }
}

/// Has the client hear what it would hear without us: that nobody is there. An orderly end would come from a broker that is there and
/// does not want to talk; franz-go thinks then that it should speak TLS, and gives its records up.
fn refuse(client: &Stream) {
    let socket = match client {
        Stream::Plain(stream) => SockRef::from(stream),
        Stream::Tls(stream) => SockRef::from(stream.get_ref().0),
    };
    if let Err(error) = socket.set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "cannot refuse a connection");
    }
}

/// The broker that a redirected connection wanted.
fn original(stream: &TcpStream) -> Result<SocketAddr, Failed> {
    original_destination(stream).map_err(|error| Failed::new(Failure::NotRedirected, &error))
}

fn only(broker: SocketAddr) -> Candidates {
    Candidates::new([Address { host: broker.ip().to_string().into(), port: broker.port() }])
}

/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
