//! A local port for each broker of a cluster, the same one over restarts where that is possible.
//!
//! A broker gets the port that lies as many after the first of the range as its node id says (round the end, if the range is
//! shorter). When another program has that port, or another broker does, it is the next that is free. Where a broker is then is
//! written to the state file, if there is one; so the second run finds it in the same place whatever the order in which brokers
//! are heard of.
//!
//! All ports of a range are open from the beginning: a client that lived through a restart of ours comes back to the ports that it
//! knows, and many never ask the bootstrap address again.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// Ports that brokers may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortRange {
    /// From the first to the last, both included.
    Between(u16, u16),
    /// Whatever the system gives. Not the same over restarts, unless written down.
    Any,
}

/// Which broker has which port.
#[derive(Debug)]
pub(crate) struct Ports {
    host: IpAddr,
    range: PortRange,
    /// From this run and, with a state file, from those before it.
    places: HashMap<i32, u16>,
    /// Ports that are open and have no broker yet.
    waiting: HashSet<u16>,
    state: Option<PathBuf>,
}

/// The port of a broker.
#[derive(Debug)]
pub(crate) enum Port {
    /// It was open already.
    Waiting(u16),
    New(TcpListener),
}

// === impl PortRange ===

impl PortRange {
    /// How many there are; as many as one could want when any will do.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Between(first, last) => usize::from(last.saturating_sub(first)) + 1,
            Self::Any => BROKERS_MAX,
        }
    }

    /// Whether a port is among them.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        matches!(self, Self::Between(first, last) if (first..=last).contains(&port))
    }

    /// The ports to try for a broker, best first.
    fn candidates(self, node: i32) -> Vec<u16> {
        let Self::Between(first, last) = self else {
            return vec![0];
        };
        let ports: Vec<u16> = (first..=last).collect();
        let count = i64::try_from(ports.len()).unwrap_or(1);
        let middle = usize::try_from(i64::from(node).rem_euclid(count)).unwrap_or_default();
        ports
            .iter()
            .skip(middle)
            .chain(ports.iter().take(middle))
            .copied()
            .collect()
    }
}

// === impl Ports ===

impl Ports {
    /// Ports on `host`; where brokers were before is read from `state`, which need not exist.
    pub(crate) fn new(host: IpAddr, range: PortRange, state: Option<PathBuf>) -> Self {
        let mut places = state.as_deref().map(read).unwrap_or_default();
        // The range may be another one than before; a port outside of it is one that nobody publishes or lets through.
        places.retain(|_, port| range == PortRange::Any || range.contains(*port));
        Self {
            host,
            range,
            places,
            waiting: HashSet::new(),
            state,
        }
    }

    /// Opens the ports of the range, but for those that other programs have.
    pub(crate) fn open_range(&mut self) -> Vec<TcpListener> {
        let PortRange::Between(first, last) = self.range else {
            return Vec::new();
        };
        let ports = (first..=last).take(BROKERS_MAX);
        let listeners: Vec<_> = ports
            .filter_map(|port| bind(SocketAddr::new(self.host, port)).ok())
            .collect();
        self.waiting.extend(
            listeners
                .iter()
                .filter_map(|listener| Some(listener.local_addr().ok()?.port())),
        );
        listeners
    }

