//! A sidecar as a process, with what tests ask of it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::sidecar::SidecarInstance;
use throughline_testkit::wait;

/// In front of a service.
pub(crate) struct SidecarFixture(SidecarInstance);

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const MIB: usize = 1024 * 1024;

/// Whether the long proofs are asked for.
pub(crate) fn full() -> bool {
    std::env::var_os("THROUGHLINE_FULL").is_some_and(|full| full == "1")
}

// === impl Side ===

impl SidecarFixture {
    pub(crate) fn start(service: SocketAddr, args: &[&str]) -> Self {
        Self(
            SidecarInstance::start_http(throughline(), service, nobody(), "service", args).unwrap(),
        )
    }

    /// Where the service is asked.
    pub(crate) fn inbound(&self) -> SocketAddr {
        self.0.http()[0]
    }

    /// The proxy of the service.
    pub(crate) fn outbound(&self) -> SocketAddr {
        self.0.http()[1]
    }

    /// Sends bytes and has all that comes until the end.
    pub(crate) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // Who is refused may not be read to the end.
        drop(stream.write_all(bytes));
        read_to_end(&mut stream)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.inbound()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The service answers through it.
    #[track_caller]
    pub(crate) fn assert_works(&self) {
        let answer = self.raw(b"GET /works HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    /// Nothing panicked, and it still runs.
    #[track_caller]
    pub(crate) fn assert_calm(&self) {
        let log = self.0.process().log().join("\n");
        assert!(!log.contains("panicked"), "{log}");
        assert_eq!(self.0.process().status(), None, "it still runs:\n{log}");
    }

    /// A counter or gauge, by name and labels as `/metrics` writes them, without `throughline_http_`.
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
        let found = wait::until(PATIENCE, || {
            Some(self.metric(name)).filter(|value| wanted(*value))
        });
        assert!(found.is_some(), "{name} stays at {}", self.metric(name));
    }

    /// How many files it has open, connections among them.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.0.process().id()))
            .unwrap()
            .count()
    }

    /// Bytes of memory that it has in use.
    pub(crate) fn resident(&self) -> usize {
        self.memory("VmRSS:")
    }

    /// The most that it ever had.
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

/// Everything until the other side has hung up, however it did.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_ne!(
            error.kind(),
            std::io::ErrorKind::WouldBlock,
            "no end after {:?}",
            String::from_utf8_lossy(&answer)
        );
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn throughline() -> &'static Path {
    &ProjectBinaries::build().unwrap().throughline
}

/// No collector: the port was free a moment ago.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}
