//! Assignment of local ports to brokers, stable over restarts where possible.
//!
//! The broker with node id N gets port `first + N` of the range, modulo its length. If another
//! program or another broker has that port, the broker gets the next free one. The assignment is
//! kept in the state file, if one is configured, so that the next run repeats it in whatever order
//! the brokers appear.
//!
//! All ports of a range are open from the start: a client that survives a restart of the proxy
//! returns to the broker ports that it knows, and many clients never use the bootstrap address
//! again.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use throughline_intercept::kafka::NodeId;

/// The most brokers of one cluster. Real clusters have fewer.
pub(crate) const MAX_BROKERS: usize = 1024;

/// Local ports for brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortRange {
    /// From the first to the last, both included.
    Between(u16, u16),
    /// Any free port. Without a state file it changes with each restart.
    Any,
}

/// The assignment of ports to brokers.
#[derive(Debug)]
pub(crate) struct BrokerPorts {
    host: IpAddr,
    range: PortRange,
    /// The ports of this run and, with a state file, of earlier ones.
    assigned: HashMap<NodeId, u16>,
    /// Ports that are open and have no broker yet.
    unassigned: HashSet<u16>,
    state_file: Option<PathBuf>,
}

/// The port of a broker.
#[derive(Debug)]
pub(crate) enum BrokerPort {
    /// A port that was open already.
    Open(u16),
    New(TcpListener),
}

// === impl PortRange ===

impl PortRange {
    /// Returns the number of ports; for [`PortRange::Any`], the most brokers of a cluster.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Between(first, last) => usize::from(last.saturating_sub(first)) + 1,
            Self::Any => MAX_BROKERS,
        }
    }

    /// Returns whether the range contains a port.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        matches!(self, Self::Between(first, last) if (first..=last).contains(&port))
    }

    /// Returns the ports to try for a broker, in order of preference.
    fn candidates(self, node_id: NodeId) -> Vec<u16> {
        let Self::Between(first, last) = self else {
            return vec![0];
        };
        let ports: Vec<u16> = (first..=last).collect();
        let count = i64::try_from(ports.len()).unwrap_or(1);
        // Node ids beyond the range are common: some installations start at 1001.
        let middle = usize::try_from(i64::from(node_id.0).rem_euclid(count)).unwrap_or_default();
        ports
            .iter()
            .skip(middle)
            .chain(ports.iter().take(middle))
            .copied()
            .collect()
    }
}

// === impl BrokerPorts ===

impl BrokerPorts {
    /// Returns ports on `host`, with the assignments in the state file, which need not exist.
    pub(crate) fn new(host: IpAddr, range: PortRange, state_file: Option<PathBuf>) -> Self {
        let mut assigned = state_file.as_deref().map(read_state).unwrap_or_default();
        // The range may have changed, and a port outside of it may be blocked or not published.
        assigned.retain(|_, port| range == PortRange::Any || range.contains(*port));
        Self {
            host,
            range,
            assigned,
            unassigned: HashSet::new(),
            state_file,
        }
    }

    /// Opens the ports of the range, except for those that other programs use.
    pub(crate) fn open_range(&mut self) -> Vec<TcpListener> {
        let PortRange::Between(first, last) = self.range else {
            return Vec::new();
        };
        let ports = (first..=last).take(MAX_BROKERS);
        let listeners: Vec<_> = ports
            .filter_map(|port| listen(SocketAddr::new(self.host, port)).ok())
            .collect();
        self.unassigned.extend(
            listeners
                .iter()
                .filter_map(|listener| Some(listener.local_addr().ok()?.port())),
        );
        listeners
    }

