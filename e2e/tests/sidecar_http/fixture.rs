//! A sidecar process, with the operations that the tests need.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::sidecar::SidecarInstance;
use throughline_testkit::wait;

/// A sidecar in front of a service.
pub(crate) struct SidecarFixture(SidecarInstance);

pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const MIB: usize = 1024 * 1024;

/// Returns whether the full test run is requested.
pub(crate) fn full() -> bool {
    std::env::var_os("THROUGHLINE_FULL").is_some_and(|full| full == "1")
}

// === impl SidecarFixture ===

impl SidecarFixture {
    pub(crate) fn start(service: SocketAddr, args: &[&str]) -> Self {
        Self(
            SidecarInstance::start_http(throughline(), service, closed_port(), "service", args)
                .unwrap(),
        )
    }

    /// Returns the inbound address of the service.
    pub(crate) fn inbound(&self) -> SocketAddr {
        self.0.http()[0]
    }

    /// Returns the outbound proxy address of the service.
    pub(crate) fn outbound(&self) -> SocketAddr {
        self.0.http()[1]
    }

    /// Sends bytes and returns everything received until the close.
    pub(crate) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The sidecar may close a rejected connection before it has read everything.
        drop(stream.write_all(bytes));
        read_to_end(&mut stream)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.inbound()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// Checks that a request through the sidecar succeeds.
    #[track_caller]
    pub(crate) fn assert_works(&self) {
        let answer = self.raw(b"GET /works HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    /// Checks that the sidecar runs and has not panicked.
    #[track_caller]
    pub(crate) fn assert_no_panic(&self) {
        let log = self.0.process().log().join("\n");
        assert!(!log.contains("panicked"), "{log}");
        assert_eq!(
            self.0.process().status(),
            None,
            "the sidecar has ended:\n{log}"
        );
    }

    /// Returns a counter or gauge, by name and labels as in `/metrics`, without
    /// `throughline_http_`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.0.get("/metrics").unwrap().body;
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("throughline_http_")?.rsplit_once(' '));
        let all: BTreeMap<&str, f64> = lines
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect();
        *all.get(name)
            .unwrap_or_else(|| panic!("no {name} in {all:#?}"))
    }

    pub(crate) fn wait_for_metric(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        let found = wait::until(TIMEOUT, || {
            Some(self.metric(name)).filter(|value| wanted(*value))
        });
        assert!(found.is_some(), "{name} stays at {}", self.metric(name));
    }

    /// Returns the number of open files, connections included.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.0.process().id()))
            .unwrap()
            .count()
    }

    /// Returns the resident memory in bytes.
    pub(crate) fn resident(&self) -> usize {
        self.memory("VmRSS:")
    }

    /// Returns the peak resident memory in bytes.
    pub(crate) fn peak(&self) -> usize {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> usize {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.0.process().id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.split_whitespace()
            .next()
            .unwrap()
            .parse::<usize>()
            .unwrap()
            * 1024
    }
}

/// Reads everything until the peer closes or resets the connection.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_ne!(
            error.kind(),
            std::io::ErrorKind::WouldBlock,
            "connection still open after {:?}",
            String::from_utf8_lossy(&answer)
        );
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn throughline() -> &'static Path {
    &ProjectBinaries::build().unwrap().throughline
}

/// Returns an address without a collector: the listener is dropped at once.
fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}
