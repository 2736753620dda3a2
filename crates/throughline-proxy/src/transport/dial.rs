//! Dialing upstream servers: name lookup, staggered attempts for the addresses, TLS.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::address::HostPort;
use crate::transport::own_connections::{OwnConnectionGuard, OwnConnections};
use crate::transport::own_listeners::OwnListeners;
use crate::transport::stream::{self, MaybeTlsStream};
use crate::transport::tls::UpstreamTls;

/// Time between the attempts to connect to the addresses of a host (RFC 8305, section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Maximum number of addresses of a host that are tried.
const MAX_ADDRESSES: usize = 16;

/// Maximum number of slow addresses that are remembered, and for how long.
const MAX_SLOW_ADDRESSES: usize = 64;
const SLOW_MEMORY: Duration = Duration::from_secs(60);

/// The settings with which upstream connections are opened.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamDialer {
    pub(crate) tls: Option<UpstreamTls>,
    /// Time for one server, TLS included.
    pub(crate) connect_timeout: Duration,
    pub(crate) own_connections: OwnConnections,
    pub(crate) slow_addresses: SlowAddresses,
    /// Addresses that are never dialed.
    pub(crate) own_listeners: OwnListeners,
}

/// Addresses that did not answer within [`ATTEMPT_DELAY`] lately; they are tried last.
#[derive(Debug, Clone, Default)]
pub(crate) struct SlowAddresses(Arc<Mutex<VecDeque<(SocketAddr, Instant)>>>);

/// An attempt to connect, whose address counts as slow if it is given up after a while.
struct SlowAttempt<'a> {
    slow_addresses: &'a SlowAddresses,
    address: SocketAddr,
    begun_at: Instant,
    has_finished: bool,
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

/// An address of the proxy itself where that of an upstream is expected.
#[derive(Debug, thiserror::Error)]
#[error("{0} is an address that this proxy listens on")]
struct OwnAddressError(SocketAddr);

// === impl DialError ===

impl DialError {
    /// Returns the error of a dial with one candidate.
    pub(crate) fn single(broker: HostPort, source: io::Error) -> Self {
        Self(vec![DialFailure { broker, source }])
    }

