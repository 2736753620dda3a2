//! Dialing upstream servers: name lookup, one attempt for each address, TLS; each with a timeout.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::address::HostPort;
use crate::transport::own_connections::{OwnConnectionGuard, OwnConnections, SocketPair};
use crate::transport::stream::{self, MaybeTlsStream};
use crate::transport::tls::UpstreamTls;

/// The settings with which upstream connections are opened.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamDialer {
    pub(crate) tls: Option<UpstreamTls>,
    /// Time for one server, TLS included.
    pub(crate) connect_timeout: Duration,
    pub(crate) own_connections: OwnConnections,
}

/// Brokers of which any will do. The last one that answered is tried first.
#[derive(Debug, Clone)]
pub(crate) struct BrokerCandidates {
    brokers: Arc<[HostPort]>,
    preferred: Arc<AtomicUsize>,
}

/// A connection to a broker.
#[derive(Debug)]
pub(crate) struct DialedBroker {
    pub(crate) stream: MaybeTlsStream,
    pub(crate) broker: HostPort,
    pub(crate) own_guard: OwnConnectionGuard,
}

/// A TCP connection that has carried no bytes yet.
#[derive(Debug)]
pub(crate) struct DialedSocket {
    pub(crate) stream: TcpStream,
    pub(crate) own_guard: OwnConnectionGuard,
}

/// The failure to connect to any candidate, with the cause for each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub(crate) struct DialError(Vec<DialFailure>);

#[derive(Debug, thiserror::Error)]
#[error("{broker}: {source}")]
struct DialFailure {
    broker: HostPort,
    source: io::Error,
}

// === impl DialError ===

impl DialError {
    /// Returns the error of a dial with one candidate.
    pub(crate) fn single(broker: HostPort, source: io::Error) -> Self {
        Self(vec![DialFailure { broker, source }])
    }
}

// === impl BrokerCandidates ===

impl BrokerCandidates {
    pub(crate) fn new(brokers: impl IntoIterator<Item = HostPort>) -> Self {
        Self {
            brokers: brokers.into_iter().collect(),
            preferred: Arc::default(),
        }
    }

    /// Iterates over all candidates with their indices, the preferred one first.
    fn by_preference(&self) -> impl Iterator<Item = (usize, &HostPort)> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let all = || self.brokers.iter().enumerate();
        all().skip(preferred).chain(all().take(preferred))
    }
}

// === impl UpstreamDialer ===

impl UpstreamDialer {
    /// Connects to the first candidate that answers.
    pub(crate) async fn dial(
        &self,
        candidates: &BrokerCandidates,
    ) -> Result<DialedBroker, DialError> {
        // One after the other: most often the preferred candidate answers, and racing
        // connections would cost brokers a handshake each.
        let mut failures = Vec::new();
        for (index, broker) in candidates.by_preference() {
            match timeout(self.connect_timeout, self.connect(broker))
                .await
                .unwrap_or_else(|_| Err(timed_out(self.connect_timeout)))
            {
                Ok(dialed) => {
                    // A stale index costs another attempt and nothing else, so the order is
                    // relaxed.
                    candidates.preferred.store(index, Ordering::Relaxed);
                    return Ok(dialed);
                }
                Err(source) => failures.push(DialFailure {
                    broker: broker.clone(),
                    source,
                }),
            }
        }
        Err(DialError(failures))
    }

    async fn connect(&self, broker: &HostPort) -> io::Result<DialedBroker> {
        self.start_tls(broker, self.connect_tcp(broker).await?)
            .await
    }

    /// Starts TLS, if it is used, on a TCP connection to the broker.
    pub(crate) async fn finish(
        &self,
        broker: &HostPort,
        socket: DialedSocket,
    ) -> io::Result<DialedBroker> {
        timeout(self.connect_timeout, self.start_tls(broker, socket))
            .await
            .unwrap_or_else(|_| Err(timed_out(self.connect_timeout)))
    }

    async fn start_tls(&self, broker: &HostPort, socket: DialedSocket) -> io::Result<DialedBroker> {
        let DialedSocket { stream, own_guard } = socket;
        let stream = match &self.tls {
            None => MaybeTlsStream::Plain(stream),
            Some(tls) => tls.connect(&broker.host, stream).await?,
        };
        Ok(DialedBroker {
            stream,
            broker: broker.clone(),
            own_guard,
        })
    }

    /// Tries all addresses of the host. The error is that of the last address.
    pub(crate) async fn connect_tcp(&self, server: &HostPort) -> io::Result<DialedSocket> {
        // Looked up for each connection: brokers in Kubernetes change their addresses.
        let addresses = lookup_host((&*server.host, server.port)).await?;
        self.connect_any(addresses.collect()).await
    }

    async fn connect_any(&self, addresses: Vec<SocketAddr>) -> io::Result<DialedSocket> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        // Each address gets its share of the time, so that a silent one leaves some to the next.
        let share =
            self.connect_timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        for address in addresses {
            match timeout(share, self.connect_address(address))
                .await
                .unwrap_or_else(|_| Err(timed_out(share)))
            {
                Ok(connected) => return Ok(connected),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(crate) async fn connect_address(&self, address: SocketAddr) -> io::Result<DialedSocket> {
        let stream = TcpStream::connect(address).await?;
        let pair = SocketPair::new(stream.local_addr()?, address);
        // A loop whose listener accepts before this line is found one round later.
        let own_guard = self.own_connections.register(pair);
        stream::configure(&stream);
        Ok(DialedSocket { stream, own_guard })
    }
}

fn timed_out(limit: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no answer within {limit:?}"),
    )
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};
    use tokio::net::TcpListener;

    use super::*;

    /// Returns an address whose backlog is full, so that further connects hang.
    async fn silent_address() -> (SocketAddr, impl Sized) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut held = Vec::new();
        while let Ok(stream) =
            timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        {
            held.push(stream.unwrap());
        }
        (address, (socket, held))
    }

    #[tokio::test]
    async fn silent_address_leaves_time_for_the_next() {
        let (silent, _held) = silent_address().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let dialer = UpstreamDialer {
            tls: None,
            connect_timeout: Duration::from_secs(3),
            own_connections: OwnConnections::default(),
        };
        let connected = timeout(
            dialer.connect_timeout,
            dialer.connect_any(vec![silent, good]),
        )
        .await
        .unwrap()
        .unwrap();
        assert_eq!(connected.stream.peer_addr().unwrap(), good);
    }
}