    /// The port of a broker that has none yet in this run.
    pub(crate) fn open(&mut self, node: i32) -> io::Result<Port> {
        let before = self.places.get(&node).copied();
        let mut last = io::Error::new(
            io::ErrorKind::AddrInUse,
            "every port of the range has its broker",
        );
        for port in before.into_iter().chain(self.range.candidates(node)) {
            // The place of another broker stays free for it.
            let is_kept = self
                .places
                .iter()
                .any(|(other, kept)| *other != node && *kept == port);
            if is_kept {
                continue;
            }
            if self.waiting.remove(&port) {
                self.keep(node, port);
                return Ok(Port::Waiting(port));
            }
            match bind(SocketAddr::new(self.host, port)) {
                Ok(listener) => {
                    self.keep(node, listener.local_addr()?.port());
                    return Ok(Port::New(listener));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn keep(&mut self, node: i32, port: u16) {
        if self.places.insert(node, port) != Some(port) {
            self.write_down();
        }
    }

    /// A few bytes, once for each broker. A failure costs the next run its memory and nothing else.
    fn write_down(&self) {
        let Some(path) = &self.state else { return };
        let mut lines: Vec<String> = self
            .places
            .iter()
            .map(|(node, port)| format!("{node} {port}\n"))
            .collect();
        lines.sort();
        let new = path.with_extension("new");
        let written =
            std::fs::write(&new, lines.concat()).and_then(|()| std::fs::rename(&new, path));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "cannot write down which broker has which port");
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The places of a state file: a line with node id and port for each. What is not understood is left out.
fn read(path: &Path) -> HashMap<i32, u16> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return HashMap::new(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read which broker had which port");
            return HashMap::new();
        }
    };
    let place = |line: &str| {
        let (node, port) = line.split_once(' ')?;
        Some((
            node.parse().ok()?,
            port.parse().ok().filter(|port| *port != 0)?,
        ))
    };
    text.lines().filter_map(place).take(BROKERS_MAX).collect()
}

/// More brokers than any cluster has.
pub(crate) const BROKERS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// A range of three free ports.
    fn free() -> (u16, PortRange) {
        loop {
            let first = TcpListener::bind((HOST, 0))
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let all_free = (first..=first.saturating_add(2))
                .all(|port| TcpListener::bind((HOST, port)).is_ok());
            if first < u16::MAX - 2 && all_free {
                return (first, PortRange::Between(first, first + 2));
            }
        }
    }

    fn port(port: &Port) -> u16 {
        match port {
            Port::Waiting(port) => *port,
            Port::New(listener) => listener.local_addr().unwrap().port(),
        }
    }

    #[test]
    fn a_broker_has_the_port_of_its_id_in_whatever_order_it_comes() {
        let (first, range) = free();
        let mut ports = Ports::new(HOST, range, None);
        let (two, zero) = (ports.open(2).unwrap(), ports.open(0).unwrap());
        assert_eq!((port(&zero), port(&two)), (first, first + 2));
    }

    #[test]
    fn ids_beyond_the_range_go_round_and_the_next_port_serves_when_one_is_taken() {
        let (first, range) = free();
        let mut ports = Ports::new(HOST, range, None);
        let held: Vec<Port> = [1001, 2, 5].map(|node| ports.open(node).unwrap()).into();
        let mut got: Vec<u16> = held.iter().map(port).collect();
        got.sort_unstable();
        assert_eq!(got, [first, first + 1, first + 2]);
        assert!(ports.open(7).is_err());
    }

    #[test]
    fn ports_that_are_open_already_are_the_same_ones() {
        let (first, range) = free();
        let taken = TcpListener::bind((HOST, first + 1)).unwrap();
        let mut ports = Ports::new(HOST, range, None);
        assert_eq!(ports.open_range().len(), 2);
        assert!(matches!(ports.open(2), Ok(Port::Waiting(port)) if port == first + 2));
        assert!(matches!(ports.open(1), Ok(Port::Waiting(port)) if port == first));
        assert!(ports.open(0).is_err());
        drop(taken);
        assert!(matches!(ports.open(0), Ok(Port::New(_))));
    }

    #[test]
    fn what_was_written_down_is_found_again() {
        let (_, range) = free();
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("ports");
        let mut ports = Ports::new(HOST, range, Some(state.clone()));
        let before = [3, 0].map(|node| port(&ports.open(node).unwrap()));
        let mut ports = Ports::new(HOST, range, Some(state.clone()));
        let after = [0, 3].map(|node| port(&ports.open(node).unwrap()));
        assert_eq!(before, [after[1], after[0]]);
        std::fs::write(&state, "nonsense\n1 x\n").unwrap();
        assert!(Ports::new(HOST, range, Some(state)).open(1).is_ok());
    }

    #[test]
    fn what_was_written_down_does_not_hold_outside_of_another_range() {
        let (first, _) = free();
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("ports");
        for range in [
            PortRange::Between(first, first),
            PortRange::Between(first + 1, first + 2),
        ] {
            let got = Ports::new(HOST, range, Some(state.clone()))
                .open(0)
                .unwrap();
            assert!(range.contains(port(&got)), "{got:?} is not of {range:?}");
        }
    }
}
