//! A TCP relay between clients and a broker that records the bytes and changes nothing.
//!
//! Used to record real conversations. One thread per direction; the only limit is that of the
//! recording.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};

/// A running relay. Drop stops accepting; open connections last until either side closes them.
#[derive(Debug)]
pub struct RecordingRelay {
    address: SocketAddr,
    is_stopped: Arc<AtomicBool>,
    recorded: Arc<Mutex<Vec<Arc<Mutex<RecordedConversation>>>>>,
}

/// The bytes of one connection, in the order in which they passed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordedConversation {
    /// Sender and bytes of each piece.
    pub pieces: Vec<(ConversationSide, Vec<u8>)>,
}

/// One side of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConversationSide {
    /// The side that connected.
    Client,
    /// The side that the relay connected to.
    Broker,
}

/// Bytes recorded per connection; later bytes pass unrecorded.
const MAX_RECORDED_BYTES: usize = 1024 * 1024;

// === impl RecordingRelay ===

impl RecordingRelay {
    /// Listens on a free port of the loopback and forwards every connection to `upstream`, which
    /// may start later.
    ///
    /// # Errors
    /// Fails if no port is free.
    pub fn start(upstream: SocketAddr) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binding a free port")?;
        let address = listener.local_addr()?;
        let (is_stopped, recorded) = (
            Arc::<AtomicBool>::default(),
            Arc::<Mutex<Vec<_>>>::default(),
        );
        let relay = Self {
            address,
            is_stopped: Arc::clone(&is_stopped),
            recorded: Arc::clone(&recorded),
        };
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_stopped.load(Ordering::Relaxed) {
                    break;
                }
                let conversation = Arc::<Mutex<RecordedConversation>>::default();
                // A failed connect drops `client`, which closes its connection.
                if relay_connection(client, upstream, &conversation).is_ok() {
                    lock(&recorded).push(conversation);
                }
            }
        });
        Ok(relay)
    }

    /// Returns the address for clients.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the bytes since the last call, one conversation per connection in accept order.
    pub fn take(&self) -> Vec<RecordedConversation> {
        lock(&self.recorded)
            .iter()
            .map(|conversation| std::mem::take(&mut *lock(conversation)))
            .collect()
    }
}

impl Drop for RecordingRelay {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        // `accept` has no timeout: a connection wakes the thread so that it sees the flag.
        drop(TcpStream::connect(self.address));
    }
}

fn relay_connection(
    client: TcpStream,
    upstream: SocketAddr,
    conversation: &Arc<Mutex<RecordedConversation>>,
) -> Result<()> {
    let broker = TcpStream::connect(upstream)?;
    for stream in [&client, &broker] {
        // The relay must not merge or delay small requests.
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
        std::thread::spawn(move || copy_and_record(speaker, from, to, &conversation));
    }
    Ok(())
}

/// Copies bytes until either side closes; an error counts as a close.
fn copy_and_record(
    speaker: ConversationSide,
    mut from: TcpStream,
    mut to: TcpStream,
    conversation: &Mutex<RecordedConversation>,
) {
    let mut buffer = vec![0; 64 * 1024 - 1];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let piece = buffer.get(..length).unwrap_or_default();
        lock(conversation).push(speaker, piece);
        if to.write_all(piece).is_err() {
            break;
        }
    }
    // A half-close is forwarded as such: the other direction may still carry data.
    drop(to.shutdown(Shutdown::Write));
}

// === impl RecordedConversation ===

impl RecordedConversation {
    fn push(&mut self, speaker: ConversationSide, piece: &[u8]) {
        let recorded: usize = self.pieces.iter().map(|(_, bytes)| bytes.len()).sum();
        if recorded + piece.len() <= MAX_RECORDED_BYTES {
            self.pieces.push((speaker, piece.to_vec()));
        }
    }

    /// Returns all bytes sent by one side.
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
    fn bytes_pass_unchanged_and_are_recorded_in_order() {
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
        assert_eq!(accepted.read(&mut got).unwrap(), 0, "a close is forwarded");
        let pieces = vec![
            (ConversationSide::Client, b"ping".to_vec()),
            (ConversationSide::Broker, b"pong".to_vec()),
        ];
        assert_eq!(relay.take(), [RecordedConversation { pieces }]);
        assert_eq!(
            relay.take(),
            [RecordedConversation::default()],
            "the first call took the bytes"
        );
    }
}
