//! Configuration of a cluster in addressed mode.

use std::path::PathBuf;
use std::sync::Arc;

use crate::address::HostPort;
use crate::kafka::port::PortRange;

/// A cluster whose brokers have local ports, which clients get in place of the brokers' addresses.
#[derive(Debug, Clone)]
pub struct AddressedCluster {
    /// The brokers for a client's first connection. The first that answers serves it.
    pub bootstrap: Vec<HostPort>,
    /// The local ports of the brokers.
    pub broker_ports: PortRange,
    /// The host that clients connect to; by default, the address by which each reached the proxy.
    pub advertise: Option<Arc<str>>,
    /// The file that keeps the port of each broker over restarts.
    pub state: Option<PathBuf>,
}
