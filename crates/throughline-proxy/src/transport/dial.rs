//! Connecting to a broker: its names looked up, its addresses tried in turn, TLS begun; each with a deadline.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::address::Address;
use crate::transport::own_connections::{Ends, Listed, Outgoing};
use crate::transport::stream::{self, Stream};
use crate::transport::tls::Connector;

/// What connecting takes, for all brokers.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    pub(crate) tls: Option<Connector>,
    pub(crate) deadline: Duration,
    pub(crate) outgoing: Outgoing,
}

/// The brokers that will do, of which the last that answered is tried first.
#[derive(Debug, Clone)]
pub(crate) struct Candidates {
    brokers: Arc<[Address]>,
    first: Arc<AtomicUsize>,
}

/// A connection to a broker.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) stream: Stream,
    pub(crate) broker: Address,
    pub(crate) listed: Listed,
}

/// A connection on which nothing has been said.
#[derive(Debug)]
pub(crate) struct Tcp {
    pub(crate) stream: TcpStream,
    pub(crate) listed: Listed,
}

/// None of the brokers could be connected to: what became of each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub(crate) struct DialError(Vec<Refusal>);

#[derive(Debug, thiserror::Error)]
#[error("{broker}: {source}")]
struct Refusal {
    broker: Address,
    source: io::Error,
}

// === impl DialError ===

impl DialError {
    /// The only one there was.
    pub(crate) fn of(broker: Address, source: io::Error) -> Self {
        Self(vec![Refusal { broker, source }])
    }
}

// === impl Candidates ===

impl Candidates {
    pub(crate) fn new(brokers: impl IntoIterator<Item = Address>) -> Self {
        Self {
            brokers: brokers.into_iter().collect(),
            first: Arc::default(),
        }
    }

    /// All of them, the one to begin with first, with their places.
    fn in_turn(&self) -> impl Iterator<Item = (usize, &Address)> {
        let first = self.first.load(Ordering::Relaxed);
        let all = || self.brokers.iter().enumerate();
        all().skip(first).chain(all().take(first))
    }
}

// === impl Dialer ===

impl Dialer {
    /// Connects to the first of the candidates that answers.
    pub(crate) async fn dial(&self, candidates: &Candidates) -> Result<Dialled, DialError> {
        let mut refusals = Vec::new();
        for (place, broker) in candidates.in_turn() {
            match timeout(self.deadline, self.connect(broker))
                .await
                .unwrap_or_else(|_| Err(late(self.deadline)))
            {
                Ok((stream, listed)) => {
                    candidates.first.store(place, Ordering::Relaxed);
                    return Ok(Dialled {
                        stream,
                        broker: broker.clone(),
                        listed,
                    });
                }
                Err(source) => refusals.push(Refusal {
                    broker: broker.clone(),
                    source,
                }),
            }
        }
        Err(DialError(refusals))
    }

    async fn connect(&self, broker: &Address) -> io::Result<(Stream, Listed)> {
        self.speak(broker, self.connect_tcp(broker).await?).await
    }

    /// Goes on where a connection to the broker stands already.
    pub(crate) async fn take(&self, broker: Address, tcp: Tcp) -> io::Result<Dialled> {
        let late = |_| Err(late(self.deadline));
        let (stream, listed) = timeout(self.deadline, self.speak(&broker, tcp))
            .await
            .unwrap_or_else(late)?;
        Ok(Dialled {
            stream,
            broker,
            listed,
        })
    }

    async fn speak(&self, broker: &Address, tcp: Tcp) -> io::Result<(Stream, Listed)> {
        let Tcp { stream, listed } = tcp;
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => tls.connect(&broker.host, stream).await?,
        };
        Ok((stream, listed))
    }

    /// Tries all addresses of the host; the error is that of the last.
    pub(crate) async fn connect_tcp(&self, broker: &Address) -> io::Result<Tcp> {
        self.connect_any(lookup_host((&*broker.host, broker.port)).await?.collect())
            .await
    }

    /// Each has its part of the time: one that never answers leaves some to the next.
    async fn connect_any(&self, addresses: Vec<SocketAddr>) -> io::Result<Tcp> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        let part = self.deadline / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        for address in addresses {
            match timeout(part, self.connect_address(address))
                .await
                .unwrap_or_else(|_| Err(late(part)))
            {
                Ok(connected) => return Ok(connected),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(crate) async fn connect_address(&self, address: SocketAddr) -> io::Result<Tcp> {
        let stream = TcpStream::connect(address).await?;
        let listed = self.outgoing.list(Ends::new(stream.local_addr()?, address));
        stream::tune(&stream);
        Ok(Tcp { stream, listed })
    }
}

fn late(deadline: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no answer within {deadline:?}"),
    )
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};
    use tokio::net::TcpListener;

    use super::*;

    /// A port whose backlog is full: the system lets nobody else begin.
    async fn silent() -> (SocketAddr, impl Sized) {
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
    async fn an_address_that_never_answers_leaves_time_for_the_next() {
        let (silent, _held) = silent().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let dialer = Dialer {
            tls: None,
            deadline: Duration::from_secs(3),
            outgoing: Outgoing::default(),
        };
        let connected = timeout(dialer.deadline, dialer.connect_any(vec![silent, good]))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(connected.stream.peer_addr().unwrap(), good);
    }
}
