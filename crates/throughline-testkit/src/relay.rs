//! A wire between clients and a broker that writes down what passes over it, and changes nothing.
//!
//! For recording real conversations. Not a proxy for anything else: a thread for each direction, no limits but that of the record.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};

/// The wire. It is cut when this is dropped; connections that stand end when either side ends them.
#[derive(Debug)]
pub struct RecordingRelay {
    address: SocketAddr,
    is_cut: Arc<AtomicBool>,
    recorded: Arc<Mutex<Vec<Arc<Mutex<RecordedConversation>>>>>,
}

/// What was said on one connection, piece by piece in the order in which the pieces passed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordedConversation {
    /// Who said what.
    pub pieces: Vec<(ConversationSide, Vec<u8>)>,
}

/// A side of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConversationSide {
    /// Who connected.
    Client,
    /// Whom the relay connected to.
    Broker,
}

/// Bytes of one connection that are written down; what follows passes unrecorded.
const RECORDED: usize = 1024 * 1024;

// === impl Relay ===

impl RecordingRelay {
    /// Listens on a free port of the loopback and passes every connection on to `upstream`, which need not listen yet.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn start(upstream: SocketAddr) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
        let address = listener.local_addr()?;
        let (is_cut, recorded) = (
            Arc::<AtomicBool>::default(),
            Arc::<Mutex<Vec<_>>>::default(),
        );
        let relay = Self {
            address,
            is_cut: Arc::clone(&is_cut),
            recorded: Arc::clone(&recorded),
        };
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_cut.load(Ordering::Relaxed) {
                    break;
                }
                let conversation = Arc::<Mutex<RecordedConversation>>::default();
                // A broker that is not there is a connection that ends at once.
                if pass(client, upstream, &conversation).is_ok() {
                    lock(&recorded).push(conversation);
                }
            }
        });
        Ok(relay)
    }

    /// Where clients connect.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has been said since the last time this was asked, by connection in the order of their beginning.
    pub fn take(&self) -> Vec<RecordedConversation> {
        lock(&self.recorded)
            .iter()
            .map(|conversation| std::mem::take(&mut *lock(conversation)))
            .collect()
    }
}

impl Drop for RecordingRelay {
    fn drop(&mut self) {
        self.is_cut.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a client.
        drop(TcpStream::connect(self.address));
    }
}

fn pass(
    client: TcpStream,
    upstream: SocketAddr,
    conversation: &Arc<Mutex<RecordedConversation>>,
) -> Result<()> {
    let broker = TcpStream::connect(upstream)?;
    for stream in [&client, &broker] {
        stream.set_nodelay(true)?;
    }
    for (speaker, from, to) in [
        (
            ConversationSide::Client,
            client.try_clone()?,
            broker.try_clone()?,
        ),
        (ConversationSide::Broker, broker, client),
    ] {
        let conversation = Arc::clone(conversation);
        std::thread::spawn(move || carry(speaker, from, to, &conversation));
    }
    Ok(())
}

/// Until one side ends; an error is an end.
fn carry(
    speaker: ConversationSide,
    mut from: TcpStream,
    mut to: TcpStream,
    conversation: &Mutex<RecordedConversation>,
) {
    let mut buffer = vec![0; 64 * 1024 - 1];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let piece = buffer.get(..length).unwrap_or_default();
        lock(conversation).note(speaker, piece);
        if to.write_all(piece).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Write));
}

// === impl Conversation ===

impl RecordedConversation {
    fn note(&mut self, speaker: ConversationSide, piece: &[u8]) {
        let recorded: usize = self.pieces.iter().map(|(_, bytes)| bytes.len()).sum();
        if recorded + piece.len() <= RECORDED {
            self.pieces.push((speaker, piece.to_vec()));
        }
    }

    /// Everything that one side said.
    #[must_use]
    pub fn said(&self, speaker: ConversationSide) -> Vec<u8> {
        let own = self.pieces.iter().filter(|(own, _)| *own == speaker);
        own.flat_map(|(_, bytes)| bytes.iter().copied()).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_arrives_unchanged_and_is_written_down_in_its_order() {
        let broker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = RecordingRelay::start(broker.local_addr().unwrap()).unwrap();
        let mut client = TcpStream::connect(relay.address()).unwrap();
        let (mut accepted, _) = broker.accept().unwrap();
        let mut got = [0; 4];
        client.write_all(b"ping").unwrap();
        accepted.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ping");
        accepted.write_all(b"pong").unwrap();
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"pong");

        drop(client);
        assert_eq!(
            accepted.read(&mut got).unwrap(),
            0,
            "the end of one side reaches the other"
        );
        let pieces = vec![
            (ConversationSide::Client, b"ping".to_vec()),
            (ConversationSide::Broker, b"pong".to_vec()),
        ];
        assert_eq!(relay.take(), [RecordedConversation { pieces }]);
        assert_eq!(
            relay.take(),
            [RecordedConversation::default()],
            "it was taken"
        );
    }
}