    /// Returns whether a candidate was the proxy itself.
    pub(crate) fn is_loop(&self) -> bool {
        let sources = self.0.iter().filter_map(|failure| failure.source.get_ref());
        sources
            .into_iter()
            .any(|source| source.is::<OwnAddressError>())
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

    /// Tries all addresses of the host. The error is that of the last attempt. The caller limits
    /// the time.
    pub(crate) async fn connect_tcp(&self, server: &HostPort) -> io::Result<DialedSocket> {
        // Looked up for each connection: brokers in Kubernetes change their addresses.
        let addresses = lookup_host((&*server.host, server.port)).await?;
        self.connect_any(addresses.collect()).await
    }

    /// Connects to the first address that answers. The attempts are staggered (RFC 8305, section
    /// 5), so that an address that is silent costs little.
    async fn connect_any(&self, addresses: Vec<SocketAddr>) -> io::Result<DialedSocket> {
        if let [address] = addresses[..] {
            return self.connect_address(address).await;
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        let mut addresses = self.slow_addresses.sort(alternate_families(addresses));
        let mut attempts = JoinSet::new();
        loop {
            if let Some(address) = addresses.pop_front() {
                let dialer = self.clone();
                attempts.spawn(async move {
                    let slow = SlowAttempt::new(&dialer.slow_addresses, address);
                    let connected = dialer.connect_address(address).await;
                    slow.finish();
                    connected
                });
            }
            // The other attempts are aborted with the set.
            tokio::select! {
                Some(attempt) = attempts.join_next() => match attempt {
                    Ok(Ok(connected)) => return Ok(connected),
                    Ok(Err(error)) => last = error,
                    Err(_) => {}
                },
                () = sleep(ATTEMPT_DELAY), if !addresses.is_empty() => {}
                else => return Err(last),
            }
        }
    }

    pub(crate) async fn connect_address(&self, address: SocketAddr) -> io::Result<DialedSocket> {
        if self.own_listeners.contains(address) {
            return Err(io::Error::other(OwnAddressError(address)));
        }
        let (stream, own_guard) = self.own_connections.connect(address)?;
        let stream = TcpStream::from_std(stream)?;
        // The socket is writable once the handshake has succeeded or failed (connect(2)).
        stream.writable().await?;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        stream::configure(&stream);
        Ok(DialedSocket { stream, own_guard })
    }
}

// === impl SlowAddresses ===

impl SlowAddresses {
    /// Returns addresses in their order, with the slow ones at the end.
    fn sort(&self, addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
        let mut slow = self.lock();
        slow.retain(|(_, since)| since.elapsed() < SLOW_MEMORY);
        let is_slow = |address: &SocketAddr| slow.iter().any(|(known, _)| known == address);
        let (last, first): (Vec<_>, Vec<_>) = addresses.into_iter().partition(is_slow);
        first.into_iter().chain(last).collect()
    }

    fn record(&self, address: SocketAddr) {
        let mut slow = self.lock();
        slow.retain(|(known, _)| *known != address);
        slow.push_back((address, Instant::now()));
        if slow.len() > MAX_SLOW_ADDRESSES {
            slow.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(SocketAddr, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl SlowAttempt ===

impl<'a> SlowAttempt<'a> {
    fn new(slow_addresses: &'a SlowAddresses, address: SocketAddr) -> Self {
        Self {
            slow_addresses,
            address,
            begun_at: Instant::now(),
            has_finished: false,
        }
    }

    fn finish(mut self) {
        self.has_finished = true;
    }
}

impl Drop for SlowAttempt<'_> {
    fn drop(&mut self) {
        if !self.has_finished && self.begun_at.elapsed() >= ATTEMPT_DELAY {
            self.slow_addresses.record(self.address);
        }
    }
}

/// Alternates between IPv6 and IPv4, beginning with the family of the first address (RFC 8305,
/// section 4).
fn alternate_families(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_first_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .take(MAX_ADDRESSES)
        .partition(|address| address.is_ipv6() == is_first_ipv6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut alternating = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return alternating;
        }
        alternating.extend(pair.into_iter().flatten());
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

    fn dialer() -> UpstreamDialer {
        UpstreamDialer {
            tls: None,
            connect_timeout: Duration::from_secs(3),
            own_connections: OwnConnections::default(),
            slow_addresses: SlowAddresses::default(),
            own_listeners: OwnListeners::default(),
        }
    }

    #[tokio::test]
    async fn silent_first_address_costs_one_delay_and_the_next_time_nothing() {
        let (silent, _held) = silent_address().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let dialer = dialer();
        for limit in [Duration::from_secs(2), ATTEMPT_DELAY] {
            let connected = timeout(limit, dialer.connect_any(vec![silent, good]))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(connected.stream.peer_addr().unwrap(), good);
            // The task of the other attempt ends after it has been aborted.
            while limit > ATTEMPT_DELAY && dialer.slow_addresses.lock().is_empty() {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn refused_addresses_are_passed_at_once_and_the_last_error_is_reported() {
        let closed = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let connected = timeout(
            ATTEMPT_DELAY * 2,
            dialer().connect_any(vec![closed, closed, closed, good]),
        )
        .await
        .unwrap();
        assert_eq!(connected.unwrap().stream.peer_addr().unwrap(), good);
        let error = dialer()
            .connect_any(vec![closed, closed])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let error = dialer().connect_any(Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn families_alternate() {
        let [a, b, c, d] = ["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1"]
            .map(|text| text.parse::<SocketAddr>().unwrap());
        assert_eq!(alternate_families(vec![a, b, c, d]), [a, d, b, c]);
        assert_eq!(alternate_families(vec![d, a]), [d, a]);
        assert_eq!(alternate_families(Vec::new()), []);
    }

    #[tokio::test]
    async fn own_listener_is_not_dialed() {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let own = listener.local_addr().unwrap();
        let dialer = dialer();
        dialer.own_listeners.add(own);
        let broker = format!("127.0.0.1:{}", own.port()).parse().unwrap();
        let error = dialer
            .dial(&BrokerCandidates::new([broker]))
            .await
            .unwrap_err();
        assert!(error.is_loop(), "{error}");
    }

    #[tokio::test]
    async fn refused_connection_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = listener.local_addr().unwrap();
        drop(listener);
        let dialer = dialer();
        let error = dialer.connect_address(closed).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
