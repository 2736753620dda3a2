//! Hand-made Kafka traffic that no client sends: partial frames, garbage, unread responses; and a
//! relay that cuts connections.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A raw TCP connection without a client library.
pub(crate) struct RawConnection(TcpStream);

/// A relay to a broker that can cut connections in the middle of a response.
pub(crate) struct CuttableRelay {
    address: SocketAddr,
    shared: Arc<RelayState>,
}

struct RelayState {
    /// Bytes that brokers may still send before all connections are cut; `usize::MAX` for no limit.
    left: AtomicUsize,
    cuts: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

const READ_TIMEOUT: Duration = Duration::from_secs(30);

// === impl RawConnection ===

impl RawConnection {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(READ_TIMEOUT)).unwrap();
        Self(stream)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Sends bytes; returns false if the peer has closed the connection.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Receives the next frame, without its length.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        self.0.read_exact(&mut frame).unwrap();
        frame
    }

    /// Waits until the peer has closed or reset the connection.
    pub(crate) fn wait_for_close(&mut self) {
        let mut rest = [0; 4096];
        while matches!(self.0.read(&mut rest), Ok(1..)) {}
    }

    /// Waits until bytes can be read, and leaves them unread.
    pub(crate) fn wait_for_bytes(&self) {
        assert_eq!(self.0.peek(&mut [0]).unwrap(), 1);
    }

    /// Ends the own side of the connection; answers can still be received.
    pub(crate) fn finish(&self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes the connection so that pending data is discarded.
    pub(crate) fn abort(self) {
        // Unread data makes the kernel send RST instead of FIN.
        self.0.shutdown(Shutdown::Both).unwrap_or_default();
    }
}

/// Frames a request: header version 1, no client id.
pub(crate) fn request(api: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(i32::try_from(10 + body.len()).unwrap().to_be_bytes());
    frame.extend(api.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(correlation.to_be_bytes());
    frame.extend((-1_i16).to_be_bytes());
    frame.extend(body);
    frame
}

/// Builds `FetchRequest` version 4 of partition 0 from offset 0, at most `max_bytes`.
pub(crate) fn fetch(topic: &str, max_bytes: i32) -> Vec<u8> {
    let mut body = Vec::new();
    // replica_id, max_wait_ms, min_bytes, max_bytes
    for number in [-1_i32, 1000, 1, max_bytes] {
        body.extend(number.to_be_bytes());
    }
    // isolation_level
    body.push(0);
    body.extend(1_i32.to_be_bytes());
    body.extend(i16::try_from(topic.len()).unwrap().to_be_bytes());
    body.extend(topic.as_bytes());
    // one partition, index, fetch_offset, partition_max_bytes
    body.extend(1_i32.to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    body.extend(0_i64.to_be_bytes());
    body.extend(max_bytes.to_be_bytes());
    request(1, 4, 7, &body)
}

/// Builds `ProduceRequest` version 7 of one record for partition 0, acknowledged by all replicas.
pub(crate) fn produce(topic: &str, value: &[u8]) -> Vec<u8> {
    let mut record = vec![0, 0, 0, 1];
    put_varint(&mut record, value.len());
    record.extend(value);
    record.push(0);
    // Attributes, last offset, two timestamps, producer id, epoch and sequence, number of records.
    let mut batch = vec![0; 6];
    batch.extend([[0; 8]; 2].concat());
    batch.extend([0xff; 14]);
    batch.extend(1_i32.to_be_bytes());
    put_varint(&mut batch, record.len());
    batch.extend(record);
    // Base offset, length, leader epoch, magic, checksum.
    let mut records = vec![0; 8];
    records.extend(i32::try_from(batch.len() + 9).unwrap().to_be_bytes());
    records.extend((-1_i32).to_be_bytes());
    records.push(2);
    records.extend(crc_fast::crc32_iscsi(&batch).to_be_bytes());
    records.extend(batch);
    // No transactional id, acks, timeout, one topic.
    let mut body = [(-1_i16).to_be_bytes(), (-1_i16).to_be_bytes()].concat();
    body.extend([1000_i32.to_be_bytes(), 1_i32.to_be_bytes()].concat());
    body.extend(i16::try_from(topic.len()).unwrap().to_be_bytes());
    body.extend(topic.as_bytes());
    body.extend([1_i32.to_be_bytes(), 0_i32.to_be_bytes()].concat());
    body.extend(i32::try_from(records.len()).unwrap().to_be_bytes());
    body.extend(records);
    request(0, 7, 1, &body)
}

/// Writes a length as a zigzag varint.
fn put_varint(out: &mut Vec<u8>, length: usize) {
    let mut rest = length << 1;
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap());
}

// === impl CuttableRelay ===

impl CuttableRelay {
    /// Relays connections of `listener` to the port `to`.
    pub(crate) fn start(listener: TcpListener, to: u16) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(RelayState {
            left: AtomicUsize::new(usize::MAX),
            cuts: AtomicUsize::new(0),
            open: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        // The thread ends with the test program.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // The broker may be down; the client then connects again.
                let Ok(broker) = TcpStream::connect(("127.0.0.1", to)) else {
                    continue;
                };
                own.join(&client, &broker);
            }
        });
        Self { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection after `bytes` more bytes from the brokers, anywhere in a frame.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.shared.left.store(bytes, Ordering::SeqCst);
    }

    /// Returns the number of cuts so far.
    pub(crate) fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

// === impl RelayState ===

impl RelayState {
    fn join(self: &Arc<Self>, client: &TcpStream, broker: &TcpStream) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.extend([client.try_clone().unwrap(), broker.try_clone().unwrap()]);
        drop(open);
        let (from, to) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
        thread::spawn(move || copy_until(from, to, |_| usize::MAX));
        let (from, to, shared) = (
            broker.try_clone().unwrap(),
            client.try_clone().unwrap(),
            Arc::clone(self),
        );
        thread::spawn(move || copy_until(from, to, |bytes| shared.allow(bytes)));
    }

    /// Returns how many of these bytes may pass; a smaller number means a cut.
    fn allow(&self, bytes: usize) -> usize {
        let before = self.left.load(Ordering::SeqCst);
        if before == usize::MAX {
            return bytes;
        }
        let allowed = bytes.min(before);
        self.left.store(before - allowed, Ordering::SeqCst);
        if allowed < bytes {
            self.left.store(usize::MAX, Ordering::SeqCst);
            self.cuts.fetch_add(1, Ordering::SeqCst);
            for stream in self
                .open
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .drain(..)
            {
                stream.shutdown(Shutdown::Both).unwrap_or_default();
            }
        }
        allowed
    }
}

fn copy_until(mut from: TcpStream, mut to: TcpStream, allow: impl Fn(usize) -> usize) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let allowed = allow(read).min(read);
        let sent = buffer.get(..allowed).map(|bytes| to.write_all(bytes));
        if !matches!(sent, Some(Ok(()))) || allowed < read {
            break;
        }
    }
    to.shutdown(Shutdown::Both).unwrap_or_default();
    from.shutdown(Shutdown::Both).unwrap_or_default();
}
