//! An Envoy with the module between hand-made clients and a hand-made broker.

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use throughline_testkit::build::envoy_module;
use throughline_testkit::envoy::{EnvoyBootstrap, EnvoyInstance};
use throughline_testkit::process::ProcessSpec;

use crate::wire::{self, RawConnection};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const MIB: usize = 1 << 20;

/// An API that the module does not know: its frames pass as they came.
pub(crate) const UNKNOWN_API: i16 = 999;
/// Produce, whose frames are held until they are whole.
pub(crate) const PRODUCE: i16 = 0;

/// A broker that answers each frame with its own body.
pub(crate) struct EchoBroker {
    pub(crate) address: SocketAddr,
    shared: Arc<EchoState>,
}

#[derive(Default)]
struct EchoState {
    received: AtomicUsize,
    /// Connections wait while it is set.
    is_stalled: Mutex<bool>,
    resumed: Condvar,
    /// Connections whose answers are withheld while frames are read.
    is_silent: Mutex<bool>,
}

/// An Envoy in front of an [`EchoBroker`].
pub(crate) struct FaultFixture {
    pub(crate) envoy: EnvoyInstance,
    pub(crate) bootstrap: EnvoyBootstrap,
    /// Listener with the module.
    pub(crate) kafka: String,
    pub(crate) broker: EchoBroker,
}

// === impl EchoBroker ===

impl EchoBroker {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(EchoState::default());
        let own = Arc::clone(&shared);
        // The threads end with the test program; thousands of them need small stacks.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = Arc::clone(&own);
                let thread = thread::Builder::new().stack_size(64 << 10);
                thread.spawn(move || own.serve(stream)).unwrap();
            }
        });
        Self { address, shared }
    }

    /// Returns the number of bytes that have been read from clients.
    pub(crate) fn received(&self) -> usize {
        self.shared.received.load(Ordering::SeqCst)
    }

    /// Stops reading, or resumes it.
    pub(crate) fn stall(&self, is_stalled: bool) {
        *self.shared.is_stalled.lock().unwrap() = is_stalled;
        self.shared.resumed.notify_all();
    }

    /// Stops answering, while frames are still read.
    pub(crate) fn silence(&self) {
        *self.shared.is_silent.lock().unwrap() = true;
    }
}

// === impl EchoState ===

impl EchoState {
    /// Answers until the client ends or resets the connection.
    fn serve(&self, mut stream: TcpStream) {
        let mut pending = Vec::new();
        while self.serve_frame(&mut stream, &mut pending).is_some() {}
    }

    /// Answers one frame; none at the end of the connection. Bytes behind the frame stay pending.
    fn serve_frame(&self, stream: &mut TcpStream, pending: &mut Vec<u8>) -> Option<()> {
        let stalled = self.is_stalled.lock().unwrap();
        drop(self.resumed.wait_while(stalled, |it| *it).unwrap());
        while pending.len() < 4 {
            self.read_more(stream, pending)?;
        }
        let length = usize::try_from(u32::from_be_bytes(pending[..4].try_into().unwrap())).unwrap();
        while pending.len() < 4 + length {
            self.read_more(stream, pending)?;
        }
        let frame: Vec<u8> = pending.drain(..4 + length).collect();
        if *self.is_silent.lock().unwrap() {
            return Some(());
        }
        // A response is the correlation id and the body; a request has API, version and an empty
        // client id besides.
        let mut answer = u32::try_from(length - 6).unwrap().to_be_bytes().to_vec();
        answer.extend(&frame[8..12]);
        answer.extend(&frame[14..]);
        stream.write_all(&answer).ok()
    }

    fn read_more(&self, stream: &mut TcpStream, pending: &mut Vec<u8>) -> Option<()> {
        let mut buffer = vec![0; 32 << 10];
        let Ok(read @ 1..) = stream.read(&mut buffer) else {
            return None;
        };
        self.received.fetch_add(read, Ordering::SeqCst);
        pending.extend(&buffer[..read]);
        Some(())
    }
}

// === impl FaultFixture ===

impl FaultFixture {
    pub(crate) fn start(keys: &Value) -> Self {
        Self::start_with(&|spec| spec, keys, |_| {})
    }

    /// Starts an Envoy with further listeners, whose process is changed by `wrap`.
    pub(crate) fn start_with(
        wrap: &dyn Fn(ProcessSpec) -> ProcessSpec,
        keys: &Value,
        extend: impl FnOnce(&mut EnvoyBootstrap),
    ) -> Self {
        let broker = EchoBroker::start();
        // Nothing listens there: spans are lost, which must not matter.
        let collector = SocketAddr::from(([127, 0, 0, 1], 9));
        let mut bootstrap = EnvoyBootstrap::new("faults", collector, keys);
        let kafka = bootstrap.kafka(&broker.address.to_string()).unwrap();
        extend(&mut bootstrap);
        let module = envoy_module().unwrap();
        let envoy = EnvoyInstance::start_with(wrap, "faults", &module, &bootstrap).unwrap();
        Self {
            envoy,
            bootstrap,
            kafka: kafka.to_string(),
            broker,
        }
    }

    /// Returns a counter or gauge of the module; 0 if it has not been used.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let stats = self.envoy.stats().unwrap();
        stats.get(name).copied().unwrap_or_default()
    }

    /// Asserts that frames pass both ways unchanged, on a connection of their own.
    pub(crate) fn assert_passes(&self, api: i16, body: &[u8]) {
        let mut connection = RawConnection::connect(&self.kafka);
        for correlation in 1..=3 {
            exchange(&mut connection, api, correlation, body);
        }
    }

    /// Returns the resident memory of Envoy in bytes.
    pub(crate) fn resident(&self) -> usize {
        let id = self.envoy.process().id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().split_whitespace().next().unwrap();
        kib.parse::<usize>().unwrap() * 1024
    }

    /// Asserts that Envoy runs, that no hook has panicked, and that it ends as it should.
    pub(crate) fn stop(self) {
        assert_eq!(self.stat("panics"), 0);
        self.stop_after_panics();
    }

    /// Asserts that Envoy runs and ends as it should.
    pub(crate) fn stop_after_panics(self) {
        let crash = self.envoy.process().crashed();
        assert!(crash.is_none(), "{crash:?}");
        self.envoy.stop().unwrap();
    }
}

/// Sends a frame and asserts that it comes back.
pub(crate) fn exchange(connection: &mut RawConnection, api: i16, correlation: i32, body: &[u8]) {
    connection.send(&wire::request(api, 7, correlation, body));
    assert_echo(connection, correlation, body);
}

pub(crate) fn assert_echo(connection: &mut RawConnection, correlation: i32, body: &[u8]) {
    let answer = connection.receive();
    assert_eq!(answer[..4], correlation.to_be_bytes());
    assert!(
        answer[4..] == *body,
        "a body of {} bytes changed",
        body.len()
    );
}

/// Returns a body that differs from place to place.
pub(crate) fn body(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(length.try_into().unwrap());
    (0..length).map(|_| random.u8(..)).collect()
}

/// Returns keys of the module without anything special.
pub(crate) fn no_keys() -> Value {
    json!({})
}