    /// Returns a port for a broker that has none in this run.
    pub(crate) fn assign(&mut self, node_id: NodeId) -> io::Result<BrokerPort> {
        let previous = self.assigned.get(&node_id).copied();
        let mut last = io::Error::new(
            io::ErrorKind::AddrInUse,
            "all ports of the range are assigned",
        );
        // The port of an earlier run comes first: clients may still know it.
        for port in previous.into_iter().chain(self.range.candidates(node_id)) {
            // The port of another broker stays reserved, also while that broker is away.
            let is_reserved = self
                .assigned
                .iter()
                .any(|(other, reserved)| *other != node_id && *reserved == port);
            if is_reserved {
                continue;
            }
            // A port of the range is open already and has an accept loop.
            if self.unassigned.remove(&port) {
                self.record(node_id, port);
                return Ok(BrokerPort::Open(port));
            }
            match listen(SocketAddr::new(self.host, port)) {
                Ok(listener) => {
                    self.record(node_id, listener.local_addr()?.port());
                    return Ok(BrokerPort::New(listener));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn record(&mut self, node_id: NodeId, port: u16) {
        if self.assigned.insert(node_id, port) != Some(port) {
            self.write_state();
        }
    }

    /// Writes the state file. A failure only means that the next run may assign other ports.
    fn write_state(&self) {
        let Some(path) = &self.state_file else {
            return;
        };
        let mut lines: Vec<String> = self
            .assigned
            .iter()
            .map(|(node_id, port)| format!("{} {port}\n", node_id.0))
            .collect();
        // In a stable order the file changes only with its content.
        lines.sort();
        // Replaces the file as a whole, so that a crash leaves the old one or the new one.
        let new = path.with_extension("new");
        let written =
            std::fs::write(&new, lines.concat()).and_then(|()| std::fs::rename(&new, path));
        if let Err(error) = written {
            tracing::warn!(
                path = %path.display(), %error,
                "writing broker ports failed; they may change with a restart; \
                 make the path writable"
            );
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    // tokio takes over only non-blocking sockets.
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Reads a state file: lines with a node id and a port each. Malformed lines are skipped.
fn read_state(path: &Path) -> HashMap<NodeId, u16> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return HashMap::new(),
        Err(error) => {
            tracing::warn!(
                path = %path.display(), %error,
                "reading broker ports failed; brokers may get other ports than before"
            );
            return HashMap::new();
        }
    };
    let parse_line = |line: &str| {
        let (node_id, port) = line.split_once(' ')?;
        Some((
            NodeId(node_id.parse().ok()?),
            port.parse().ok().filter(|port| *port != 0)?,
        ))
    };
    // The file may have been edited by hand, so its length is not trusted.
    text.lines()
        .filter_map(parse_line)
        .take(MAX_BROKERS)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Returns a range of three free ports and the first of them.
    fn free_range() -> (u16, PortRange) {
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

    fn port(port: &BrokerPort) -> u16 {
        match port {
            BrokerPort::Open(port) => *port,
            BrokerPort::New(listener) => listener.local_addr().unwrap().port(),
        }
    }

    #[test]
    fn port_follows_the_node_id_in_any_order_of_appearance() {
        let (first, range) = free_range();
        let mut ports = BrokerPorts::new(HOST, range, None);
        let (two, zero) = (
            ports.assign(NodeId(2)).unwrap(),
            ports.assign(NodeId(0)).unwrap(),
        );
        assert_eq!((port(&zero), port(&two)), (first, first + 2));
    }

    #[test]
    fn node_ids_beyond_the_range_wrap_around_and_skip_taken_ports() {
        let (first, range) = free_range();
        let mut ports = BrokerPorts::new(HOST, range, None);
        let held: Vec<BrokerPort> = [1001, 2, 5]
            .map(|node| ports.assign(NodeId(node)).unwrap())
            .into();
        let mut got: Vec<u16> = held.iter().map(port).collect();
        got.sort_unstable();
        assert_eq!(got, [first, first + 1, first + 2]);
        assert!(ports.assign(NodeId(7)).is_err());
    }

    #[test]
    fn open_ports_are_reused_for_their_brokers() {
        let (first, range) = free_range();
        let taken = TcpListener::bind((HOST, first + 1)).unwrap();
        let mut ports = BrokerPorts::new(HOST, range, None);
        assert_eq!(ports.open_range().len(), 2);
        assert!(matches!(ports.assign(NodeId(2)), Ok(BrokerPort::Open(port)) if port == first + 2));
        assert!(matches!(ports.assign(NodeId(1)), Ok(BrokerPort::Open(port)) if port == first));
        assert!(ports.assign(NodeId(0)).is_err());
        drop(taken);
        assert!(matches!(ports.assign(NodeId(0)), Ok(BrokerPort::New(_))));
    }

    #[test]
    fn assignment_survives_a_restart_with_a_state_file() {
        let (_, range) = free_range();
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("ports");
        let mut ports = BrokerPorts::new(HOST, range, Some(state.clone()));
        let before = [3, 0].map(|node| port(&ports.assign(NodeId(node)).unwrap()));
        let mut ports = BrokerPorts::new(HOST, range, Some(state.clone()));
        let after = [0, 3].map(|node| port(&ports.assign(NodeId(node)).unwrap()));
        assert_eq!(before, [after[1], after[0]]);
        std::fs::write(&state, "nonsense\n1 x\n").unwrap();
        assert!(
            BrokerPorts::new(HOST, range, Some(state))
                .assign(NodeId(1))
                .is_ok()
        );
    }

    #[test]
    fn state_file_does_not_override_a_changed_range() {
        let (first, _) = free_range();
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("ports");
        for range in [
            PortRange::Between(first, first),
            PortRange::Between(first + 1, first + 2),
        ] {
            let got = BrokerPorts::new(HOST, range, Some(state.clone()))
                .assign(NodeId(0))
                .unwrap();
            assert!(
                range.contains(port(&got)),
                "{got:?} is outside of {range:?}"
            );
        }
    }
}
